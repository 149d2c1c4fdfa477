import { type Address, type CommitSeq, NONE } from '../store/address.js'
import type { TableStore } from '../store/table.js'
import { type FeedRecord, recordBytes } from './ring.js'

/** Of tables with more rows than this the difference is not looked for: it would keep their readers waiting for too long. */
export const COMPARED_ROWS_MAX = 2_000_000

/** One state of a table, which is held while it is compared. */
export interface TableState {
  readonly table: TableStore
  readonly at: CommitSeq
}

/** What became of the rows of one state in another one, of the same table loaded anew: as the changes of one commit, looked for in slices. */
export class Difference {
  /** Rows that are gone come before those that came and those that are other ones, so that a value that is unique is free before it is taken. */
  readonly #gone: FeedRecord[] = []
  readonly #others: FeedRecord[] = []
  readonly #before: TableState
  readonly #after: TableState
  readonly #limitBytes: number
  #bytes = 0
  /** The next row to look at: first all of `before`, then all of `after`. */
  #row = 0
  #isInAfter = false

  /** More than `limitBytes` of changes are given up. */
  constructor(before: TableState, after: TableState, limitBytes: number) {
    this.#before = before
    this.#after = after
    this.#limitBytes = limitBytes
  }

  /** Whether it can't be told: there are too many changes, or one of the tables can't be read any more. */
  get isGivenUp(): boolean {
    return (
      this.#bytes > this.#limitBytes ||
      this.#before.table.failed !== null ||
      this.#after.table.failed !== null
    )
  }

  /** What differs, once `look` has come to its end. */
  get records(): readonly FeedRecord[] {
    return [...this.#gone, ...this.#others]
  }

  /** Looks at `rows` more rows; true while there are more. */
  look(rows: number): boolean {
    for (let left = rows; left > 0; left--) {
      if (this.isGivenUp) return false
      const { table } = this.#isInAfter ? this.#after : this.#before
      if (this.#row < table.rowEnd) this.#compare(this.#row++)
      else if (this.#isInAfter) return false
      else {
        this.#isInAfter = true
        this.#row = 0
      }
    }
    return true
  }

  #compare(row: number): void {
    const { table, at } = this.#isInAfter ? this.#after : this.#before
    const record = table.recordAt(row, at)
    if (record === NONE) return
    const other = this.#isInAfter ? this.#before : this.#after
    const counterpart = other.table.recordLike(table, record, other.at)
    if (this.#isInAfter) {
      if (counterpart === NONE) this.#add(this.#others, NONE, record)
    } else if (counterpart === NONE) this.#add(this.#gone, record, NONE)
    else if (!table.isSameRow(record, other.table, counterpart)) this.#add(this.#others, record, counterpart)
  }

  #add(records: FeedRecord[], old: Address, next: Address): void {
    const record: FeedRecord = {
      kind: 'write',
      old: old === NONE ? null : this.#before.table.packed(old),
      next: next === NONE ? null : this.#after.table.packed(next),
    }
    records.push(record)
    this.#bytes += recordBytes(record)
  }
}
