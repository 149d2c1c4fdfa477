import type { Fault } from '../apply/fault.js'
import { PoisonError } from '../errors.js'

/** How often in a row what one table brings may end a stream or a load. Each time everything is loaded anew, which mends what had gone wrong only here. */
export const POISON_ATTEMPTS_MAX = 5

/** Counts failures that what the server sends has brought about, so that trying comes to an end. */
export class Poison {
  /** By table; under null those of which that can't be told. */
  readonly #failures = new Map<string | null, number>()

  /** It has failed once more: the error to give up with, or null if it is worth another attempt. */
  failed({ table, position }: Fault, cause: Error): PoisonError | null {
    const attempts = (this.#failures.get(table) ?? 0) + 1
    this.#failures.set(table, attempts)
    return attempts < POISON_ATTEMPTS_MAX ? null : new PoisonError(table, position, attempts, { cause })
  }

  /** A stream has lasted: what failed before it does no longer count. */
  settled(): void {
    this.#failures.clear()
  }
}
