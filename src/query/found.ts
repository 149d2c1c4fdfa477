import type { Address } from '../store/address.js'

/** Answers of more rows leave no rows decoded: they would drive out what is read often. */
export const KEPT_ROWS_MAX = 256

/** Records that a query has found, in the order of its answer. Good until the next write. */
export class Found {
  records = new Uint32Array(64)
  count = 0
  /** Room for the rows of an answer. */
  readonly rows = new Uint32Array(KEPT_ROWS_MAX)

  clear(): void {
    this.count = 0
  }

  push(record: Address): void {
    this.reserve(1)
    this.records[this.count++] = record
  }

  /** Makes room for so many more. */
  reserve(more: number): void {
    if (this.count + more <= this.records.length) return
    const larger = new Uint32Array(Math.max(this.count + more, this.records.length * 2))
    larger.set(this.records)
    this.records = larger
  }
}
