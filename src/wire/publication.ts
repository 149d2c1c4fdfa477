import type { ReplicaIdentity } from '../change/relation.js'
import { assert, PublicationError } from '../errors.js'
import type { QueryConnection } from '../runtime.js'
import {
  addTablesSql,
  createPublicationSql,
  dropTablesSql,
  SHARED_PUBLICATION,
  setFlagsSql,
} from '../sql/publication-sql.js'

/** What has to be known of a table to publish it; a `TableMapping` is one. */
export interface PublishedTable {
  readonly oid: number
  readonly schema: string
  readonly table: string
  readonly replicaIdentity: ReplicaIdentity
  /** Positions of the primary key's columns. */
  readonly key: readonly number[]
  readonly columns: readonly { readonly column: string }[]
}

export interface PublicationOptions {
  /** The user's own publication, which is only checked. Default: the one that all applications on the database share. */
  readonly name?: string
  readonly tables: readonly PublishedTable[]
}

/** Every attempt that fails for a concurrent creator's sake means that another one got further. */
const ATTEMPTS_MAX = 8

/**
 * Adding a table waits for VACUUM and DDL on it, never for reads and writes, nor do they wait for us. Longer than
 * deadlock_timeout's default of 1 s, after which an autovacuum in the way is cancelled.
 */
const LOCK_TIMEOUT_MS = 3_000

/**
 * The publication that carries `tables`, created or completed if it is ours.
 *
 * Ours is shared by all applications and versions on the database: tables are added to it and nothing else is ever
 * changed, so that no other process feels it. The user's own is only checked. Run it before the slot is made: a slot
 * older than its publication fails for good.
 *
 * @throws {PublicationError} with the SQL to run, if this role may not do it, a lock can't be had, or the publication
 * does not carry what it has to. @throws whatever else the server answers.
 */
export async function ensurePublication(
  connection: QueryConnection,
  { name, tables }: PublicationOptions,
): Promise<{ readonly name: string }> {
  for (const table of tables) {
    assert(
      table.replicaIdentity !== 'nothing' && table.key.length > 0,
      'a table without a usable replica identity is never published: its own UPDATEs would fail',
    )
  }
  if (name === undefined) return ensureShared(connection, SHARED_PUBLICATION, tables)
  const state = await readPublication(connection, name, tables)
  if (state === null)
    throw new PublicationError(name, 'it does not exist.', `${createPublicationSql(name, tables)};`)
  refuse(name, [...flagFaults(state, name), ...listFaults(state, name), ...missingFaults(state, name)])
  return { name }
}

/** Those of `tables` for which publication `name` has a row filter or column list, as `schema.table`; both came with 15. */
export async function narrowedTables(
  connection: QueryConnection,
  name: string,
  tables: readonly PublishedTable[],
): Promise<string[]> {
  const rows = await connection.query(
    `select n.nspname || '.' || c.relname as name
     from pg_publication p
     join pg_publication_rel pr on pr.prpubid = p.oid
     join pg_class c on c.oid = pr.prrelid
     join pg_namespace n on n.oid = c.relnamespace
     where p.pubname = $1 and pr.prrelid = any ($2::oid[])
       and coalesce(to_jsonb(pr) ->> 'prqual', to_jsonb(pr) ->> 'prattrs') is not null
     order by 1`,
    [name, `{${tables.map(({ oid }) => oid).join(',')}}`],
  )
  return rows.map(row => row['name']!)
}

async function ensureShared(
  connection: QueryConnection,
  name: string,
  tables: readonly PublishedTable[],
): Promise<{ readonly name: string }> {
  let concurrent: unknown
  for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
    const state = await readPublication(connection, name, tables)
    if (state !== null)
      refuse(name, [...flagFaults(state, name), ...rootFaults(state, name), ...listFaults(state, name)])
    const missing = state === null ? tables : state.missing
    if (missing.length === 0) return { name }
    const sql = state === null ? createPublicationSql(name, missing) : addTablesSql(name, missing)
    try {
      await runBriefly(connection, sql)
    } catch (error) {
      const failure = failureOf(error)
      if (failure === 'concurrent') concurrent = error
      else if (failure === 'right')
        throw new PublicationError(name, 'this role may not create or extend it.', `${sql};`, {
          cause: error,
        })
      else if (failure === 'lock')
        throw new PublicationError(
          name,
          `a lock on a table could not be had within ${LOCK_TIMEOUT_MS} ms.`,
          `${sql};`,
          { cause: error },
        )
      else throw error
    }
  }
  const state = await readPublication(connection, name, tables)
  if (state !== null && state.missing.length === 0) return { name }
  throw new PublicationError(
    name,
    `it was changed by others ${ATTEMPTS_MAX} times meanwhile.`,
    `${addTablesSql(name, state?.missing ?? tables)};`,
    { cause: concurrent },
  )
}

