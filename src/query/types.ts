import type { Lsn } from '../change/lsn.js'
import type { KeyValue, ReadOptions } from './read-options.js'
import type {
  LocalFindMany,
  LocalQueries,
  Omitting,
  Property,
  Queries,
  Select,
  SnapshotQueries,
  Where,
  Whole,
} from './query-types.js'

export type { KeyValue, ReadOptions }

/**
 * A key of a table: the one column's value, or an object of all properties of the primary key (also for a single column), or of those of another
 * unique key that the database has.
 */
export type Key<Row> = KeyValue | (Partial<Row> & object)

/** Reads that never leave the process. What memory can't prove they refuse with an error that says why. */
export interface LocalReads<Row> extends LocalQueries<Row> {
  /**
   * The row with this key; undefined only if it is known that there is none. Frozen, and shared between readers.
   *
   * @throws {KeyError} for a key that can't be one of this table's. @throws {NotLocalError} for one that only PostgreSQL can compare.
   * @throws {StaleError} if memory may be too old. @throws {NotReadyError} @throws {MemoryLimitError} @throws {ClosedError}
   * @throws {SnapshotTooOldError} if this is a snapshot's table, and the snapshot is over.
   */
  get(key: Key<Row>): Row | undefined
  /** The rows of these keys, in their order, undefined where there is none: all as of one commit. Throws as `get` does. */
  getMany(keys: readonly Key<Row>[]): (Row | undefined)[]
  /** Whether there is a row with this key. Decodes nothing. Throws as `get` does. */
  has(key: Key<Row>): boolean
  /** How many rows the table has. Throws as `get` does. */
  readonly size: number
  /**
   * All rows, in no particular order, as of the commit visible when the iteration began.
   *
   * On a table (not a snapshot) the loop must end in the same synchronous run: an iteration that is carried on after an `await` throws
   * SnapshotTooOldError as soon as another commit has been published. Use a snapshot for longer ones.
   */
  [Symbol.iterator](): IterableIterator<Row>
}

