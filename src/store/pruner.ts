import { type CommitSeq, NONE, type RowId } from './address.js'
import type { Chains } from './chains.js'
import { IdList } from './id-list.js'
import type { Readers } from './readers.js'
import { LISTED } from './slab.js'
import type { Truncations } from './truncations.js'

/** A transaction's list of touched rows that is at most this long is copied; a longer one is taken over whole. */
const COPIED_MAX = 256

/** What a table has to tidy up behind its readers, done a few rows at a time. */
export class Pruner {
  readonly #chains: Chains
  readonly #readers: Readers
  readonly #truncations: Truncations
  /** Rows to look at, in lists that are worked off from the back. */
  readonly #due = new IdList()
  readonly #dueWhole: IdList[] = []
  /** Rows with versions that a snapshot still sees, once each: their heads are marked as listed. */
  #pinned = new IdList()
  /** Former `#pinned` lists, to be looked at again. */
  readonly #released: IdList[] = []
  #sweepBefore: CommitSeq = 0
  #sweepNext: RowId = 0

  readonly #onPruned: ((row: RowId) => void) | null

  /** `onPruned` is told of each row that was looked at: it may be gone. */
  constructor(
    chains: Chains,
    readers: Readers,
    truncations: Truncations,
    onPruned: ((row: RowId) => void) | null,
  ) {
    this.#onPruned = onPruned
    this.#chains = chains
    this.#readers = readers
    this.#truncations = truncations
  }

  /** Takes note of the rows that a published transaction touched. Returns the list to use for the next one. */
  add(touched: IdList): IdList {
    if (touched.length > COPIED_MAX) {
      this.#dueWhole.push(touched)
      return new IdList()
    }
    for (let i = 0; i < touched.length; i++) this.#due.push(touched.at(i))
    touched.clear()
    return touched
  }

  /** A snapshot was released: what it held back may go. */
  released(): void {
    if (this.#pinned.length === 0) return
    this.#released.push(this.#pinned)
    this.#pinned = new IdList()
  }

  /** Looks at about `rows` rows; true while there is more that could be done now. */
  work(rows: number): boolean {
    let left = rows
    while (left > 0 && this.#pruneNext()) left--
    if (left > 0) left = this.#sweep(left)
    // A sweep that has ended may have been behind a TRUNCATE that was not the last one.
    const isSwept = this.#truncations.newestDue(this.#readers.horizon) === 0
    return left <= 0 || !isSwept || this.#chains.compactPage()
  }

  #pruneNext(): boolean {
    let row = this.#due.pop()
    if (row < 0) row = popFromLast(this.#dueWhole)
    if (row < 0) {
      row = popFromLast(this.#released)
      if (row < 0) return false
      const head = this.#chains.rows.head(row)
      if (head !== NONE) this.#chains.slab.unset(head, LISTED)
    }
    this.#prune(row)
    return true
  }

  #prune(row: RowId): void {
    if (this.#chains.rows.head(row) === NONE) return
    if (this.#chains.prune(row) === 'pinned') this.pin(row)
    this.#onPruned?.(row)
  }

  /** A snapshot sees something of the row: it is looked at again when one is released. */
  pin(row: RowId): void {
    const { rows, slab } = this.#chains
    const head = rows.head(row)
    if (slab.has(head, LISTED)) return
    slab.set(head, LISTED)
    this.#pinned.push(row)
  }

  /** Drops rows that a TRUNCATE killed for every reader. Returns how many rows of the allowance are left. */
  #sweep(allowance: number): number {
    let left = allowance
    if (this.#sweepBefore === 0) {
      this.#sweepBefore = this.#truncations.newestDue(this.#readers.horizon)
      this.#sweepNext = 0
      if (this.#sweepBefore === 0) return left
    }
    const { end } = this.#chains.rows
    while (left > 0 && this.#sweepNext < end) {
      this.#chains.cutBefore(this.#sweepNext++, this.#sweepBefore)
      left--
    }
    if (this.#sweepNext >= end) {
      this.#truncations.forget(this.#sweepBefore)
      this.#sweepBefore = 0
    }
    return left
  }

  clear(): void {
    this.#due.clear()
    this.#dueWhole.length = 0
    this.#pinned.clear()
    this.#released.length = 0
    this.#sweepBefore = 0
  }
}

function popFromLast(lists: IdList[]): RowId {
  for (let list = lists.at(-1); list !== undefined; list = lists.at(-1)) {
    const row = list.pop()
    if (row >= 0) return row
    lists.pop()
  }
  return -1
}
