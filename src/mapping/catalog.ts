import type { ReplicaIdentity } from '../change/relation.js'
import type { QueryConnection } from '../runtime.js'

/** What the catalogue says about the declared tables and the server: plain facts, judged elsewhere. */
export interface Catalog {
  readonly server: ServerFacts
  /** The declared tables that exist. */
  readonly tables: readonly CatalogTable[]
  /** Other tables, to suggest names for those that don't; empty if all exist. */
  readonly otherTables: readonly TableName[]
}

export interface TableName {
  readonly schema: string
  readonly name: string
}

export interface ServerFacts {
  /** `server_version_num`: 170005 is 17.5. */
  readonly version: number
  /** As the server spells it. */
  readonly versionText: string
  readonly walLevel: string
  readonly encoding: string
  readonly inRecovery: boolean
  readonly slotsMax: number
  readonly slotsUsed: number
  readonly sendersMax: number
  readonly sendersUsed: number
  readonly walBlockBytes: number
  readonly walSegmentBytes: number
  readonly role: string
  readonly superuser: boolean
  /** The role's own attribute. Managed servers may grant the right otherwise: try, rather than trust it. */
  readonly replicationRole: boolean
}

/** What a table's changes are logged by. */
export interface CatalogIdentity {
  readonly replicaIdentity: ReplicaIdentity
  readonly primaryKey: CatalogIndex | null
  /** The index that `REPLICA IDENTITY USING INDEX` names. */
  readonly identityIndex: CatalogIndex | null
}

/** A partition of a declared table, at any depth. */
export interface CatalogPartition extends TableName, CatalogIdentity {
  readonly oid: number
  /** `pg_class.relkind`: `p` if it is partitioned itself. */
  readonly kind: string
  /** `pg_class.relpersistence`. */
  readonly persistence: string
}

export interface CatalogTable extends TableName, CatalogIdentity {
  readonly oid: number
  /** `pg_class.relkind`. */
  readonly kind: string
  /** `pg_class.relpersistence`: `p` permanent, `u` unlogged, `t` temporary. */
  readonly persistence: string
  readonly rowSecurity: boolean
  /** Whether policies would hide rows from this role's SELECT. */
  readonly rowSecurityApplies: boolean
  /** Tables that inherit from it, or are its partitions: `schema.table`. */
  readonly children: readonly string[]
  /** Of a partitioned table, its partitions at any depth, by their OIDs, those that are being detached left out; null for others. */
  readonly partitions: readonly CatalogPartition[] | null
  /** The root that it is a partition of, or the parent it inherits from. */
  readonly parent: string | null
  /** Whether this role may look into the schema. */
  readonly schemaUsable: boolean
  /** Of a partitioned table, those of its longest leaf. */
  readonly blocks: number
  readonly estimatedRows: number
  /** By `attnum`, dropped ones left out. */
  readonly columns: readonly CatalogColumn[]
  /** The columns of each unique index that covers all rows, the primary key's included: no two rows agree in all of them, unless one is null. */
  readonly uniqueKeys: readonly (readonly string[])[]
}

export interface CatalogColumn {
  readonly attnum: number
  readonly name: string
  readonly typeOid: number
  readonly baseTypeOid: number
  readonly typeModifier: number
  readonly typeName: string
  /** `pg_type.typtype` of the base type. */
  readonly typeKind: string
  /** Whether there are arrays of the base type: of an array there are none. */
  readonly hasArrayType: boolean
  /** The base type's quoted name if it is a composite type, else null. */
  readonly compositeType: string | null
  readonly notNull: boolean
  readonly generated: 'no' | 'stored' | 'virtual'
  readonly deterministic: boolean
  /** Whether texts sort by code point under its collation. */
  readonly codePointOrder: boolean
  /** An enum's labels in their order; null for other types. */
  readonly enumLabels: readonly string[] | null
  /** Whether it is a citext, and lower() of this database folds A to Z and nothing else. */
  readonly foldsAscii: boolean
  /** Whether this role may SELECT it. */
  readonly selectable: boolean
}