/** How long is waited, and what ends that. */
export interface WaitOptions {
  /** Milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** A look-up by a key, with what an asynchronous read takes besides. */
export interface FindUnique<Row> extends ReadOptions {
  /** The properties of a key: the primary one, or a unique one. */
  readonly where: Partial<Row>
  /**
   * Of a bounded table, when memory does not know the key: 'consistent' (default) answers as of a commit that is visible here, so that all reads fit
   * together; 'fresh' answers as soon as PostgreSQL does, with a row that may be ahead of what other reads see.
   */
  readonly consistency?: 'consistent' | 'fresh'
}

/** A look-up in a snapshot, which is as old as it is. */
export interface FindInSnapshot<Row> {
  /** The properties of a key: the primary one, or a unique one. */
  readonly where: Partial<Row>
  readonly signal?: AbortSignal
}

/** One row's change, as one commit made it. */
export interface RowChange<Row> {
  readonly kind: 'insert' | 'update' | 'delete'
  /** The key's properties: of the row before, or of a new one. */
  readonly key: Partial<Row>
  /**
   * The whole row before, whatever the table's replica identity; null for an insert. Undefined if it is not known, which only happens on a bounded
   * table that did not hold it, and never under REPLICA IDENTITY FULL. To a reader with a filter a change of such a row is told if it may concern it:
   * as a delete if the new row does not match, as an update if it does.
   */
  readonly old: Row | null | undefined
  /**
   * The whole row after; null for a delete. Undefined if it is not known, which only happens on a bounded table: the row was not held, and the commit
   * left a value that is stored out of line (TOAST) as it was, so that it was not sent. Read the row to have it, as of that commit or a later one.
   */
  readonly new: Row | null | undefined
  /** Where `new` is undefined: what the commit did tell of the new row, its key among it. */
  readonly told?: Partial<Row>
  /** The commit's position: a token. */
  readonly position: string
  /** The commit's end as a log position. */
  readonly lsn: Lsn
  /** Whether this is the commit's last change of this table. */
  readonly last: boolean
}

/** The table was emptied by TRUNCATE. */
export interface TruncateChange {
  readonly kind: 'truncate'
  readonly position: string
  readonly lsn: Lsn
  readonly last: boolean
}

/**
 * Changes before `position` were not delivered: the reader was too slow, the cache had to load anew and can't tell what differs, or what came
 * after `since` is not held any more (`history`). Read the table again. It may come within a commit, for a reader that lets others run between
 * two changes of one: the rest of that commit is part of what is read again.
 */
export interface ChangeGap {
  readonly kind: 'gap'
  readonly reason: 'slow reader' | 'reload' | 'history'
  /** What was missed lies at or before this commit: a read whose own position is not before it has all of that. */
  readonly position: string
  readonly lsn: Lsn
}

/** What `changes()` gives, told apart by `kind`. */
export type TableChange<Row> = RowChange<Row> | TruncateChange | ChangeGap

/** Options of `prefetch`. */
export interface PrefetchOptions {
  readonly signal?: AbortSignal
}

/** How far the making of an index has come. */
export interface IndexProgress {
  /** Rows that were looked at. */
  readonly rows: number
  /** As the table is now: about where it ends. */
  readonly rowsTotal: number
}

/** Options of `createIndex`. */
export interface CreateIndexOptions {
  /** Calls it off: nothing of the index is left then. */
  readonly signal?: AbortSignal | undefined
  /** Called after each slice. */
  readonly onProgress?: ((progress: IndexProgress) => void) | undefined
}

/** Options of `changes()`. */
export interface ChangesOptions<Row> {
  /**
   * Only changes of these rows: a row that begins to match is an insert, one that ceases to match a delete. Readers that each want another value
   * of a column cost a change one look-up for all of them. On a bounded table a change of a row that is not held is told to all whom it may concern:
   * its key is always known, other values before the change are not.
   */
  readonly where?: Where<Row>
  /**
   * A token: begins with the first change after it, if all of them are still held, else with a `gap`. Held is what happens while somebody follows
   * the table, within `feedBytes`, and for `feedHistoryMs` after that.
   */
  readonly since?: string
  /** Ends the iteration. */
  readonly signal?: AbortSignal
}

/** A query's answer, as of one commit. */
export interface Watched<Row> {
  /** Frozen, as its rows are. */
  readonly rows: readonly Row[]
  /** The commit's position: a token. */
  readonly position: string
  readonly lsn: Lsn
}

/** A query that is answered again and again. */
export interface Watch<Row> extends LocalFindMany<Row> {
  /** Ends the iteration. */
  readonly signal?: AbortSignal
}

/** A table as of one commit. */
export interface SnapshotTable<Row> extends SnapshotQueries<Row> {
  /** Synchronous reads, which never leave the process. */
  readonly local: LocalReads<Row>
  /**
   * The row with this key, or null if there is none. From memory, without I/O, where that proves the answer; else a table (a snapshot never)
   * asks PostgreSQL, if `onStale` and `onUnknown` allow it: what comes back then is PostgreSQL's state at that moment, and is not kept.
   *
   * @throws {KeyError} for a key that can't be one of this table's. @throws {StaleError} @throws {NotLocalError} where the options say 'throw'.
   * @throws {OverloadedError} @throws {DatabaseReadError} @throws {ConnectionError} from reads that ask PostgreSQL.
   * @throws {TokenError} @throws {WaitTimeoutError} for `after`. @throws {ClosedError}
   */
  findUnique(query: FindInSnapshot<Row>): Promise<Row | null>
  /** As `findUnique`. @throws {NotFoundError} if there is no such row. */
  findUniqueOrThrow(query: FindInSnapshot<Row>): Promise<Row>
}

/** A table as it is now. */
export interface Table<Row> extends Omit<SnapshotTable<Row>, keyof SnapshotQueries<Row>>, Queries<Row> {
  findUnique(query: FindUnique<Row>): Promise<Row | null>
  findUniqueOrThrow(query: FindUnique<Row>): Promise<Row>
  /**
   * As `findUnique`, but where that would ask PostgreSQL, `load` is called and what it gives is the answer: a repository's own read, say. `cached`
   * makes a function of it.
   */
  findUniqueOr<T>(query: FindUnique<Row>, load: () => Promise<T>): Promise<Row | null | T>
  /**
   * Reads the rows of these keys into memory, where the table is bounded and does not know them: as many as have room. Keys that can't be shown at a
   * commit within `fillWaitMs` are left out.
   *
   * @throws {KeyError} @throws {NotLocalError} for a key that only PostgreSQL can compare. @throws {OverloadedError} @throws {DatabaseReadError}
   * @throws {ConnectionError} Rejects with the signal's reason when it aborts.
   */
  prefetch(keys: Iterable<Key<Row>>, options?: PrefetchOptions): Promise<void>
  /**
   * Has a bounded table forget what it knows of this key, so that the next read asks PostgreSQL. False if it knew nothing, or if a commit that is
   * being applied has just written it. What is being read for it now is not kept.
   *
   * @throws {KeyError} also if the table is whole. @throws {NotLocalError}
   */
  evict(key: Key<Row>): boolean
  /**
   * Makes an index on these properties, as `@Index` would have: for values of all of them, for values of the first ones and a range of the next, and for
   * their order. The table is read and written meanwhile: it is made in slices of `sliceMs`, and commits that come enter it. Resolves when queries use
   * it, those of snapshots that were open before, too; at once if there is such an index. It is there from then on, also when the cache loads anew.
   *
   * @throws {QueryError} for a property that the table does not have. @throws {OptionError} @throws {NotLocalError} if only PostgreSQL can compare values of
   * one. @throws {MemoryLimitError} if there is no room for it. @throws {NotReadyError} @throws {ClosedError} Rejects with the signal's reason when it aborts.
   */
  createIndex(properties: readonly Property<Row>[], options?: CreateIndexOptions): Promise<void>
  /**
   * The table's changes from now on, commit by commit, in the order of their commits, each when its commit is visible. Ends when `signal`
   * aborts, the loop is left, or the cache closes. A reader that falls too far behind gets a `gap` and goes on with what is newest.
   *
   * @throws {OptionError} @throws {QueryError} @throws {NotLocalError} for a filter that only PostgreSQL can apply. @throws {TokenError} for `since`.
   * @throws {NotReadyError} @throws {MemoryLimitError} @throws {ClosedError} The loop gets one of the latter two if the table, or the
   * cache, gives up while it runs; a cache that is closed just ends it.
   */
  changes(options?: ChangesOptions<Row>): AsyncIterableIterator<TableChange<Row>>
  /**
   * The query's answer, as `local.findMany` gives it, and the next one after each commit that changes it. A reader that is slow gets one answer for
   * all commits that have come meanwhile, and each is the state after one commit. Memory is asked again only when rows that `where` means were
   * touched. Ends as `changes` does.
   *
   * Of a bounded table, what memory does not know is read from PostgreSQL, until the answer is the state after one commit.
   *
   * @throws {QueryError} @throws {NotLocalError} if only PostgreSQL can answer: the call if `where` says so, else the loop, of a whole table.
   * @throws {DatabaseReadError} from the loop, if PostgreSQL fails of a bounded table's query. @throws {StaleError} if
   * memory may be too old at the call: afterwards each answer says its commit. @throws {NotReadyError} @throws {MemoryLimitError} @throws {ClosedError}
   */
  watch(query?: Watch<Row> & Whole): AsyncIterableIterator<Watched<Row>>
  watch<P extends Property<Row>>(
    query: Watch<Row> & Select<Row, P>,
  ): AsyncIterableIterator<Watched<Readonly<Pick<Row, P & keyof Row>>>>
  watch<P extends Property<Row>>(
    query: Watch<Row> & Omitting<Row, P>,
  ): AsyncIterableIterator<Watched<Readonly<Omit<Row, P>>>>
}

/** A table as one session reads it: asynchronous reads, none of which goes back behind another one of the session. */
export type SessionTable<Row> = Omit<
  Table<Row>,
  'local' | 'changes' | 'watch' | 'prefetch' | 'evict' | 'createIndex'
>

/** All tables as of one commit. Release it with `using`, or `close()`: it keeps old row versions in memory. */
export interface Snapshot extends Disposable {
  /** The table as of the snapshot's commit. @throws {OptionError} if it is not among the cache's entities. */
  table<Row extends object>(declaration: TableDeclaration<Row>): SnapshotTable<Row>
  /** The commit's position: a token. */
  readonly position: string
  /** The same as a log position, to compare with those of changes. */
  readonly lsn: Lsn
  /** Releases it; its reads then throw SnapshotTooOldError. Idempotent. */
  close(): void
}

/**
 * All tables as of one commit, those whose rows memory does not hold among them: what memory can't answer is asked in a transaction that is held open on
 * the server, and sees that same commit. Close it soon: as long as it is open, the server can't remove rows that became dead after it (it holds `xmin` back).
 */
export interface StrictSnapshot extends AsyncDisposable {
  /**
   * As a snapshot's, but that its asynchronous reads answer every query of every table.
   *
   * They throw SnapshotMissError where the table was altered, truncated or rewritten since; DatabaseReadError, ConnectionError, OverloadedError.
   */
  table<Row extends object>(declaration: TableDeclaration<Row>): SnapshotTable<Row>
  /** The commit's position: a token. */
  readonly position: string
  /** The same as a log position, to compare with those of changes. */
  readonly lsn: Lsn
  /** Ends it, and its transaction. Idempotent; resolves when the session is gone. */
  close(): Promise<void>
}

/** What the reads of one request have in common. */
export interface RunOptions extends Omit<ReadOptions, 'after'> {
  /** The request's reads are at or after this token. */
  readonly token?: string | undefined
  /** The commit to begin with, instead of the newest. It stays yours to close. */
  readonly snapshot?: Snapshot
}

/** One request: within it every asynchronous read sees one commit, and none sees an older state than one before it. */
export interface RequestScope {
  /** The commit that is read, or null if memory could not be had for the request: then each read asks PostgreSQL. */
  readonly snapshot: Snapshot | null
  /**
   * Says that PostgreSQL itself was read or written, by an ORM or a pool: the scope's later reads are then at or after what that showed. They ask the
   * server for its position once, and move the scope forward to it. `cache.write`, and reads of the cache that had to ask PostgreSQL, need not be told.
   */
  databaseWasRead(): void
  /**
   * A token at or after everything that the request has been shown: its commit's, or one that the server is asked for.
   *
   * @throws {ConnectionError} @throws {ClosedError} Rejects with the signal's reason when it aborts.
   */
  token(signal?: AbortSignal): Promise<string>
}

/** What names a table to the cache: a class with `@ReplicatedTable`, or what `defineTable` returned. */
export type TableDeclaration<Row extends object> =
  | (abstract new (
      ...args: never[]
    ) => Row)
  | { readonly row?: Row | undefined; readonly table: string }
