import pg from 'pg'
import { type QueryConnection, systemRuntime } from '../../src/runtime.js'
import { connectionsOf } from '../../src/wire/connection.js'

/** A session as the cache opens it, for code that asks the database itself. Close it, or drop the database. */
export async function queryConnection(config: pg.PoolConfig | string): Promise<QueryConnection> {
  const pool = new pg.Pool(typeof config === 'string' ? { connectionString: config } : config)
  return connectionsOf(pool, {
    settings: { timeZone: 'UTC', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' },
    applicationName: 'walcache-test',
    timers: systemRuntime.timers,
  }).query()
}
