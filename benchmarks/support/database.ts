import pg from 'pg'
import { defineTable } from '../../src/index.js'
import { startPostgres } from '../../test/support/postgres.js'

/** The row that all benchmarks use. */
export interface Person {
  readonly id: number
  readonly name: string
  readonly age: number
  readonly email: string
  readonly is_active: boolean
}

export const people = defineTable<Person>({ name: 'people' })

export interface BenchmarkDatabase extends AsyncDisposable {
  /** What it is, for the report. */
  readonly version: string
  readonly url: string
  readonly pool: pg.Pool
}

/** A PostgreSQL 18 of the benchmark's own, set so that it does not checkpoint or vacuum in the middle of a round. */
export async function openDatabase(
  settings: Readonly<Record<string, string | number>> = {},
): Promise<BenchmarkDatabase> {
  const server = await startPostgres({
    major: 18,
    settings: {
      shared_buffers: '512MB',
      max_wal_size: '16GB',
      checkpoint_timeout: '1h',
      autovacuum: 'off',
      logical_decoding_work_mem: '256MB',
      ...settings,
    },
  })
  const pool = new pg.Pool({ connectionString: server.url, max: 10 })
  // `end` does not wait for the goodbyes, so the server's own shutdown may come first.
  pool.on('error', () => undefined)
  return {
    version: server.version,
    url: server.url,
    pool,
    async [Symbol.asyncDispose]() {
      await pool.end()
      await server[Symbol.asyncDispose]()
    },
  }
}

/** Makes the table `people`, with `rows` of them. */
export async function createPeople(pool: pg.Pool, rows: number): Promise<void> {
  await pool.query(`create table people
    (id integer primary key, name text not null, age integer not null, email text not null, is_active boolean not null)`)
  if (rows > 0) await pool.query(insertPeople(1, rows))
  await pool.query('vacuum analyze people')
}

/** SQL that adds the people `from` to `to` (numbers, or SQL for them), both included: about 47 bytes each as COPY text. */
export function insertPeople(from: number | string, to: number | string): string {
  return `insert into people select i, 'person ' || i, 18 + i % 70, 'person' || i || '@example.com', i % 3 = 0
    from generate_series(${from}, ${to}) i`
}

/** What the table holds, as `digestOf` in digest.ts puts it. */
export async function digestInPostgres(pool: pg.Pool): Promise<string> {
  const { rows } = await pool.query<{ md5: string }>(
    `select md5(string_agg(concat_ws('|', id, name, age, email, is_active::text) || e'\\n', '' order by id)) as md5 from people`,
  )
  return rows[0]!.md5
}
