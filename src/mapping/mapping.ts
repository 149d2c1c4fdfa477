import type { ReplicaIdentity } from '../change/relation.js'
import type { TableFilter } from './table-filter.js'

/** A class declared with `@ReplicatedTable`, as a value. */
export type EntityClass<Row extends object = object> = abstract new (...args: never[]) => Row

/** A column that the cache keeps, as declared and as the catalogue has it. */
export interface MappedColumn {
  /** The property that rows have. */
  readonly property: string
  /** The column's name in the database, unquoted. */
  readonly column: string
  /** `pg_attribute.attnum`. */
  readonly attnum: number
  /** The declared type's OID: a domain's own. */
  readonly typeOid: number
  /** The type that a SELECT reports: domains resolved to their base. It chooses the parser. */
  readonly baseTypeOid: number
  /** The modifier that goes with the base type (a domain's own where the column has none), -1 if none. */
  readonly typeModifier: number
  /** As `format_type` spells it, for messages. */
  readonly typeName: string
  /** `pg_type.typtype` of the base type: `b` base, `e` enum, `c` composite, `r` range, `m` multirange. */
  readonly typeKind: string
  /** Whether there are arrays of the base type: of an array there are none. */
  readonly hasArrayType: boolean
  /** The base type's quoted name if it is a composite type, else null. */
  readonly compositeType: string | null
  readonly notNull: boolean
  /** False under a nondeterministic collation: equal texts may differ in bytes. True for types without collation. */
  readonly deterministic: boolean
  /** Whether texts sort by code point under its collation: C, POSIX or the built-in C.UTF-8, in a UTF-8 database. */
  readonly codePointOrder: boolean
  /** An enum's labels in their order; null for other types. */
  readonly enumLabels: readonly string[] | null
  /** Whether it is a citext that folds as the C locale does. */
  readonly foldsAscii: boolean
  /** The caller's own `pg` text parser for the base type. */
  readonly parse: (text: string) => unknown
}

/** A partition of a mapped table, at any depth. */
export interface MappedPartition {
  readonly oid: number
  readonly schema: string
  readonly table: string
  /** Whether it has rows of its own, and is not partitioned itself. */
  readonly isLeaf: boolean
  readonly replicaIdentity: ReplicaIdentity
}

/** How many rows of a table are kept: all, or those used last, up to so many rows or bytes. */
export type Residency = 'all' | { readonly maxRows: number | null; readonly maxBytes: number | null }

/** A declared table, checked against the catalogue: all that the layers above need to know about it. */
export interface TableMapping {
  /** `schema.table`, for messages. */
  readonly name: string
  readonly oid: number
  readonly schema: string
  readonly table: string
  readonly replicaIdentity: ReplicaIdentity
  /** What identifies the declaration: the class, or the object that `defineTable` returned. */
  readonly declaration: object
  /** Rows are made with this prototype; null for plain objects. */
  readonly prototype: object | null
  /** Makes a row of the user's own class from a plain one, where the declaration gives it. */
  readonly construct: ((row: Readonly<Record<string, unknown>>) => object) | null
  /** In SELECT order, that is by `attnum`. */
  readonly columns: readonly MappedColumn[]
  /** The primary key: positions in `columns`, in the key's own order. */
  readonly key: readonly number[]
  /** Declared secondary indexes: positions in `columns`. */
  readonly indexes: readonly (readonly number[])[]
  /** Sets of columns, the primary key's among them, of which no two rows have the same values: positions in `columns`. */
  readonly uniqueKeys: readonly (readonly number[])[]
  readonly keep: Residency
  /** The rows that are kept, as if there were no others; null: all. */
  readonly filter: TableFilter | null
  /** Of a partitioned table, all its partitions: the stream has each row's changes under its leaf's name. Null for an ordinary table. */
  readonly partitions: readonly MappedPartition[] | null
  /** The planner's estimate; -1 if the table was never analysed. */
  readonly estimatedRows: number
  /** `relpages`-independent size: the main fork's length in blocks (the longest of the leaves'), for splitting the load. */
  readonly blocks: number
}
