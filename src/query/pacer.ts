import type { Runtime } from '../runtime.js'

/** Reads between two looks at the clock, which costs as much as a read of a key. */
const LOOK_EVERY = 16

/**
 * Leaves the event loop its turns in a loop of awaited reads that memory answers: a promise that is resolved already lets no timer and no socket run, and so
 * no commit in. One for all reads of a cache.
 */
export class Pacer {
  readonly #runtime: Runtime
  readonly #longestMs: number
  #reads = 0
  /** When such a turn was left last. */
  #leftMs = Number.NEGATIVE_INFINITY

  /** `longestMs`: how long such a loop may go on; a little longer, since not every read looks at the clock. */
  constructor(runtime: Runtime, longestMs: number) {
    this.#runtime = runtime
    this.#longestMs = longestMs
  }

  /** What a read that has its answer is to wait for before it gives that; null for most. Hot: once per asynchronous read. */
  turn(): Promise<void> | null {
    if (++this.#reads < LOOK_EVERY) return null
    this.#reads = 0
    const { clock, timers } = this.#runtime
    const nowMs = clock.monotonicMs()
    if (nowMs - this.#leftMs < this.#longestMs) return null
    this.#leftMs = nowMs
    return timers.yield()
  }
}
