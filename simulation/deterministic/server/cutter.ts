/**
 * Cuts a stream after every frame of every transaction, once each: a stream gets one frame further than the one before, and is cut again. What
 * was sent before comes again, unless it was confirmed.
 */
export class Cutter {
  #transaction = -1
  #frame = -1
  #isOn: boolean
  cuts = 0

  constructor(isOn: boolean) {
    this.#isOn = isOn
  }

  /** No more of it. */
  stop(): void {
    this.#isOn = false
  }

  /** Whether the stream ends after this frame: it is the first one beyond all that were cut after. */
  isAfter(transaction: number, frame: number): boolean {
    if (!this.#isOn) return false
    if (transaction < this.#transaction) return false
    if (transaction === this.#transaction && frame <= this.#frame) return false
    this.#transaction = transaction
    this.#frame = frame
    this.cuts++
    return true
  }
}
