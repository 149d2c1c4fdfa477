import pg from 'pg'
import { migrate } from '../../test/support/migrate.js'
import type { DecoderName } from '../../src/decode/index.js'
import { serverFor, startPostgres } from '../../test/support/postgres.js'

export interface DemoDatabase extends AsyncDisposable {
  readonly description: string
  readonly pool: pg.Pool
  /** Runs what is new in the folder `migrations`. */
  migrate(): Promise<void>
}

/** The database that DATABASE_URL names; without one, a PostgreSQL of the demo's own that has the decoder's plugin, gone when the demo ends. */
export async function openDatabase(decoder: DecoderName): Promise<DemoDatabase> {
  const given = process.env['DATABASE_URL']
  if (given !== undefined && given !== '') return demoDatabase(given, 'the database of DATABASE_URL')
  const server = await startPostgres(serverFor(decoder))
  const description = `version ${server.version}, embedded, at ${server.url}`
  return demoDatabase(server.url, description, server)
}

function demoDatabase(url: string, description: string, server?: AsyncDisposable): DemoDatabase {
  const pool = new pg.Pool({ connectionString: url })
  // A client whose connection breaks while it is idle leaves the pool by itself; without a listener the process would end.
  pool.on('error', () => undefined)
  return {
    description,
    pool,
    migrate: () => migrate(url),
    async [Symbol.asyncDispose]() {
      await pool.end()
      await server?.[Symbol.asyncDispose]()
    },
  }
}
