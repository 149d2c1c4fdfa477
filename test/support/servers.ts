/**
 * A database of a real Postgres for a test.
 *
 *     const db = await testDatabase()                      // Postgres 18
 *     const db = await testDatabase({ major: 15 })         // with wal2json and decoderbufs: see db.server.decoders
 *     await db.query('create table users (id int primary key, name text)')
 *     const rows = await db.query<{ id: number }>('select id from users where name = $1', ['Ada'])
 *     const pool = new pg.Pool({ connectionString: db.url })
 *
 * Call it anywhere in a test file. Each call makes a new, empty database (30 to 100 ms); one per file is usually right.
 * All files of a run share one server per major, started when the first test asks for it: never change its settings,
 * stop it or count its slots. (A test that must crash a server starts its own: postgres.ts.) When the file ends, its
 * databases are dropped with their slots, and connections still open are cut; `await using` or `drop()` is earlier.
 */
import pg from 'pg'
import { inject } from 'vitest'
import type { Major } from './binaries.js'
import { createDatabase, type PostgresServer } from './postgres.js'

/** What a test may know of the shared server. */
export type SharedServer = Pick<
  PostgresServer,
  'major' | 'version' | 'host' | 'port' | 'url' | 'pid' | 'decoders'
>

export interface TestDatabase extends AsyncDisposable {
  readonly name: string
  /** Connects as superuser. */
  readonly url: string
  readonly server: SharedServer
  /** Runs SQL on a connection that all calls share, one after another; returns the rows, as pg parses them. */
  query<Row extends object = Record<string, unknown>>(
    sql: string,
    values?: readonly unknown[],
  ): Promise<Row[]>
  /** A connection of the test's own. It is ended with the database. */
  connect(config?: pg.ClientConfig): Promise<pg.Client>
  /** Ends the connections made here, cuts all others, drops the slots and the database. */
  drop(): Promise<void>
}

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the run's main process hands out shared servers: global-setup.ts. */
    postgresServers: string
  }
}

/** Databases of this test file; setup.ts, which every file loads and which must be light, drops them. */
const opened = ((globalThis as { walcacheTestDatabases?: Set<TestDatabase> }).walcacheTestDatabases ??=
  new Set())

/** The run's server of a major, started if this is the first to ask. */
export async function sharedServer(major: Major = 18): Promise<SharedServer> {
  const response = await fetch(`${inject('postgresServers')}/${major}`)
  const body = await response.text()
  if (!response.ok) throw new Error(`No shared Postgres ${major}: ${body}`)
  return JSON.parse(body) as SharedServer
}

/** A new, empty database on the run's server of a major. */
export async function testDatabase({ major = 18 }: { major?: Major } = {}): Promise<TestDatabase> {
  const server = await sharedServer(major)
  const database = new Database(server, await createDatabase(server))
  opened.add(database)
  return database
}

class Database implements TestDatabase {
  readonly name: string
  readonly #clients: pg.Client[] = []
  #shared: Promise<pg.Client> | undefined
  #dropped: Promise<void> | undefined

  constructor(
    readonly server: SharedServer,
    readonly url: string,
  ) {
    this.name = decodeURIComponent(new URL(url).pathname.slice(1))
  }

  async query<Row extends object>(sql: string, values?: readonly unknown[]): Promise<Row[]> {
    this.#shared ??= this.connect()
    const client = await this.#shared
    const result = await client.query<Row>(sql, values === undefined ? undefined : [...values])
    return result.rows
  }

  async connect(config?: pg.ClientConfig): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.url, ...config })
    // A test that cuts connections sees it in its query; without a listener the process would end.
    client.on('error', () => undefined)
    await client.connect()
    this.#clients.push(client)
    return client
  }

  drop(): Promise<void> {
    this.#dropped ??= this.#drop()
    return this.#dropped
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.drop()
  }

  async #drop(): Promise<void> {
    opened.delete(this)
    await Promise.allSettled(this.#clients.map(client => client.end()))
    const admin = new pg.Client({ connectionString: this.server.url })
    await admin.connect()
    try {
      await dropSlots(admin, this.name)
      await admin.query(`drop database if exists ${admin.escapeIdentifier(this.name)} with (force)`)
    } finally {
      await admin.end()
    }
  }
}

/** A slot keeps its database from being dropped, and a walsender its slot. */
async function dropSlots(admin: pg.Client, database: string): Promise<void> {
  const deadline = Date.now() + 10_000
  for (;;) {
    await admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1', [database])
    const { rows } = await admin.query<{ slot_name: string; active: boolean }>(
      'select slot_name, active from pg_replication_slots where database = $1',
      [database],
    )
    if (rows.length === 0) return
    if (Date.now() > deadline) throw new Error(`A slot of ${database} stays in use: ${rows[0]?.slot_name}`)
    for (const { slot_name } of rows.filter(slot => !slot.active)) {
      // It may have been temporary, and gone by now.
      await admin
        .query('select pg_drop_replication_slot($1)', [slot_name])
        .catch((error: pg.DatabaseError) => ignoreCodes(error, ['42704', '55006']))
    }
  }
}

function ignoreCodes(error: pg.DatabaseError, codes: readonly string[]): void {
  if (!codes.includes(error.code ?? '')) throw error
}