/** Runs a statement that waits for no lock for long, and whose commit waits for no standby. */
async function runBriefly(connection: QueryConnection, sql: string): Promise<void> {
  await connection.query('begin')
  try {
    await connection.query(`set local lock_timeout = ${LOCK_TIMEOUT_MS}`)
    await connection.query('set local synchronous_commit = local')
    await connection.query(sql)
    await connection.query('commit')
  } catch (error) {
    await connection.query('rollback')
    throw error
  }
}

function failureOf(error: unknown): 'concurrent' | 'right' | 'lock' | 'other' {
  const { code, message } = error as { code?: unknown; message?: unknown }
  switch (code) {
    case '42710': // the publication, or the table in it, is there already
    case '23505': // the same, found only by the catalogue's unique index
    case '42704': // it was dropped in between
      return 'concurrent'
    case 'XX000':
      return typeof message === 'string' && message.includes('concurrently') ? 'concurrent' : 'other'
    case '42501':
      return 'right'
    case '55P03':
      return 'lock'
    default:
      return 'other'
  }
}

interface PublicationState {
  readonly publishesAll: boolean
  readonly viaRoot: boolean
  /** Those of the tables that it does not carry. */
  readonly missing: readonly PublishedTable[]
  readonly filtered: readonly PublishedTable[]
  /** With a column list that leaves out mapped columns. */
  readonly narrowed: readonly PublishedTable[]
}

/** What publication `name` does with `tables`; null if there is none. */
async function readPublication(
  connection: QueryConnection,
  name: string,
  tables: readonly PublishedTable[],
): Promise<PublicationState | null> {
  const oids = `{${tables.map(({ oid }) => oid).join(',')}}`
  const rows = await connection.query(PUBLICATION_SQL, [name, oids])
  const first = rows[0]
  if (first === undefined) return null
  const carried = new Map(rows.filter(row => row['oid'] != null).map(row => [Number(row['oid']), row]))
  const ofCarried = (
    test: (row: (typeof rows)[number], table: PublishedTable) => boolean,
  ): PublishedTable[] =>
    tables.filter(table => {
      const row = carried.get(table.oid)
      return row !== undefined && test(row, table)
    })
  return {
    publishesAll: first['publishes_all'] === 't',
    viaRoot: first['pubviaroot'] === 't',
    missing: tables.filter(({ oid }) => !carried.has(oid)),
    filtered: ofCarried(row => row['rowfilter'] !== null),
    narrowed: ofCarried((row, { columns }) => {
      const names = row['attnames']
      if (names == null) return false
      const published = new Set(JSON.parse(names) as string[])
      return columns.some(({ column }) => !published.has(column))
    }),
  }
}

// pg_publication_tables knows FOR ALL TABLES, schemas and published partition roots. It has row filters and column
// lists from 15 on; through to_jsonb the same text runs on 14.
const PUBLICATION_SQL = `
  select p.pubviaroot, p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate as publishes_all,
    t.oid, t.rowfilter, t.attnames
  from pg_publication p
  left join lateral (
    select c.oid, to_jsonb(pt) ->> 'rowfilter' as rowfilter, to_jsonb(pt) ->> 'attnames' as attnames
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_publication_tables pt on pt.schemaname = n.nspname and pt.tablename = c.relname
    where c.oid = any ($2::oid[]) and pt.pubname = p.pubname
  ) t on true
  where p.pubname = $1`

/** A publication that does not carry what it has to, and what mends it. */
interface Fault {
  readonly problem: string
  readonly sql: string
}

function refuse(name: string, faults: readonly Fault[]): void {
  if (faults.length === 0) return
  throw new PublicationError(
    name,
    faults.map(({ problem }) => problem).join(' '),
    faults.map(({ sql }) => `${sql};`).join('\n'),
  )
}

function flagFaults({ publishesAll }: PublicationState, name: string): Fault[] {
  if (publishesAll) return []
  return [
    { problem: 'it does not publish all of insert, update, delete and truncate.', sql: setFlagsSql(name) },
  ]
}

function rootFaults({ viaRoot }: PublicationState, name: string): Fault[] {
  if (!viaRoot) return []
  return [{ problem: 'it publishes partitions as their root.', sql: setFlagsSql(name) }]
}

function listFaults({ filtered, narrowed }: PublicationState, name: string): Fault[] {
  const tables = [...new Set([...filtered, ...narrowed])]
  if (tables.length === 0) return []
  const problem = [
    filtered.length === 0
      ? ''
      : `it has row filters on ${nameList(filtered)}, and rows outside them would look deleted.`,
    narrowed.length === 0 ? '' : `its column lists leave out mapped columns of ${nameList(narrowed)}.`,
  ].filter(part => part !== '')
  return [
    { problem: problem.join(' '), sql: `${dropTablesSql(name, tables)};\n${addTablesSql(name, tables)}` },
  ]
}

function missingFaults({ missing }: PublicationState, name: string): Fault[] {
  if (missing.length === 0) return []
  return [{ problem: `it lacks ${nameList(missing)}.`, sql: addTablesSql(name, missing) }]
}

function nameList(tables: readonly PublishedTable[]): string {
  return tables.map(({ schema, table }) => `${schema}.${table}`).join(', ')
}
