import { OverloadedError } from '../errors.js'
import { WaitingLine } from '../runtime/waiting-line.js'

/** How many reads may ask PostgreSQL at once, and how many may wait for that: so that a sick primary is not stampeded. */
export class DatabaseGate {
  readonly #runningMax: number
  readonly #waitingMax: number
  readonly #line = new WaitingLine()
  #running = 0

  constructor(runningMax: number, waitingMax: number) {
    this.#runningMax = runningMax
    this.#waitingMax = waitingMax
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    return this.#line.length
  }

  /**
   * What `work` gives, as soon as it is its turn.
   *
   * @throws {OverloadedError} if too many wait already. Rejects with the signal's reason when it aborts before the turn has come.
   */
  async pass<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    if (this.#running < this.#runningMax) this.#running++
    else if (this.#line.length >= this.#waitingMax) throw new OverloadedError(this.#line.length)
    else await this.#line.wait(signal)
    try {
      return await work()
    } finally {
      if (!this.#line.next()) this.#running--
    }
  }
}
