import pg from 'pg'

/** A pool for a cache and the writers beside it. */
export function openPool(databaseUrl: string, max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString: databaseUrl, max })
  // A client whose connection breaks while it is idle leaves the pool by itself; but without a listener the process would
  // end, as when the server is stopped while the pool is still ending.
  pool.on('error', () => undefined)
  return pool
}
