import type { Lsn } from '../change/lsn.js'
import { OverloadedError, WaitTimeoutError } from '../errors.js'
import type { Timers } from '../runtime.js'

/** More callers than this waiting at once are a leak or an overload. */
export const WAITERS_MAX = 100_000

interface Waiter {
  readonly position: Lsn
  readonly settle: (error: Error | null) => void
}

/** Callers that wait for the cache to reach a position, across reloads. */
export class PositionWaiters {
  readonly #timers: Timers
  readonly #waiting = new Set<Waiter>()
  #position: () => Lsn

  constructor(timers: Timers, position: () => Lsn) {
    this.#timers = timers
    this.#position = position
  }

  /** How many callers wait. */
  get size(): number {
    return this.#waiting.size
  }

  /**
   * Resolves as soon as `position` has been reached.
   *
   * @throws {WaitTimeoutError} after `timeoutMs`. Rejects with the signal's reason when it aborts.
   */
  wait(position: Lsn, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason as Error)
    if (this.#position() >= position) return Promise.resolve()
    if (this.#waiting.size >= WAITERS_MAX) return Promise.reject(new OverloadedError(this.#waiting.size))
    return new Promise((resolve, reject) => {
      const onAbort = (): void => waiter.settle(signal!.reason as Error)
      const cancelTimer = this.#timers.after(timeoutMs, () => waiter.settle(new WaitTimeoutError(timeoutMs)))
      const waiter: Waiter = {
        position,
        settle: error => {
          this.#waiting.delete(waiter)
          cancelTimer()
          signal?.removeEventListener('abort', onAbort)
          if (error === null) resolve()
          else reject(error)
        },
      }
      this.#waiting.add(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** The position has moved: those who waited for it go on. */
  moved(): void {
    if (this.#waiting.size === 0) return
    const position = this.#position()
    for (const waiter of this.#waiting) if (waiter.position <= position) waiter.settle(null)
  }

  /** Nothing will move any more. */
  failAll(error: Error): void {
    for (const waiter of this.#waiting) waiter.settle(error)
  }
}