export interface CatalogIndex {
  readonly name: string
  /** Its key columns' names, in the index's order. */
  readonly columns: readonly string[]
  readonly valid: boolean
  /** False for a deferrable constraint. */
  readonly immediate: boolean
}

/**
 * The facts about `names` and the server, in one query (and one more to suggest names, if some table is missing). A slot of the name `ownSlot` is not
 * counted among those in use: an ended process may have left it behind, and it can be had again.
 *
 * @throws whatever the server answered.
 */
export async function readCatalog(
  connection: QueryConnection,
  names: readonly TableName[],
  ownSlot: string | null = null,
): Promise<Catalog> {
  const wanted = JSON.stringify(names.map(({ schema, name }) => ({ schema, name })))
  const [row] = await connection.query(CATALOG_SQL, [wanted, ownSlot])
  const { server, tables } = JSON.parse(row!['catalog']!) as {
    server: ServerFacts
    tables: RawTable[] | null
  }
  const found = (tables ?? []).map(catalogTable)
  const complete = names.every(({ schema, name }) =>
    found.some(table => table.schema === schema && table.name === name),
  )
  return { server, tables: found, otherTables: complete ? [] : await readTableNames(connection) }
}

/** Suggestions are searched for among at most so many tables. */
const SUGGESTED_AMONG_MAX = 10_000

async function readTableNames(connection: QueryConnection): Promise<TableName[]> {
  const rows = await connection.query(
    `select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and c.relpersistence = 'p' and c.oid >= 16384
     order by n.nspname, c.relname limit ${SUGGESTED_AMONG_MAX}`,
  )
  return rows.map(row => ({ schema: row['nspname']!, name: row['relname']! }))
}

/** What the query says in PostgreSQL's one-letter codes. */
interface RawTable extends Omit<CatalogTable, 'replicaIdentity' | 'columns' | 'uniqueKeys' | 'partitions'> {
  readonly relreplident: string
  readonly partitions: readonly RawPartition[] | null
  readonly uniqueKeys: CatalogTable['uniqueKeys'] | null
  readonly columns: readonly (Omit<CatalogColumn, 'generated'> & { readonly attgenerated: string })[] | null
}

type RawPartition = Omit<CatalogPartition, 'replicaIdentity'> & { readonly relreplident: string }

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = {
  d: 'default',
  n: 'nothing',
  f: 'full',
  i: 'index',
}
const GENERATED: Readonly<Record<string, CatalogColumn['generated']>> = {
  '': 'no',
  s: 'stored',
  v: 'virtual',
}

function catalogTable({ columns, uniqueKeys, partitions, ...table }: RawTable): CatalogTable {
  return {
    ...withIdentity(table),
    partitions: partitions?.map(withIdentity) ?? null,
    uniqueKeys: uniqueKeys ?? [],
    columns: (columns ?? []).map(({ attgenerated, ...column }) => ({
      ...column,
      generated: GENERATED[attgenerated] ?? 'virtual',
    })),
  }
}

function withIdentity<T extends { readonly relreplident: string }>({
  relreplident,
  ...relation
}: T): Omit<T, 'relreplident'> & Pick<CatalogIdentity, 'replicaIdentity'> {
  return { ...relation, replicaIdentity: IDENTITIES[relreplident] ?? 'nothing' }
}

/** The indexes of the relation that goes by the alias `relation`. */
const indexJson = (relation: string): string => `
  select json_build_object(
    'name', ic.relname,
    'columns', (
      select json_agg(a.attname order by k.place)
      from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
      where k.place <= i.indnkeyatts),
    'valid', i.indisvalid,
    'immediate', i.indimmediate)
  from pg_index i join pg_class ic on ic.oid = i.indexrelid
  where i.indrelid = ${relation}.oid`

const UNIQUE_KEYS_JSON = `
  select json_agg((
    select json_agg(a.attname order by k.place)
    from unnest(i.indkey::int2[]) with ordinality k(attnum, place)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where k.place <= i.indnkeyatts) order by i.indexrelid)
  from pg_index i
  where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null`

