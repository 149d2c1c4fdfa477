/** A database with a column for each type of the list, and what shows that a cache over it has what the caller's `pg` SELECTs. */
import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import type { DecoderLimits } from '../../src/change/limits.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import {
  type Cache,
  type DefinedTable,
  defineTable,
  openCache,
  SetupError,
  type SetupProblem,
} from '../../src/index.js'
import { quoteIdentifier } from '../../src/sql/quote.js'
import { caughtUp } from '../support/cache.js'
import type { TestDatabase } from '../support/servers.js'
import { type MatrixColumn, type MatrixTable, TYPES_SQL } from './type-list.js'

/** Copies have ids from here on, and moved rows below zero. */
const COPIES_FROM = 1_000_000
const INSERT_ROWS_MAX = 500
/** More are not shown of what went wrong in one table. */
const DIFFERENCES_MAX = 10

/** A column of the matrix, as it is in the database. */
export interface TypedColumn extends MatrixColumn {
  readonly table: string
  readonly typeOid: number
}

/**
 * Creates and fills the tables. `pad` may not be moved out of its row and makes every row too long, so PostgreSQL moves out whatever
 * it can: `beside`, and each value of more than a few bytes. An UPDATE that leaves them alone does not send them again. Every
 * other table has its whole old rows sent, where such values are.
 */
export async function createMatrix(db: TestDatabase, tables: readonly MatrixTable[]): Promise<TypedColumn[]> {
  await db.query(TYPES_SQL)
  await db.query(
    tables
      .map(
        ({ name, columns }, i) =>
          `create table "${name}" (id int primary key, ${columns.map(({ name: column, type }) => `${quoteIdentifier(column)} ${type}`).join()},
             beside text default repeat('beside ', 9), pad text default repeat('x', 2100), n int default 0)
             with (toast_tuple_target = 128); alter table "${name}" alter pad set storage plain;
             alter table "${name}" replica identity ${i % 2 === 0 ? 'default' : 'full'}`,
      )
      .join(';'),
  )
  await db.query(`do $$ declare c record; begin
    for c in select attrelid::regclass as table, attname from pg_attribute join pg_type on pg_type.oid = atttypid
      where attrelid in (select oid from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace)
        and typstorage <> 'p' and attname <> 'pad'
    loop execute format('alter table %s alter %I set storage external', c.table, c.attname); end loop; end $$`)
  for (const table of tables) await fill(db, table)
  const typed = await db.query<{ name: string; typeOid: number }>(
    `select attname as name, atttypid::int8::int as "typeOid" from pg_attribute
      where attrelid in (select oid from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace)`,
  )
  const oids = new Map(typed.map(({ name, typeOid }) => [name, typeOid]))
  return tables.flatMap(({ name: table, columns }) =>
    columns.map(column => ({ ...column, table, typeOid: oids.get(column.name)! })),
  )
}

async function fill(db: TestDatabase, { name, columns }: MatrixTable): Promise<void> {
  const rows = Math.max(...columns.map(({ values }) => values.length))
  for (let from = 0; from < rows; from += INSERT_ROWS_MAX) {
    const count = Math.min(INSERT_ROWS_MAX, rows - from)
    const parameters: (string | null)[] = []
    const tuples = Array.from({ length: count }, (_row, i) => {
      const places = columns.map(({ values }) => `$${parameters.push(values[from + i] ?? null)}`)
      return `(${from + i + 1}, ${places.join()})`
    })
    const names = columns.map(column => quoteIdentifier(column.name)).join()
    await db.query(`insert into "${name}" (id, ${names}) values ${tuples.join()}`, parameters)
  }
}

/** How many values PostgreSQL has moved out of their rows, besides those of `beside`. */
export async function movedOut(db: TestDatabase, tables: readonly MatrixTable[]): Promise<number> {
  const toasts = await db.query<{ name: string; toast: string }>(
    `select relname as name, reltoastrelid::regclass::text as toast from pg_class where relname = any($1)`,
    [tables.map(({ name }) => name)],
  )
  const counts = toasts.map(
    ({ name, toast }) =>
      `select (select count(distinct chunk_id) from ${toast}) - (select count(*) from "${name}") as moved`,
  )
  const [sum] = await db.query<{ moved: number }>(
    `select sum(moved)::int as moved from (${counts.join(' union all ')}) x`,
  )
  return sum!.moved
}

/** Whether the decoder takes a column of this type from sessions in `timeZone`, given what `openReader` vouches for. */
export function carries(decoder: DecoderName, column: TypedColumn, timeZone: string): boolean {
  const { lostTypes }: DecoderLimits = decoders[decoder].limits
  const lost = lostTypes.find(({ oids }) => oids.includes(column.typeOid))
  if (lost === undefined) return true
  if (lost.mendedBy === 'finite') return column.isFinite
  return lost.mendedBy === 'utc' && timeZone === 'UTC'
}

type Row = Readonly<Record<string, unknown>> & { readonly id: number }

