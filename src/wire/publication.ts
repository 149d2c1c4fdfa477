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
  /** Of a partitioned table, all its partitions: they are what is published. Null for an ordinary table. */
  readonly partitions: readonly PublishedPartition[] | null
}

export interface PublishedPartition {
  readonly oid: number
  readonly isLeaf: boolean
  readonly replicaIdentity: ReplicaIdentity
}

/** The relations that have the table's rows. */
function leavesOf({ oid, replicaIdentity, partitions }: PublishedTable): PublishedPartition[] {
  return partitions === null
    ? [{ oid, replicaIdentity, isLeaf: true }]
    : partitions.filter(({ isLeaf }) => isLeaf)
}

function oidsOf(relations: readonly { readonly oid: number }[]): string {
  return `{${relations.map(({ oid }) => oid).join(',')}}`
}

export interface PublicationOptions {
  /** The user's own publication, which is only checked. Default: the one that all applications on the database share. */
  readonly name?: string
  readonly tables: readonly PublishedTable[]
}

/** `server_version_num` of PostgreSQL 15, the first in which a publication may carry a schema. */
const SCHEMA_PUBLICATIONS = 150_000

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
      table.key.length > 0 && leavesOf(table).every(({ replicaIdentity }) => replicaIdentity !== 'nothing'),
      'a table without a usable replica identity is never published: its own UPDATEs would fail',
    )
  }
  if (name === undefined) return ensureShared(connection, SHARED_PUBLICATION, tables)
  const state = await readPublication(connection, name, tables)
  if (state === null)
    throw new PublicationError(name, 'it does not exist.', `${createPublicationSql(name, tables)};`)
  const viaRoot = tables.some(({ partitions }) => partitions !== null) ? rootFaults(state, name) : []
  const faults = [flagFaults(state, name), viaRoot, listFaults(state, name), missingFaults(state, name)]
  refuse(name, faults.flat())
  return { name }
}

/** Those of `tables` for which publication `name` has a row filter or column list, as `schema.table`; both came with 15. */
export async function narrowedTables(
  connection: QueryConnection,
  name: string,
  tables: readonly PublishedTable[],
): Promise<string[]> {
  const rows = await connection.query(
    `select pr.prrelid as oid
     from pg_publication p
     join pg_publication_rel pr on pr.prpubid = p.oid
     where p.pubname = $1 and pr.prrelid = any ($2::oid[])
       and coalesce(to_jsonb(pr) ->> 'prqual', to_jsonb(pr) ->> 'prattrs') is not null`,
    [name, oidsOf(tables.flatMap(table => [table, ...leavesOf(table)]))],
  )
  const narrowed = new Set(rows.map(row => Number(row['oid'])))
  return tables
    .filter(table => [table, ...leavesOf(table)].some(({ oid }) => narrowed.has(oid)))
    .map(({ schema, table }) => `${schema}.${table}`)
    .sort()
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
  const rows = await connection.query(PUBLICATION_SQL, [name, oidsOf(tables.flatMap(leavesOf))])
  const first = rows[0]
  if (first === undefined) return null
  const roots = tables.filter(({ partitions }) => partitions !== null)
  const carriedRoots = roots.length === 0 ? new Set<number>() : await rootsCarried(connection, name, roots)
  const carried = new Map(rows.filter(row => row['oid'] != null).map(row => [Number(row['oid']), row]))
  const ofCarried = (
    test: (row: (typeof rows)[number], table: PublishedTable) => boolean,
  ): PublishedTable[] =>
    tables.filter(table =>
      leavesOf(table).some(({ oid }) => {
        const row = carried.get(oid)
        return row !== undefined && test(row, table)
      }),
    )
  const isCarried = ({ oid, partitions }: PublishedTable): boolean =>
    (partitions === null ? carried : carriedRoots).has(oid)
  return {
    publishesAll: first['publishes_all'] === 't',
    viaRoot: first['pubviaroot'] === 't',
    missing: tables.filter(table => !isCarried(table)),
    filtered: ofCarried(row => row['rowfilter'] !== null),
    narrowed: ofCarried((row, { columns }) => {
      const names = row['attnames']
      if (names == null) return false
      const published = new Set(JSON.parse(names) as string[])
      return columns.some(({ column }) => !published.has(column))
    }),
  }
}

/**
 * Those of these partitioned tables that publication `name` carries with all partitions, those that come later among them: as such, through what they
 * are partitions of, with their schema, or with all tables.
 */
async function rootsCarried(
  connection: QueryConnection,
  name: string,
  roots: readonly PublishedTable[],
): Promise<Set<number>> {
  // Schemas came with 15.
  const [version] = await connection.query(`select current_setting('server_version_num') as number`)
  const bySchema =
    Number(version!['number']) < SCHEMA_PUBLICATIONS
      ? 'false'
      : 'exists (select from pg_publication_namespace s where s.pnpubid = p.oid and s.pnnspid = c.relnamespace)'
  const rows = await connection.query(
    `select distinct root.oid
     from unnest($2::oid[]) as root (oid)
     cross join lateral (select root.oid as relid union select relid::oid from pg_partition_ancestors(root.oid)) part
     join pg_class c on c.oid = part.relid
     join pg_publication p on p.pubname = $1
     where p.puballtables or ${bySchema}
       or exists (select from pg_publication_rel r where r.prpubid = p.oid and r.prrelid = part.relid)`,
    [name, oidsOf(roots)],
  )
  return new Set(rows.map(row => Number(row['oid'])))
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
