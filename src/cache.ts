import type pg from 'pg'
import type { Verification } from './audit/report.js'
import { CacheCore } from './cache/core.js'
import type { CacheEvents } from './cache/events.js'
import type { CacheHealth, CacheState } from './cache/health.js'
import { resolveOptions } from './cache/options.js'
import type {
  AddTableOptions,
  OpenCacheOptions,
  Queryable,
  Session,
  VerifyOptions,
  WriteOptions,
  Written,
} from './cache/types.js'
import type {
  RequestScope,
  RunOptions,
  Snapshot,
  StrictSnapshot,
  Table,
  TableDeclaration,
  WaitOptions,
} from './query/types.js'

/** Rows of a Postgres database in this process's memory, kept true by its change stream. */
export interface Cache extends AsyncDisposable {
  /** The table that this class, or result of `defineTable`, declares. @throws {OptionError} if it is not among the cache's entities. */
  table<Row extends object>(declaration: TableDeclaration<Row>): Table<Row>
  /**
   * One more table, declared as the others are, from now on: it is read beside the running stream, while the others go on, and loaded with them after
   * a reconnect. Resolves when it can be read, with the table; at once if it is in the cache already. The shared publication is extended as needed;
   * one of yours is checked. Tables are added one at a time. With wal2json and decoderbufs, whose streams keep to the tables that they began with,
   * everything is loaded anew, as after a reconnect, with the new table among it.
   *
   * @throws {SetupError} with everything in which declaration and table don't fit. @throws {PublicationError} with the SQL that is missing.
   * @throws {MemoryLimitError} @throws {PoisonError} @throws {TableChangedError} @throws {ClosedError}
   * Rejects with the signal's reason when it aborts. When it rejects, nothing of the table is left, but that the shared publication carries it.
   */
  addTable<Row extends object>(
    declaration: TableDeclaration<Row>,
    options?: AddTableOptions,
  ): Promise<Table<Row>>
  /**
   * All tables as of the newest visible commit, for as long as it is held (at most `snapshotMaxAgeMs`). Release it: it keeps old versions in memory.
   *
   * @throws {NotReadyError} @throws {StaleError} if memory may be too old. @throws {ClosedError}
   */
  snapshot(): Snapshot
  /**
   * All tables as of one commit, at or after what memory shows at the call, with an answer to every query: a transaction on a session of its own is held
   * open beside it, which shows that same commit. Not every transaction shows one, so several may be begun. At most `connections` at a time.
   *
   * @throws {SnapshotNotAlignedError} if none was found within `timeoutMs`. @throws {StrictSnapshotLimitError} @throws {NotReadyError} @throws {StaleError} if
   * memory may be too old. @throws {ConnectionError} @throws {OptionError} @throws {ClosedError} Rejects with the signal's reason when it aborts.
   */
  strictSnapshot(options?: WaitOptions): Promise<StrictSnapshot>
  /**
   * What `work` gives, run as one request: within it, and in whatever it calls and awaits, every asynchronous read of every table sees one commit.
   * With `token` that commit is at or after it, as with a read's `after`. What it keeps is released when `work` has ended, however it ended.
   *
   * The commit is left only forward: by a read that asks for more (`after`, `maxStaleness`), and by one that follows an answer of PostgreSQL's own,
   * which may show newer commits. If memory can't be had, as `onStale`, `onTimeout` and `onUnknown` say, the request's reads ask PostgreSQL.
   * `table.local` takes no notice of it: `scope.snapshot` has the same synchronous reads.
   *
   * @throws whatever `work` is rejected with. @throws {OptionError} @throws {ClosedError} and, where the policies say 'throw', what a read throws.
   */
  run<T>(options: RunOptions, work: (scope: RequestScope) => T | PromiseLike<T>): Promise<T>
  /** The scope of the request that the caller runs in, or null outside of `run`, and once that has ended. */
  readonly scope: RequestScope | null
  /** The newest visible commit's position, as a token for `waitFor` here or on any other server. @throws {NotReadyError} @throws {ClosedError} */
  readonly position: string
  /**
   * What `work` gives, done in a transaction on a client of your pool, and the commit's token, which costs no further round trip. Committed when
   * `work` resolves, rolled back when it rejects. Don't COMMIT or ROLLBACK in it.
   *
   * @throws whatever `work` or the commit was rejected with. @throws {WriteError} if an error that `work` caught has undone the transaction, or
   * the connection was lost in the middle of the commit. Rejects with the signal's reason when it aborts. @throws {OptionError} @throws {ClosedError}
   */
  write<T>(work: (client: pg.PoolClient) => Promise<T>, options?: WriteOptions): Promise<Written<T>>
  /**
   * A token at or after everything that was committed before the call, by whomever: one round trip to the server. Taken after your own commit it
   * is a token of that commit. With `client`, a client or pool of pg, it is asked for there, else on a session of walcache's own.
   *
   * @throws {OptionError} if the client is inside a transaction. @throws {ConnectionError} @throws {ClosedError} Rejects with the signal's reason
   * when it aborts, and with what the client rejects with.
   */
  token(client?: Queryable, options?: { readonly signal?: AbortSignal }): Promise<string>
  /**
   * Resolves when everything up to the token's position is visible here: every read after it is at or after that commit.
   *
   * @throws {WaitTimeoutError} @throws {TokenError} for a text that is no token of this database, or not signed with `tokenSecret`.
   * @throws {TokenLostError} at once, if a failover has lost what it names. @throws {NotReadyError}
   * @throws {OverloadedError} if very many wait already. @throws {ClosedError} Rejects with the signal's reason when it aborts.
   */
  waitFor(token: string, options?: WaitOptions): Promise<void>
  /**
   * One user's reads and writes, which never go back, on whatever server: begin it with the last request's `session.token`, and keep the new one
   * when the request ends. Without a token, or with an empty one, it has seen nothing yet.
   *
   * @throws {TokenError} for a text that is no token, or not signed with `tokenSecret`. Reads throw TokenLostError if a failover has lost what it names.
   */
  session(token?: string | null): Session
  /** Milliseconds by which memory may be behind the server; Infinity before that was ever shown. */
  staleness(): number
  /**
   * Calls `listener` at each such event, until what it returns is called. What it throws harms nobody.
   *
   * `stale`: memory may be older than a bound allows; `fresh`: it is within that again. `mismatch`: rows in memory are not PostgreSQL's, and are mended.
   */
  on<Name extends keyof CacheEvents>(name: Name, listener: (event: CacheEvents[Name]) => void): () => void
  /**
   * Compares all rows in memory with PostgreSQL, while commits arrive, table by table and in small parts: what `tables` names, else everything. What
   * differs is told (`mismatch`) and mended. Rows that are being changed are tried again a few times. It takes about as long as reading the tables does.
   *
   * @throws {OptionError} @throws {NotReadyError} @throws {DatabaseReadError} @throws {ConnectionError} if the stream stays lost. @throws {ClosedError}
   * Throws what a table is not answered for. Rejects with the signal's reason when it aborts.
   */
  verify(options?: VerifyOptions): Promise<Verification>
  /** `starting` until the first load is done; `reconnecting` while memory is served without a stream behind it. */
  readonly state: CacheState
  /** What an operator wants to see: nothing of any row in it. */
  health(): CacheHealth
  /** Resolves when the tables are loaded and shown to be fresh. @throws {ClosedError} if the cache fails or closes before that. */
  ready(): Promise<void>
  /** Ends everything: slot, sessions, timers, readers. Idempotent; resolves when nothing is left. Reads get a ClosedError from then on. */
  close(): Promise<void>
}

/**
 * Opens a cache of the tables that `entities` declare, and (unless `wait` is false) waits until they are loaded.
 *
 * @throws {OptionError} for options. @throws {SetupError} with everything in which declarations, server and rights don't fit, at once.
 * @throws {PublicationError} with the SQL that is missing. @throws {ConnectionError} @throws {SlotError}
 * When it rejects, nothing is left: no slot, no connection, no timer.
 */
export async function openCache(options: OpenCacheOptions): Promise<Cache> {
  const core = new CacheCore(resolveOptions(options))
  await core.start()
  return core
}
