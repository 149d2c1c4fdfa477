import type { CommitSeq } from './address.js'
import type { Readers } from './readers.js'

/** How many rows a table has: now, and in the states that snapshots have pinned. */
export class SizeHistory {
  readonly #readers: Readers
  /** Ascending: the size from commit `from` on, until the next entry's. The last one is the newest. */
  readonly #sizes: { readonly from: CommitSeq; readonly size: number }[] = [{ from: 0, size: 0 }]

  constructor(readers: Readers) {
    this.#readers = readers
  }

  get newest(): number {
    return this.#sizes.at(-1)!.size
  }

  /** From commit `from` on there are `size` rows. A size that no snapshot can ask for is forgotten. */
  set(from: CommitSeq, size: number): void {
    const last = this.#sizes.at(-1)!
    if (!this.#readers.pinnedIn(last.from, from)) this.#sizes.pop()
    this.#sizes.push({ from, size })
    let unseen = 0
    while (unseen < this.#sizes.length - 1 && this.#sizes[unseen + 1]!.from <= this.#readers.horizon) unseen++
    if (unseen > 0) this.#sizes.splice(0, unseen)
  }

  at(seq: CommitSeq): number {
    let low = 0
    let high = this.#sizes.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sizes[middle]!.from <= seq) low = middle + 1
      else high = middle
    }
    return this.#sizes[Math.max(low - 1, 0)]!.size
  }
}
