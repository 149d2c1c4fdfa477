import type { NotLocalReason } from '../errors.js'
import type { Property, Where } from '../mapping/where-types.js'
import type { ReadOptions } from './read-options.js'

/** What memory knows of the rows that a query may mean. */
export type Knowledge =
  /** All rows of the table. */
  | 'all'
  /** Rows of keys, or that they have none. */
  | 'present'
  | 'absent'
  /** All rows with some values of an index. */
  | 'group'
  | 'unknown'

export type { AnyWhere, Filter, Operand, Property, Where } from '../mapping/where-types.js'

/** Ascending or descending. */
export type SortOrder = 'asc' | 'desc'

/** One column to sort by. NULLs are last in ascending and first in descending order, if `nulls` does not say otherwise. */
export type Sorting<Row> = {
  readonly [P in Property<Row>]?: SortOrder | { readonly sort: SortOrder; readonly nulls?: 'first' | 'last' }
}

/** One column, or several in the order of their weight. Rows that are equal in all of them come in any order. */
export type OrderBy<Row> = Sorting<Row> | readonly Sorting<Row>[]

/** Only these properties. Rows are then plain frozen objects. */
export interface Select<Row, P extends Property<Row>> {
  readonly select: { readonly [Q in P]: true }
  readonly omit?: never
}

/** All properties but these. Rows are then plain frozen objects. */
export interface Omitting<Row, P extends Property<Row>> {
  readonly omit: { readonly [Q in P]: true }
  readonly select?: never
}

/** Whole rows. */
export interface Whole {
  readonly select?: never
  readonly omit?: never
}

/** What `local.count` counts: the rows for which `where` holds, or all. */
export interface LocalCount<Row> {
  readonly where?: Where<Row>
}

/** A query of memory for one row; `take` is 1. */
export interface LocalFindFirst<Row> extends LocalCount<Row> {
  readonly orderBy?: OrderBy<Row>
  /** So many rows are left out first. Default 0. */
  readonly skip?: number
}

/** A query of memory for some rows. */
export interface LocalFindMany<Row> extends LocalFindFirst<Row> {
  /** At most so many rows. Default: all. */
  readonly take?: number
}

/** The same of memory or PostgreSQL, with what an asynchronous read takes besides. */
export interface Count<Row> extends LocalCount<Row>, ReadOptions {}
/** The same of memory or PostgreSQL, with what an asynchronous read takes besides. */
export interface FindFirst<Row> extends LocalFindFirst<Row>, ReadOptions {}
/** The same of memory or PostgreSQL, with what an asynchronous read takes besides. */
export interface FindMany<Row> extends LocalFindMany<Row>, ReadOptions {}

/** A query of a snapshot, which is as old as it is. */
export interface CountInSnapshot<Row> extends LocalCount<Row> {
  readonly signal?: AbortSignal
}
/** A query of a snapshot, which is as old as it is. */
export interface FindFirstInSnapshot<Row> extends LocalFindFirst<Row> {
  readonly signal?: AbortSignal
}
/** A query of a snapshot, which is as old as it is. */
export interface FindManyInSnapshot<Row> extends LocalFindMany<Row> {
  readonly signal?: AbortSignal
}

/** How a query would be answered, and why. */
export interface Explanation {
  /** Whether memory proves the answer, whatever its age. */
  readonly local: boolean
  /** Why it does not; null if it does. */
  readonly reason: NotLocalReason | null
  /** The same in words. */
  readonly why: string
  /**
   * What memory knows of the rows that the query may mean: 'all' rows of the table; of a bounded table the rows of the keys that it names ('present'), or
   * that these have none ('absent'), or all rows with the values of an index that it names ('group'), or not enough ('unknown').
   */
  readonly known: Knowledge
  /**
   * Rows are found by the primary key, by an index, by walking an index in the wanted order, by several of these ('union', each for some alternatives of an
   * OR), or by looking at all of them. Null where memory has no way.
   */
  readonly plan: 'key' | 'index' | 'ordered index' | 'union' | 'scan' | null
  /** The properties of the index that is used, else null. */
  readonly index: readonly string[] | null
  /** Of a union each of its ways; none of them if no row is meant. Null for any other plan. */
  readonly union:
    | readonly { readonly plan: 'key' | 'index'; readonly index: readonly string[] | null }[]
    | null
  /** How many row versions were looked at to answer it; 0 where memory has no way. */
  readonly rowsLookedAt: number
  /** What PostgreSQL would be asked: values are parameters. */
  readonly sql: string
}