// What differs between versions is read by name: a database's provider is there from 15 on, its locale has changed its name.
const DATABASE_LOCALE = `
  select coalesce(to_jsonb(d)->>'datlocprovider', 'c') as provider, d.datcollate::text as collate, d.datctype::text as ctype,
    to_jsonb(d)->>'datlocale' as locale
  from pg_database d where d.datname = current_database()`

/** Names of the C library's and the built-in provider's locales whose order is that of the bytes. */
const LIBC_BYTEWISE = `('C', 'POSIX')`
const BUILTIN_BYTEWISE = `('C', 'C.UTF-8', 'C.UTF8', 'PG_UNICODE_FAST')`

// In UTF-8 the order of bytes is that of code points. 100 is the database's default collation.
const CODE_POINT_ORDER = `
  current_setting('server_encoding') = 'UTF8' and coalesce((
    select case
      when l.oid = 100 then locale.provider = 'c' and locale.collate in ${LIBC_BYTEWISE}
        or locale.provider = 'b' and locale.locale in ${BUILTIN_BYTEWISE}
      else l.collprovider = 'c' and l.collcollate in ${LIBC_BYTEWISE}
        or l.collprovider = 'b' and to_jsonb(l)->>'colllocale' in ${BUILTIN_BYTEWISE} end
    from pg_collation l, (${DATABASE_LOCALE}) locale where l.oid = a.attcollation), false)`

// citext compares lower(value) of the database's default collation, whatever the column's own. Where its schema is not in the search path, its
// operators aren't either, and PostgreSQL compares such columns as text.
const FOLDS_ASCII = `
  exists (
    select from pg_depend e join pg_extension x on x.oid = e.refobjid
    where e.classid = 'pg_type'::regclass and e.objid = base.oid and e.refclassid = 'pg_extension'::regclass and e.deptype = 'e'
      and x.extname = 'citext')
  and (select locale.provider = 'c' and locale.ctype in ${LIBC_BYTEWISE} or locale.provider = 'b' and locale.locale = 'C'
    from (${DATABASE_LOCALE}) locale)`

// A domain may rest on another one; its modifier holds where the ones above it have none, as in getBaseTypeAndTypmod.
const COLUMNS_JSON = `
  select json_agg(json_build_object(
    'attnum', a.attnum,
    'name', a.attname,
    'typeOid', a.atttypid::int8,
    'baseTypeOid', base.oid::int8,
    'typeModifier', base.modifier,
    'typeName', format_type(a.atttypid, a.atttypmod),
    'typeKind', base.typtype,
    'hasArrayType', base.typarray <> 0,
    'compositeType', case when base.typtype = 'c' then (
      select format('%I.%I', n.nspname, t.typname)
      from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.oid = base.oid) end,
    'notNull', a.attnotnull,
    'attgenerated', a.attgenerated,
    'deterministic', coalesce((select l.collisdeterministic from pg_collation l where l.oid = a.attcollation), true),
    'codePointOrder', ${CODE_POINT_ORDER},
    'enumLabels', (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = base.oid),
    'foldsAscii', ${FOLDS_ASCII} and ${CODE_POINT_ORDER} and pg_type_is_visible(base.oid),
    'selectable', has_column_privilege(c.oid, a.attnum, 'SELECT')
  ) order by a.attnum)
  from pg_attribute a
  cross join lateral (
    with recursive domain as (
      select t.oid, t.typtype, t.typarray, t.typbasetype, t.typtypmod, a.atttypmod as modifier
      from pg_type t where t.oid = a.atttypid
      union all
      select t.oid, t.typtype, t.typarray, t.typbasetype, t.typtypmod,
        case when d.modifier = -1 then d.typtypmod else d.modifier end
      from domain d join pg_type t on t.oid = d.typbasetype where d.typtype = 'd')
    select oid, typtype, typarray, modifier from domain where typtype <> 'd') base
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped`

