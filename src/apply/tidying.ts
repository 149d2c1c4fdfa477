import type { Runtime } from '../runtime.js'
import type { Store } from '../store/store.js'

/** Frees in the background, in slices, what no reader sees any more. What a batch leaves behind, the applier frees as it goes. */
export class Tidying {
  readonly #store: Store
  readonly #runtime: Runtime
  readonly #sliceMs: number
  readonly #rowsPerLook: number
  #isRunning = false
  #isStopped = false

  /** `rowsPerLook` rows are freed between two looks at the clock. */
  constructor(store: Store, runtime: Runtime, sliceMs: number, rowsPerLook: number) {
    this.#store = store
    this.#runtime = runtime
    this.#sliceMs = sliceMs
    this.#rowsPerLook = rowsPerLook
  }

  /** Whatever was left is freed now, and `begin` may be called. */
  start(): void {
    this.#isStopped = false
    this.begin()
  }

  /** Ends what goes on, after its slice; nothing is begun until `start`. */
  stop(): void {
    this.#isStopped = true
  }

  /** There may be something to free. */
  begin(): void {
    if (this.#isRunning || this.#isStopped) return
    this.#isRunning = true
    void this.#run().finally(() => {
      this.#isRunning = false
    })
  }

  async #run(): Promise<void> {
    const { clock, timers } = this.#runtime
    do {
      await timers.yield()
      const sliceEnds = clock.monotonicMs() + this.#sliceMs
      while (this.#store.maintain(this.#rowsPerLook)) if (clock.monotonicMs() >= sliceEnds) break
    } while (!this.#isStopped && this.#store.maintain(this.#rowsPerLook))
  }
}
