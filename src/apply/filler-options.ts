import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { QueryConnection, Timers } from '../runtime.js'
import type { CommitSeq } from '../store/address.js'
import type { CommitLog } from './commit-log.js'
import type { FillRules } from './fill-rules.js'

/** What a `Filler` needs of the generation around it. */
export interface FillerOptions {
  readonly log: CommitLog
  readonly timers: Timers
  /** How long an answer is held back for its commit, in milliseconds. */
  readonly waitMs: number
  /** Runs a query on a session of the primary's, when there is room for it. */
  readonly run: <T>(work: (session: QueryConnection) => Promise<T>, signal: AbortSignal) => Promise<T>
  readonly position: () => Lsn
  readonly visible: () => CommitSeq
  /** The server's start time, if it is known; another one means another server. */
  readonly startedAt: () => string | null
  readonly normalise: (insertPosition: Lsn) => Lsn
  /** Has the server flush its log. */
  readonly nudge: () => void
  /** The server may have been replaced. */
  readonly suspect: () => void
  /** What the slot's own snapshot saw: more than others do, as long as a commit waits for a standby. */
  readonly slotSnapshot: SqlSnapshot
  readonly rules?: FillRules
}
