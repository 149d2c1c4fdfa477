import { pause, type Runtime } from '../runtime.js'

export interface SpacedCheckOptions {
  readonly runtime: Pick<Runtime, 'clock' | 'timers'>
  /** From the beginning of one check to the next one's. */
  readonly everyMs: number
  readonly check: (signal: AbortSignal) => Promise<unknown>
  readonly onError: (error: unknown) => void
}

/**
 * A check that may be wanted very often: made at once, then one at a time and none too soon after the one before. Who wants it while one is
 * under way gets another one, since that one's question may have been answered already.
 */
export class SpacedCheck {
  readonly #options: SpacedCheckOptions
  #wanted = false
  #running = false
  #startedMs = Number.NEGATIVE_INFINITY

  constructor(options: SpacedCheckOptions) {
    this.#options = options
  }

  want(signal: AbortSignal): void {
    this.#wanted = true
    if (this.#running) return
    this.#running = true
    this.#run(signal)
      .catch(this.#options.onError)
      .finally(() => {
        this.#running = false
      })
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { runtime, everyMs, check } = this.#options
    while (this.#wanted && !signal.aborted) {
      const tooEarlyMs = this.#startedMs + everyMs - runtime.clock.monotonicMs()
      if (tooEarlyMs > 0) await pause(runtime.timers, tooEarlyMs, signal)
      if (signal.aborted) return
      this.#wanted = false
      this.#startedMs = runtime.clock.monotonicMs()
      await check(signal)
    }
  }
}
