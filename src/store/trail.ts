import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { Snapshot } from './snapshot.js'

/** States that one question keeps readable, at most: when more become visible before its answer is placed, it has to be asked again. */
const STATES_MAX = 1_024

interface Step {
  /** The commit that made it visible, as the stream has it, 32 bits. */
  readonly xid: number
  readonly state: Snapshot
}

/**
 * The states that have become visible since a question was sent, each kept readable until it is known which of them the answer shows, if any: an SQL
 * snapshot need not show the state after any commit, since commits become visible there in another order than that of their records.
 */
export class Trail {
  readonly #first: Snapshot
  readonly #steps: Step[] = []
  readonly #onReleased: () => void
  #isBroken = false

  constructor(first: Snapshot, onReleased: () => void) {
    this.#first = first
    this.#onReleased = onReleased
  }

  /** A commit has become visible; `state` is the one after it. */
  add(xid: number, state: Snapshot): void {
    if (this.#isBroken || this.#steps.length === STATES_MAX) {
      state.release()
      this.break()
    } else this.#steps.push({ xid, state })
  }

  /** What has become visible is no commit of the server's, or there are too many. */
  break(): void {
    this.#isBroken = true
  }

  /**
   * The state that the snapshot shows, null if it is not one of these. It sees every commit from before the question, and all commits that it sees
   * have become visible here.
   */
  shownBy(snapshot: SqlSnapshot): Snapshot | null {
    if (this.#isBroken) return null
    let shown = this.#first
    let isPast = false
    for (const { xid, state } of this.#steps) {
      if (!snapshot.sees(snapshot.widen(xid))) isPast = true
      else if (isPast) return null
      else shown = state
    }
    return shown
  }

  /** Lets go of all states, but of `kept`, which is the caller's from then on. */
  release(kept: Snapshot | null): void {
    this.#onReleased()
    for (const state of [this.#first, ...this.#steps.map(step => step.state)])
      if (state !== kept) state.release()
  }
}
