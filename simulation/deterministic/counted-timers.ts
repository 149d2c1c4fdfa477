import type { Timers } from '../../src/runtime.js'

/** The cache's own timers, counted: once it is closed, none is left. */
export class CountedTimers implements Timers {
  /** Those that are neither due yet nor cancelled. */
  waiting = 0
  readonly #timers: Timers

  constructor(timers: Timers) {
    this.#timers = timers
  }

  after(delayMs: number, callback: () => void): () => void {
    let isOver = false
    const over = (): void => {
      if (!isOver) this.waiting--
      isOver = true
    }
    this.waiting++
    const cancel = this.#timers.after(delayMs, () => {
      over()
      callback()
    })
    return () => {
      over()
      cancel()
    }
  }

  yield(): Promise<void> {
    return this.#timers.yield()
  }

  microtask(callback: () => void): void {
    this.#timers.microtask(callback)
  }
}
