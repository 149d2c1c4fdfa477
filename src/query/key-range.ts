import { NULL_KEY } from '../sql/encode.js'
import type { Slot } from './slot.js'
import type { TableIndex } from './table-index.js'

/** A run of an index's entries: from the first whose leading numbers are not below `low` to the last whose are not above `high`. */
export interface KeyRange {
  readonly low: Float64Array
  readonly lowParts: number
  /** Whether entries with just the numbers of `low` are left out; likewise below. */
  readonly lowAfter: boolean
  readonly high: Float64Array
  readonly highParts: number
  readonly highAfter: boolean
  /** Whether each entry in it has a value that is meant, and no two values share its numbers. */
  readonly exact: boolean
  /** The numbers anew, of the values that are bound now. */
  bind(): void
}

/** One end of a range of values. */
export interface Bound {
  readonly slot: Slot
  readonly strict: boolean
}

/** The ranges of one plan. */
export class KeyRanges {
  readonly #all: readonly KeyRange[]
  /** Values that are encoded alike make one range. */
  list: readonly KeyRange[]
  exact = false

  constructor(ranges: readonly KeyRange[]) {
    this.#all = ranges
    this.list = ranges
  }

  /** Binds them to the values of their slots. */
  bind(): void {
    let exact = true
    for (let i = 0; i < this.#all.length; i++) {
      const range = this.#all[i]!
      range.bind()
      if (!range.exact) exact = false
    }
    this.exact = exact
    if (this.#all.length > 1) this.list = distinct(this.#all)
  }
}

function distinct(ranges: readonly KeyRange[]): KeyRange[] {
  return [...new Map(ranges.map(range => [[...range.low, ...range.high].join(), range])).values()]
}

/** The entries of one value in each column of a hash index. */
export class HashRange implements KeyRange {
  readonly low = new Float64Array(1)
  readonly lowParts = 1
  readonly lowAfter = false
  readonly high = this.low
  readonly highParts = 1
  readonly highAfter = true
  readonly exact = false
  /** A value for each column, null for NULL. */
  readonly equal: readonly (Slot | null)[]
  readonly #index: TableIndex

  constructor(index: TableIndex, equal: readonly (Slot | null)[]) {
    this.#index = index
    this.equal = equal
  }

  bind(): void {
    this.low[0] = this.#index.hash(this.equal)
  }
}

/** The entries of one value in each of the first columns of an ordered index, and of a range in the next. */
export class OrderedRange implements KeyRange {
  readonly low: Float64Array
  readonly high: Float64Array
  readonly lowParts: number
  readonly highParts: number
  lowAfter = false
  highAfter = true
  exact = false
  readonly #index: TableIndex
  readonly #equal: readonly (Slot | null)[]
  readonly #from: Bound | undefined
  readonly #to: Bound | undefined

  constructor(
    index: TableIndex,
    equal: readonly (Slot | null)[],
    from: Bound | undefined,
    to: Bound | undefined,
  ) {
    const { offsets } = index
    const fixed = offsets[equal.length]!
    this.low = new Float64Array(offsets.at(-1)!)
    this.high = new Float64Array(offsets.at(-1)!)
    this.lowParts = from === undefined ? fixed : offsets[equal.length + 1]!
    this.highParts = to !== undefined ? offsets[equal.length + 1]! : from === undefined ? fixed : fixed + 1
    // No value is encoded above the largest number, and NULL is.
    if (from !== undefined && to === undefined) this.high[fixed] = Number.MAX_VALUE
    this.#index = index
    this.#equal = equal
    this.#from = from
    this.#to = to
  }

  bind(): void {
    const equal = this.#equal
    const next = equal.length
    let exact = true
    for (let column = 0; column < next; column++) {
      if (!this.#write(equal[column]!, column, this.low)) exact = false
      this.#write(equal[column]!, column, this.high)
    }
    let fromExact = true
    let toExact = true
    if (this.#from !== undefined) {
      fromExact = this.#write(this.#from.slot, next, this.low)
      this.lowAfter = exact && fromExact && this.#from.strict
    }
    if (this.#to !== undefined) {
      toExact = this.#write(this.#to.slot, next, this.high)
      this.highAfter = !(exact && toExact && this.#to.strict)
    }
    this.exact = exact && fromExact && toExact
  }

  /** Writes the numbers of a column's value. Returns whether they stand for this value only. */
  #write(value: Slot | null, column: number, key: Float64Array): boolean {
    const { encodings, offsets } = this.#index
    const { width, exactBelow, write } = encodings![column]!
    const offset = offsets[column]!
    if (value === null) {
      key.fill(NULL_KEY, offset, offset + width)
      return true
    }
    write(value.bytes, 0, value.length, key, offset)
    return width === 1 && Math.abs(key[offset]!) < exactBelow
  }
}
