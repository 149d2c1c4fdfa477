/** What callers of a cache give and get: nothing of how it works is in here, so that their compilers need not read that. */
import type pg from 'pg'
import type { LoadProgress } from '../apply/load-progress.js'
import type { VerifyProgress } from '../audit/report.js'
import type { DecoderName } from '../decode/index.js'
import type { Logger } from '../observe.js'
import type { SessionTable, Snapshot, TableDeclaration, WaitOptions } from '../query/types.js'
import type { Runtime } from '../runtime.js'
import type { ConnectionSource } from '../wire/config.js'

/** What to do with a read when memory may be older than it allows. */
export type StalePolicy = 'throw' | 'database' | 'serve'

/** A replication slot that outlives its connection. Each process needs one of its own. */
export interface DurableSlotOptions {
  readonly durable: true
  /** 1 to 63 lower-case letters, digits and underscores. What a crashed process left behind is found by names that begin with `walcache_`. */
  readonly name: string
  /** How many bytes of the server's log it may hold back before it is given up, and the cache loads anew. Default 4 GiB. */
  readonly walBudgetBytes?: number
}

/** Options of `openCache`: defaults and ranges are in docs/options.md. An unknown one is refused with an OptionError. */
export interface OpenCacheOptions {
  /** The caller's pool: its configuration and type parsers. walcache takes none of its clients, except one for a moment at the start. */
  readonly pool: pg.Pool
  /** The tables to keep: classes with `@ReplicatedTable`, or results of `defineTable`. */
  readonly entities: readonly TableDeclaration<object>[]
  /** Where the replication connection goes, if not where the pool does, or as which role: a URL or a client configuration. */
  readonly replication?: ConnectionSource
  /** How many sessions of its own walcache has at most, besides the replication connection. Default 4, at least 2. */
  readonly connections?: number
  /** The output plugin. Default 'pgoutput', which every PostgreSQL has; what the others can't carry is refused, see docs/decoders.md. */
  readonly decoder?: DecoderName
  /** With 'wal2json': allow float4, float8 and numeric columns, although NaN and the infinities arrive as NULL. You vouch that none is stored. */
  readonly assumeFinite?: boolean
  /**
   * With 'decoderbufs': you vouch that no mapped table is ever truncated, so that its file need not be watched, and VACUUM FULL and CLUSTER
   * don't cause a reload.
   */
  readonly assumeNoTruncate?: boolean
  /**
   * A publication of yours, which is only checked. Without it there is one named "walcache", shared by all applications on the
   * database, created and added to as needed.
   */
  readonly publication?: string
  /**
   * The replication slot. Default: a temporary one, which goes with the connection; then all tables are loaded anew. A durable one outlives a
   * lost connection, so that nothing is loaded anew; it is dropped when the cache is closed. Each process needs a name of its own.
   */
  readonly slot?: { readonly temporary: true } | DurableSlotOptions
  /** Milliseconds by which a read may be behind the server. Default 10,000. */
  readonly maxStaleness?: number
  /** When memory may be older: `local` reads 'throw' (default) or 'serve'; asynchronous ones ask the 'database' (default), 'throw' or 'serve'. */
  readonly onStale?: { readonly local?: 'throw' | 'serve'; readonly asynchronous?: StalePolicy }
  /** When memory can't prove the answer to an asynchronous read: ask the 'database' (default), or 'throw'. */
  readonly onUnknown?: 'database' | 'throw'
  /** How long a read of a bounded table that asks PostgreSQL holds the answer back for its commit, in milliseconds; then `onUnknown`. Default 100. */
  readonly fillWaitMs?: number
  /** Compares so many rows a second, chosen by chance, with PostgreSQL, and mends what differs. Default: off. */
  readonly audit?: { readonly rowsPerSecond: number }
  /** How many fall-through reads run at once (16, and always fewer than `connections`) and wait (256); one more gets an OverloadedError. */
  readonly databaseGate?: { readonly running?: number; readonly waiting?: number }
  /** Whether to wait until all tables are loaded. Default true. With false, asynchronous reads ask PostgreSQL meanwhile. */
  readonly wait?: boolean
  /** Bytes that rows may take: in all tables together, and in one. A number is both. Default: half the machine's memory. */
  readonly memory?: number | { readonly cache?: number; readonly table?: number }
  /** The longest turn of the event loop that applying, pruning and loading take, in milliseconds. Default 5. */
  readonly sliceMs?: number
  /** How long a snapshot may be held, in milliseconds. Default 30,000. */
  readonly snapshotMaxAgeMs?: number
  /** Bytes of recent changes that are held for readers of `changes()`, all together. Default 32 MiB. */
  readonly feedBytes?: number
  /** How long a table's changes are held after its last reader has left, so that one who comes back with `since` misses nothing. Default 0: not at all. */
  readonly feedHistoryMs?: number
  /** Signs tokens, so that nobody else can make one: 16 characters or more. Several: the first signs, all are accepted, so that it can be changed. */
  readonly tokenSecret?: string | readonly string[]
  /** Default: silent. */
  readonly logger?: Logger
  /** Stops the start at any point; later it closes the cache. */
  readonly signal?: AbortSignal
  /** Told how far a load is. */
  readonly onProgress?: (progress: LoadProgress) => void
  /** Clock, timers and chance; for simulations. */
  readonly runtime?: Runtime
}

/** Options of `cache.addTable`. */
export interface AddTableOptions {
  /** Calls it off: nothing of the table is left then. */
  readonly signal?: AbortSignal
}

/** Options of `cache.verify`. */
export interface VerifyOptions {
  /** The tables to verify. Default: all. */
  readonly tables?: readonly TableDeclaration<object>[]
  /** Calls it off: `verify` rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Told how far it is. */
  readonly onProgress?: (progress: VerifyProgress) => void
}

/** PostgreSQL's isolation levels. */
export type Isolation = 'read committed' | 'repeatable read' | 'serializable'

/** Options of `cache.write`. */
export interface WriteOptions {
  /** Default: what the session's `default_transaction_isolation` says. */
  readonly isolation?: Isolation
  /**
   * Gives the transaction up, unless it is being committed already: its connection is ended, and so it is rolled back; a statement that runs
   * just then, when that ends.
   */
  readonly signal?: AbortSignal
}

/** What `cache.write` resolves with. */
export interface Written<T> {
  /** What the function gave. */
  readonly result: T
  /** The commit's token. */
  readonly token: string
}

/** Anything with pg's `query`: a client, a pool, or what an ORM has of either. */
export interface Queryable {
  query(sql: string): Promise<{ readonly rows: readonly object[] }>
}

/**
 * One user's reads and writes, which never go back: each read is at or after everything that an earlier one has shown, wherever that was answered,
 * on this server or another. Keep `token` in a cookie, and begin the next request's session with it.
 */
export interface Session {
  /** The table that this class, or result of `defineTable`, declares. @throws {OptionError} if it is not among the cache's entities. */
  table<Row extends object>(declaration: TableDeclaration<Row>): SessionTable<Row>
  /** A snapshot at or after everything that the session has seen. Throws as `cache.waitFor` and `cache.snapshot` do. */
  snapshot(options?: WaitOptions): Promise<Snapshot>
  /** As `cache.write`; the session's later reads see what it wrote. */
  write<T>(work: (client: pg.PoolClient) => Promise<T>, options?: WriteOptions): Promise<Written<T>>
  /** Later reads are at or after this token as well. @throws {TokenError} */
  observe(token: string): void
  /** The newest position that the session has seen, or null if it has not seen any. */
  readonly token: string | null
  /** The token, or an empty text: good for `cache.session` either way. */
  toString(): string
}
