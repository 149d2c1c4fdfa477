import { TEXT, type TupleView } from '../change/change.js'
import type { CompareTexts } from '../sql/compare-bytes.js'
import type { ColumnTypes } from './predicate.js'
import type { Sorting } from './query.js'

/** Rows to be put in order: for each, where the values of the columns that it is sorted by are. Good within one synchronous run. */
export class Sorter {
  readonly #columns: readonly SortColumn[]
  readonly #bytes: Uint8Array[] = []

  /** @throws {NotLocalError} if the order of a column is not known here. */
  constructor(orderBy: readonly Sorting[], types: ColumnTypes) {
    this.#columns = orderBy.map(({ column, descending, nullsFirst }) => ({
      column,
      compare: types.ordered(column).compare,
      direction: descending ? -1 : 1,
      nulls: nullsFirst ? -1 : 1,
      starts: [],
      ends: [],
    }))
  }

  /** Adds the row that `view` shows; rows have the numbers 0, 1, ... in the order in which they are added. */
  add({ bytes, kinds, starts, ends }: TupleView): void {
    this.#bytes.push(bytes)
    for (const sorted of this.#columns) {
      const { column } = sorted
      sorted.starts.push(kinds[column] === TEXT ? starts[column]! : NULL_START)
      sorted.ends.push(ends[column]!)
    }
  }

  /** The numbers of the rows from `from` to before `to` in the wanted order. */
  order(from = 0, to = this.#bytes.length): number[] {
    const numbers = Array.from({ length: to - from }, (_, i) => from + i)
    return numbers.sort((a, b) => this.#compare(a, b))
  }

  #compare(a: number, b: number): number {
    for (const { starts, ends, compare, direction, nulls } of this.#columns) {
      const aStart = starts[a]!
      const bStart = starts[b]!
      if (aStart === NULL_START || bStart === NULL_START) {
        if (aStart !== bStart) return aStart === NULL_START ? nulls : -nulls
        continue
      }
      const sign = compare(this.#bytes[a]!, aStart, ends[a]!, this.#bytes[b]!, bStart, ends[b]!)
      if (sign !== 0) return sign * direction
    }
    return 0
  }
}

const NULL_START = -1

interface SortColumn {
  readonly column: number
  readonly compare: CompareTexts
  readonly direction: number
  readonly nulls: number
  readonly starts: number[]
  readonly ends: number[]
}
