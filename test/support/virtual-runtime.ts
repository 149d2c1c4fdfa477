import type { Clock, Runtime, Timers } from '../../src/runtime.js'

interface Pending {
  readonly dueMs: number
  readonly callback: () => void
}

/** A runtime whose time moves only when a test says so. */
export class VirtualRuntime implements Runtime {
  #nowMs = 0
  readonly #pending = new Set<Pending>()

  readonly clock: Clock = {
    monotonicMs: () => this.#nowMs,
    wallMs: () => Date.UTC(2026, 0, 1) + this.#nowMs,
  }

  readonly timers: Timers = {
    after: (delayMs, callback) => {
      const timer = { dueMs: this.#nowMs + delayMs, callback }
      this.#pending.add(timer)
      return () => void this.#pending.delete(timer)
    },
    yield: () => Promise.resolve(),
    microtask: queueMicrotask,
  }

  constructor(readonly random: () => number = () => 0.5) {}

  /** How many timers are set. */
  get timersPending(): number {
    return this.#pending.size
  }

  /** Lets time pass: each timer fires when it is due, and what it began goes on as far as it can. */
  async advance(delayMs: number): Promise<void> {
    const until = this.#nowMs + delayMs
    for (let next = this.#next(); next !== undefined && next.dueMs <= until; next = this.#next()) {
      this.#nowMs = Math.max(this.#nowMs, next.dueMs)
      await this.#fire(next)
    }
    this.#nowMs = until
  }

  /** The event loop stands still meanwhile: timers fire only at the end, late. */
  async stall(delayMs: number): Promise<void> {
    this.#nowMs += delayMs
    await this.advance(0)
  }

  #next(): Pending | undefined {
    return [...this.#pending].toSorted((a, b) => a.dueMs - b.dueMs)[0]
  }

  async #fire(timer: Pending): Promise<void> {
    this.#pending.delete(timer)
    timer.callback()
    await new Promise(resolve => setImmediate(resolve))
  }
}