// Inheritance of other kinds has no partitioned parent, and is no concern here.
const PARTITIONS_JSON = `
  select case when c.relkind = 'p' then coalesce(json_agg(json_build_object(
    'oid', part.oid::int8,
    'schema', pn.nspname,
    'name', part.relname,
    'kind', part.relkind,
    'persistence', part.relpersistence,
    'relreplident', part.relreplident,
    'primaryKey', (${indexJson('part')} and i.indisprimary),
    'identityIndex', (${indexJson('part')} and i.indisreplident)
  ) order by part.oid), '[]') end
  from tree join pg_class part on part.oid = tree.oid join pg_namespace pn on pn.oid = part.relnamespace`

// Detaching concurrently came with 14; through to_jsonb the same text runs on 13, to be refused there.
const ATTACHED = `to_jsonb(h) ->> 'inhdetachpending' is distinct from 'true'`

/** All partitions of a declared table, without itself. */
const TREE = `
  with recursive tree (oid) as (
    select h.inhrelid from pg_inherits h where h.inhparent = c.oid and c.relkind = 'p' and ${ATTACHED}
    union all
    select h.inhrelid from tree join pg_inherits h on h.inhparent = tree.oid where ${ATTACHED})`

/** Blocks in the relation's main fork. */
const blocksOf = (relation: string): string =>
  `coalesce(pg_relation_size(${relation}.oid) / current_setting('block_size')::int, 0)`

const TABLES_JSON = `
  select json_agg(json_build_object(
    'oid', c.oid::int8,
    'schema', n.nspname,
    'name', c.relname,
    'kind', c.relkind,
    'persistence', c.relpersistence,
    'relreplident', c.relreplident,
    'rowSecurity', c.relrowsecurity,
    'rowSecurityApplies', row_security_active(c.oid),
    'children', coalesce((select json_agg(h.inhrelid::regclass::text) from pg_inherits h where h.inhparent = c.oid), '[]'),
    'parent', (select h.inhparent::regclass::text from pg_inherits h where h.inhrelid = c.oid order by h.inhseqno limit 1),
    'schemaUsable', has_schema_privilege(n.oid, 'USAGE'),
    'partitions', (${TREE} ${PARTITIONS_JSON}),
    'blocks', greatest(${blocksOf('c')}, (${TREE} select max(${blocksOf('tree')}) from tree)),
    'estimatedRows', greatest(c.reltuples, (${TREE} select sum(part.reltuples) from tree join pg_class part on part.oid = tree.oid where part.reltuples > 0)),
    'columns', (${COLUMNS_JSON}),
    'primaryKey', (${indexJson('c')} and i.indisprimary),
    'identityIndex', (${indexJson('c')} and i.indisreplident),
    'uniqueKeys', (${UNIQUE_KEYS_JSON})
  ))
  from json_to_recordset($1::json) wanted(schema text, name text)
  join pg_namespace n on n.nspname = wanted.schema
  join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name and c.relkind not in ('i', 'I', 'S', 't', 'c')`

const SERVER_JSON = `
  select json_build_object(
    'version', current_setting('server_version_num')::int,
    'versionText', current_setting('server_version'),
    'walLevel', current_setting('wal_level'),
    'encoding', current_setting('server_encoding'),
    'inRecovery', pg_is_in_recovery(),
    'slotsMax', current_setting('max_replication_slots')::int,
    'slotsUsed', (select count(*) from pg_replication_slots where slot_name is distinct from $2),
    'sendersMax', current_setting('max_wal_senders')::int,
    'sendersUsed', (select count(*) from pg_stat_get_wal_senders()),
    'walBlockBytes', current_setting('wal_block_size')::int,
    'walSegmentBytes', (select setting::int8 from pg_settings where name = 'wal_segment_size'),
    'role', current_user,
    'superuser', r.rolsuper,
    'replicationRole', r.rolreplication
  ) from pg_roles r where r.rolname = current_user`

const CATALOG_SQL = `select json_build_object('server', (${SERVER_JSON}), 'tables', (${TABLES_JSON})) as catalog`