/** Queries that never leave the process. Throw `NotLocalError` where memory can't prove the answer, and as `get` does. */
export interface LocalQueries<Row> {
  /**
   * The rows that the query means, as of one commit: what PostgreSQL's own answer would have been then.
   *
   * @throws {QueryError} for a query that means nothing. @throws {NotLocalError} for one that only PostgreSQL can answer exactly, or that
   * would have to look at too many rows. @throws {StaleError} @throws {NotReadyError} @throws {MemoryLimitError} @throws {ClosedError}
   */
  findMany(query?: LocalFindMany<Row> & Whole): Row[]
  findMany<P extends Property<Row>>(
    query: LocalFindMany<Row> & Select<Row, P>,
  ): Readonly<Pick<Row, P & keyof Row>>[]
  findMany<P extends Property<Row>>(query: LocalFindMany<Row> & Omitting<Row, P>): Readonly<Omit<Row, P>>[]
  /** The first row that `findMany` would give, or null. Throws as that does. */
  findFirst(query?: LocalFindFirst<Row> & Whole): Row | null
  findFirst<P extends Property<Row>>(
    query: LocalFindFirst<Row> & Select<Row, P>,
  ): Readonly<Pick<Row, P & keyof Row>> | null
  findFirst<P extends Property<Row>>(
    query: LocalFindFirst<Row> & Omitting<Row, P>,
  ): Readonly<Omit<Row, P>> | null
  /** How many rows the condition holds for. Throws as `findMany` does. */
  count(query?: LocalCount<Row>): number
}

/** Queries of a snapshot: from memory, or not at all. They reject as their synchronous fellows throw. */
export interface SnapshotQueries<Row> {
  findMany(query?: FindManyInSnapshot<Row> & Whole): Promise<Row[]>
  findMany<P extends Property<Row>>(
    query: FindManyInSnapshot<Row> & Select<Row, P>,
  ): Promise<Readonly<Pick<Row, P & keyof Row>>[]>
  findMany<P extends Property<Row>>(
    query: FindManyInSnapshot<Row> & Omitting<Row, P>,
  ): Promise<Readonly<Omit<Row, P>>[]>
  findFirst(query?: FindFirstInSnapshot<Row> & Whole): Promise<Row | null>
  findFirst<P extends Property<Row>>(
    query: FindFirstInSnapshot<Row> & Select<Row, P>,
  ): Promise<Readonly<Pick<Row, P & keyof Row>> | null>
  findFirst<P extends Property<Row>>(
    query: FindFirstInSnapshot<Row> & Omitting<Row, P>,
  ): Promise<Readonly<Omit<Row, P>> | null>
  count(query?: CountInSnapshot<Row>): Promise<number>
}

/** Queries of the newest state: from memory, without I/O, where that proves the answer; else PostgreSQL is asked, if `onStale` and `onUnknown` allow it. */
export interface Queries<Row> {
  /** The rows that the query means. @throws {QueryError} and as `findUnique` does. */
  findMany(query?: FindMany<Row> & Whole): Promise<Row[]>
  findMany<P extends Property<Row>>(
    query: FindMany<Row> & Select<Row, P>,
  ): Promise<Readonly<Pick<Row, P & keyof Row>>[]>
  findMany<P extends Property<Row>>(
    query: FindMany<Row> & Omitting<Row, P>,
  ): Promise<Readonly<Omit<Row, P>>[]>
  /** The first row that `findMany` would give, or null. @throws as that does. */
  findFirst(query?: FindFirst<Row> & Whole): Promise<Row | null>
  findFirst<P extends Property<Row>>(
    query: FindFirst<Row> & Select<Row, P>,
  ): Promise<Readonly<Pick<Row, P & keyof Row>> | null>
  findFirst<P extends Property<Row>>(
    query: FindFirst<Row> & Omitting<Row, P>,
  ): Promise<Readonly<Omit<Row, P>> | null>
  /** How many rows the condition holds for. @throws as `findMany` does. */
  count(query?: Count<Row>): Promise<number>
  /** Whether memory would answer the query now, how, and what PostgreSQL would be asked. Answers it once to find out. @throws {QueryError} */
  explain(query?: LocalFindMany<Row>): Explanation
}
