import { assert } from '../errors.js'
import type { CommitSeq } from './address.js'

/** Which states may still be read: the visible one, and those that a snapshot has pinned. */
export class Readers {
  /** The newest published commit: what new snapshots see. */
  visible: CommitSeq = 0
  /**
   * The number of the state from which on every write was made with a snapshot open; meaningful while there are pins. A transaction that was in
   * progress when the first of them was taken has made some of its writes before.
   */
  pinnedSince: CommitSeq = 0
  /** Pinned sequence numbers, ascending, one entry a snapshot. */
  readonly #pins: CommitSeq[] = []

  get pins(): number {
    return this.#pins.length
  }

  /** The newest state that a snapshot has pinned; -1 if there is none. */
  get newestPin(): CommitSeq {
    return this.#pins.at(-1) ?? -1
  }

  /** The oldest state that is still read: older versions than it sees may go. */
  get horizon(): CommitSeq {
    return this.#pins[0] ?? this.visible
  }

  /** `pending` is the number of the transaction in progress, 0 if there is none. */
  pin(pending: CommitSeq): CommitSeq {
    if (this.#pins.length === 0) this.pinnedSince = pending === 0 ? this.visible : pending
    this.#pins.push(this.visible)
    return this.visible
  }

  unpin(seq: CommitSeq): void {
    const at = this.#firstFrom(seq)
    assert(this.#pins[at] === seq, 'a state that is released was pinned')
    this.#pins.splice(at, 1)
  }

  /** Whether anybody reads a state in `[from, before)`. */
  anyIn(from: CommitSeq, before: CommitSeq): boolean {
    return (this.visible >= from && this.visible < before) || this.pinnedIn(from, before)
  }

  /** Whether a snapshot has pinned a state in `[from, before)`. */
  pinnedIn(from: CommitSeq, before: CommitSeq): boolean {
    const pin = this.#pins[this.#firstFrom(from)]
    return pin !== undefined && pin < before
  }

  /** The place of the first pin at or after `seq`. */
  #firstFrom(seq: CommitSeq): number {
    let low = 0
    let high = this.#pins.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#pins[middle]! < seq) low = middle + 1
      else high = middle
    }
    return low
  }
}
