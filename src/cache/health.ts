import type { AuditCounts } from '../audit/report.js'
import type { CacheError } from '../errors.js'

/**
 * `starting`: the first load is not done. `live`: a stream keeps memory true. `reconnecting`: memory is as old as `stalenessMs` says, and a new
 * stream is being made. `failed`: nothing helps, see `lastError`. `closed`.
 */
export type CacheState = 'starting' | 'live' | 'reconnecting' | 'failed' | 'closed'

/** How one table is doing. */
export interface TableHealth {
  /** `schema.table`. */
  readonly name: string
  /** Rows in memory: of a whole table all that it has. */
  readonly rows: number
  /** Bytes of packed rows and their indexes. */
  readonly bytes: number
  /** Rows that are held decoded as well. */
  readonly decodedRows: number
  /** Why it is not answered from memory, or null. */
  readonly failed: CacheError | null
  /** What a bounded table has done since it was opened or loaded anew; null for a whole one. */
  readonly bounded: BoundedHealth | null
  /** Keys that the audit and `verify` have compared with PostgreSQL since the cache was opened, and what came of it. */
  readonly audit: Readonly<AuditCounts>
}

/** What a bounded table holds, and what it has done; counts since it was opened or loaded anew. */
export interface BoundedHealth {
  /** Keys that are known to be absent. */
  readonly absentKeys: number
  /** Values of indexes of which memory has all rows, and such as no row has. */
  readonly groups: number
  readonly emptyGroups: number
  /** Bytes of what is held for snapshots, or for commits that are being applied, only. */
  readonly residueBytes: number
  /** Reads by key of rows that were in memory, of keys known to be absent, and of keys of which nothing was known. */
  readonly hits: number
  readonly absentHits: number
  readonly misses: number
  /** Queries that were answered, the keys and groups that they were about, and the rows of those. */
  readonly fills: number
  readonly filledKeys: number
  readonly filledRows: number
  /** Rows that could be kept before the stream had come as far as the query, since their last writer was published. */
  readonly rowsWithoutWait: number
  /** Queries whose answer was held back for its commit, and how often the server was asked to flush for that. */
  readonly waits: number
  readonly nudges: number
  /** Keys whose answer was not kept, since they were evicted meanwhile or the stream was lost. */
  readonly cancelled: number
  /** Keys and groups that had to be asked for once more, since a commit in the log did not say all of a row. */
  readonly askedAgain: number
  /** Groups that were read and had too many rows to be kept. */
  readonly largeGroups: number
  readonly failedFills: number
  /**
   * What left, and why: too many rows, too many bytes, absent keys for other absent keys, rows with another one of their group, groups for other groups,
   * `evict()`, changes that left a row incomplete or too large.
   */
  readonly evictions: {
    readonly rows: number
    readonly bytes: number
    readonly absent: number
    readonly withGroup: number
    readonly groups: number
    readonly call: number
    readonly uncovered: number
  }
  /** Rows that were given but not kept, since they were too large. */
  readonly bypassed: number
}

/** How the cache is doing, at the moment of the call. Nothing of any row is in it. */
export interface CacheHealth {
  /** As `cache.state`. */
  readonly state: CacheState
  /** Milliseconds by which memory may be behind the server; Infinity before that was ever shown. */
  readonly stalenessMs: number
  /** The visible position, as PostgreSQL spells it; null before the first load. */
  readonly lsn: string | null
  /** Bytes of packed rows and indexes, of all tables: what `memory` bounds. */
  readonly bytes: number
  /** In the order of `entities`, then those that were added. */
  readonly tables: readonly TableHealth[]
  /** Snapshots that are held, and for how many milliseconds the oldest has been; 0 if there is none. */
  readonly openSnapshots: number
  readonly oldestSnapshotAgeMs: number
  /** Readers of `changes()`, and the bytes held for them. */
  readonly changeReaders: number
  readonly feedBytes: number
  /** Callers of `waitFor`. */
  readonly waiting: number
  /** Fall-through reads that run, and that wait for their turn. */
  readonly databaseRunning: number
  readonly databaseWaiting: number
  /** How often a stream, or an attempt at one, was lost and tried again since the cache was opened. */
  readonly reconnects: number
  /** Bytes of its log that the server keeps for a durable slot; null if there is none, or it has not been seen yet. */
  readonly retainedWalBytes: number | null
  /** Why the last stream, load or attempt at one ended; null if none has. It stays there after things have mended. */
  readonly lastError: CacheError | null
}
