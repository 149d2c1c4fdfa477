import type { CommitSeq } from './address.js'
import type { Readers } from './readers.js'
import type { Truncations } from './truncations.js'

/** From which state on every change to a key of which nothing was known has left its mark, as far as a snapshot was open. */
export class Marks {
  readonly #readers: Readers
  readonly #truncations: Truncations
  #from: CommitSeq = 0

  constructor(readers: Readers, truncations: Truncations) {
    this.#readers = readers
    this.#truncations = truncations
  }

  /** A change of commit `seq` has left none. */
  missing(seq: CommitSeq): void {
    this.#from = seq
  }

  /** Whether the transaction `seq` may have made changes without a mark. */
  mayLack(seq: CommitSeq): boolean {
    return Math.max(this.#readers.pinnedSince, this.#from) >= seq
  }

  /** The state from which a key without a chain has not been changed, as far as a snapshot may ask. */
  get unchangedSince(): CommitSeq {
    const { visible, pinnedSince, pins } = this.#readers
    if (pins === 0) return visible
    const newestTruncation = this.#truncations.newestDue(visible)
    return Math.min(visible, Math.max(pinnedSince, this.#from, newestTruncation))
  }
}
