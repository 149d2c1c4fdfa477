import type { CacheError } from '../errors.js'

/**
 * `starting`: the first load is not done. `live`: a stream keeps memory true. `reconnecting`: memory is as old as `stalenessMs` says, and a new
 * stream is being made. `failed`: nothing helps, see `lastError`. `closed`.
 */
export type CacheState = 'starting' | 'live' | 'reconnecting' | 'failed' | 'closed'

export interface TableHealth {
  /** `schema.table`. */
  readonly name: string
  readonly rows: number
  /** Bytes of packed rows and their indexes. */
  readonly bytes: number
  /** Rows that are held decoded as well. */
  readonly decodedRows: number
  /** Why it is not answered from memory, or null. */
  readonly failed: CacheError | null
}

export interface CacheHealth {
  readonly state: CacheState
  /** Milliseconds by which memory may be behind the server; Infinity before that was ever shown. */
  readonly stalenessMs: number
  /** The visible position, as PostgreSQL spells it; null before the first load. */
  readonly lsn: string | null
  readonly bytes: number
  readonly tables: readonly TableHealth[]
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
  readonly reconnects: number
  /** Bytes of its log that the server keeps for a durable slot; null if there is none, or it has not been seen yet. */
  readonly retainedWalBytes: number | null
  readonly lastError: CacheError | null
}