/** The tables of `columns`, with these columns alone. */
function tablesOf(columns: readonly TypedColumn[]): { name: string; columns: string[] }[] {
  const names = [...new Set(columns.map(({ table }) => table))]
  return names.map(name => ({
    name,
    columns: [
      'id',
      ...columns.filter(({ table }) => table === name).map(column => column.name),
      'beside',
      'n',
    ],
  }))
}

/** The problems with which a cache over `columns` is refused, if nothing is said of their values. */
export async function refusals(
  pool: pg.Pool,
  decoder: DecoderName,
  columns: readonly TypedColumn[],
): Promise<readonly SetupProblem[]> {
  const opened = openCache({
    pool,
    decoder,
    entities: tablesOf(columns).map(table => defineTable<Row>(table)),
  })
  const error = await opened.then(
    cache => cache.close(),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(SetupError)
  return (error as SetupError).problems
}

/** A pool and a cache that keeps `columns`. */
export interface Reader {
  readonly pool: pg.Pool
  readonly cache: Cache
  readonly tables: readonly {
    readonly name: string
    readonly columns: readonly string[]
    readonly entity: DefinedTable<Row>
  }[]
}

/** Its pool and cache are ended with the test. */
export async function openReader(
  columns: readonly TypedColumn[],
  decoder: DecoderName,
  config: pg.PoolConfig,
): Promise<Reader> {
  const limits: DecoderLimits = decoders[decoder].limits
  const pool = new pg.Pool(config)
  onTestFinished(() => pool.end())
  const tables = tablesOf(columns).map(table => ({ ...table, entity: defineTable<Row>(table) }))
  const cache = await openCache({
    pool,
    decoder,
    entities: tables.map(({ entity }) => entity),
    // A slow machine is no failure.
    maxStaleness: 120_000,
    ...(limits.lostTypes.some(({ mendedBy }) => mendedBy === 'finite') ? { assumeFinite: true } : {}),
  })
  onTestFinished(() => cache.close())
  return { pool, cache, tables }
}

interface Stage {
  readonly name: string
  sql(table: string, columns: readonly string[]): string
}

/** The ways by which a row gets into memory; after the first load each is one commit over all tables. */
const STAGES: readonly Stage[] = [
  { name: 'first load', sql: () => '' },
  {
    name: 'insert',
    sql: (table, columns) =>
      `insert into ${table} (id, ${columns.join()}) select id + ${COPIES_FROM}, ${columns.join()} from ${table}`,
  },
  { name: 'update beside what is unchanged', sql: table => `update ${table} set n = n + 1` },
  {
    name: 'update of the values',
    sql: (table, columns) => {
      const values = columns.map(column => `${column} = other.${column}`)
      return `update ${table} it set ${values.join()} from ${table} other where other.id = it.id + case when it.id % 2 = 0 then -1 else 1 end`
    },
  },
  { name: 'update of the key', sql: table => `update ${table} set id = -id where id >= ${COPIES_FROM}` },
]

/**
 * Lets every value come by each way, and compares every row in memory with what the reader's own pool SELECTs. Returns how many rows
 * were compared, and what was different. The tables are left as they were, but for values that have moved on a row.
 */
export async function compareThroughout(
  db: TestDatabase,
  readers: readonly Reader[],
): Promise<{ compared: number; differences: string[] }> {
  const { tables } = readers[0]!
  let compared = 0
  const differences: string[] = []
  for (const { name: stage, sql } of STAGES) {
    await db.query(
      tables
        .map(({ name, columns }) => sql(`"${name}"`, columns.slice(1, -2).map(quoteIdentifier)))
        .join(';'),
    )
    for (const reader of readers) {
      const result = await compareOnce(reader)
      compared += result.compared
      differences.push(...result.differences.map(difference => `${stage}: ${difference}`))
    }
  }
  await db.query(
    tables.map(({ name }) => `delete from "${name}" where id < 0; update "${name}" set n = 0`).join(';'),
  )
  return { compared, differences }
}

async function compareOnce({
  pool,
  cache,
  tables,
}: Reader): Promise<{ compared: number; differences: string[] }> {
  let compared = 0
  const differences: string[] = []
  await caughtUp(cache)
  for (const { name, columns, entity } of tables) {
    const { local } = cache.table(entity)
    const { rows } = await pool.query<Row>(`select ${columns.map(quoteIdentifier).join()} from "${name}"`)
    if (local.size !== rows.length) differences.push(`${name} has ${local.size} of ${rows.length} rows`)
    compared += rows.length
    const different = rows.filter(row => !isSame(local.get(row.id), row))
    for (const row of different.slice(0, DIFFERENCES_MAX))
      for (const column of columns.filter(each => !isSame(local.get(row.id)?.[each], row[each])))
        differences.push(`${column}: ${shown(local.get(row.id)?.[column])} for ${shown(row[column])}`)
  }
  return { compared, differences }
}

function isSame(cached: unknown, selected: unknown): boolean {
  return isDeepStrictEqual(comparable(cached), comparable(selected))
}

/** Some releases of Node say that an invalid Date is not equal to another. */
function comparable(value: unknown): unknown {
  if (value instanceof Date && Number.isNaN(value.getTime())) return 'Invalid Date'
  if (Array.isArray(value)) return value.map(comparable)
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype)
    return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, comparable(each)]))
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 200)
}
