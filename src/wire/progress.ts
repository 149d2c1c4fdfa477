import { type Lsn, lsnFromHalves } from '../change/lsn.js'
import { assert } from '../errors.js'

/**
 * Which position may be confirmed: what was applied, never what was merely received, and never less than before.
 *
 * The server forgets what is confirmed, even if it was never sent: confirming too much loses changes without an error.
 */
export class Progress {
  #receivedHigh: number
  #receivedLow: number
  #confirmed: Lsn
  #reported: Lsn

  /** Everything before `start` is in the tables already: they were loaded as of it. */
  constructor(start: Lsn) {
    this.#receivedHigh = Number(start >> 32n)
    this.#receivedLow = Number(start & 0xffff_ffffn)
    this.#confirmed = start
    this.#reported = start
  }

  /** The position to report. */
  get confirmed(): Lsn {
    return this.#confirmed
  }

  /** Whether the position has moved since it was reported. */
  get isNews(): boolean {
    return this.#confirmed !== this.#reported
  }

  /** Notes a frame's position. Frames' positions go back between transactions; the furthest counts. */
  // Hot: once per frame.
  received(lsnHigh: number, lsnLow: number): void {
    if (lsnHigh < this.#receivedHigh || (lsnHigh === this.#receivedHigh && lsnLow <= this.#receivedLow))
      return
    this.#receivedHigh = lsnHigh
    this.#receivedLow = lsnLow
  }

  /** Everything before `lsn` has been applied. */
  confirm(lsn: Lsn): void {
    if (lsn <= this.#confirmed) return
    assert(
      lsn <= lsnFromHalves(this.#receivedHigh, this.#receivedLow),
      'what is confirmed was received before',
    )
    this.#confirmed = lsn
  }

  /** Notes that the server was told. */
  reported(): void {
    this.#reported = this.#confirmed
  }
}
