import { onStandby } from '../apply/fill-query.js'
import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import { ConnectionError } from '../errors.js'
import type { Fingerprint } from '../freshness/fingerprint.js'
import type { LiveTable } from '../query/live.js'
import type { Timers } from '../runtime.js'
import type { Snapshot } from '../store/snapshot.js'
import type { Store } from '../store/store.js'

/** How long what a query saw may take to become visible before the server is asked to flush its log. */
const NUDGE_AFTER_MS = 15

/** What a query on the primary saw. */
export interface Seen {
  readonly snapshot: SqlSnapshot
  /** All that it saw had been written before this insert position, which is normalised. */
  readonly position: Lsn
  /** When the server was started, as it says; null if nobody has asked. */
  readonly startedAt: string | null
  readonly inRecovery: boolean
  /** What the tables look like there; null if that does not matter. */
  readonly fingerprint: Fingerprint | null
}

/** A state of memory, kept readable for the caller, and the tables that it is of. */
export interface AlignedState {
  readonly state: Snapshot
  readonly tables: readonly LiveTable[]
}

export interface AlignmentContext {
  readonly timers: Timers
  readonly store: Store
  readonly tables: () => readonly LiveTable[]
  /** What the slot's own snapshot saw: more than others do, as long as a commit waits for a standby. */
  readonly slotSnapshot: SqlSnapshot
  readonly startedAt: () => string | null
  /** Whether memory holds the tables as they look here. */
  readonly isAsMapped: (fingerprint: Fingerprint) => boolean
  /** Resolves when the position is visible. */
  readonly reached: (position: Lsn, signal: AbortSignal) => Promise<void>
  /** Has the server flush its log. */
  readonly nudge: () => void
}

/** Finds the commit whose state a query saw. */
export class Alignment {
  readonly #context: AlignmentContext

  constructor(context: AlignmentContext) {
    this.#context = context
  }

  /**
   * The state of memory that `ask` finds in PostgreSQL, over all tables; null if that is the state after no commit, or after one that is not kept
   * readable any more: about one question in ten under load, and all of them while a commit waits for a synchronous standby. It is not before
   * the one that was visible at the call.
   *
   * Why it is that one: every commit from before the question is seen, each that is seen had been written before the position that has been waited
   * for, and those that became visible here meanwhile are seen up to some point and not behind it.
   *
   * @throws {ConnectionError} of a standby, or another server. Rejects with what `ask` does, the reason for which the stream ended, or the signal's.
   */
  async stateSeen(ask: () => Promise<Seen>, signal: AbortSignal): Promise<AlignedState | null> {
    const { store, slotSnapshot, tables, isAsMapped } = this.#context
    const query = store.recent.sending()
    const trail = store.trail()
    let state: Snapshot | null = null
    try {
      const seen = await ask()
      this.#mustBeSameServer(seen)
      const { snapshot, position, fingerprint } = seen
      if (!snapshot.includes(slotSnapshot) || store.recent.wasAheadOf(query, snapshot)) return null
      store.recent.confirm(snapshot)
      await this.#reached(position, signal)
      if (fingerprint !== null && !isAsMapped(fingerprint)) return null
      state = trail.shownBy(snapshot)
      return state === null ? null : { state, tables: tables() }
    } finally {
      trail.release(state)
      store.recent.answered(query)
    }
  }

  #mustBeSameServer({ inRecovery, startedAt }: Seen): void {
    if (inRecovery) throw onStandby()
    const expected = this.#context.startedAt()
    if (startedAt !== null && expected !== null && startedAt !== expected)
      throw new ConnectionError('lost', 'The server was restarted or replaced by another one.', true)
  }

  async #reached(position: Lsn, signal: AbortSignal): Promise<void> {
    const { timers, reached, nudge } = this.#context
    const cancelNudge = timers.after(NUDGE_AFTER_MS, nudge)
    try {
      await reached(position, signal)
    } finally {
      cancelNudge()
    }
  }
}
