import type { RowId } from '../address.js'
import { compareParts, type Leaf } from './leaf.js'

/** The first entries of all leaves, in their order. */
export class FirstEntries {
  readonly #width: number
  #keys: Float64Array
  #rows = new Uint32Array(16)

  constructor(width: number) {
    this.#width = width
    this.#keys = new Float64Array(16 * width)
  }

  set(at: number, { keys, rows }: Leaf): void {
    for (let i = 0; i < this.#width; i++) this.#keys[at * this.#width + i] = keys[i]!
    this.#rows[at] = rows[0]!
  }

  /** Makes room for one at `at`; there are `count` of them then. */
  insert(at: number, count: number): void {
    const width = this.#width
    if (count > this.#rows.length) {
      const rows = new Uint32Array(count * 2)
      const keys = new Float64Array(count * 2 * width)
      rows.set(this.#rows)
      keys.set(this.#keys)
      this.#rows = rows
      this.#keys = keys
    }
    this.#keys.copyWithin((at + 1) * width, at * width, (count - 1) * width)
    this.#rows.copyWithin(at + 1, at, count - 1)
  }

  /** Forgets the one at `at`; `count` are left. */
  remove(at: number, count: number): void {
    this.#keys.copyWithin(at * this.#width, (at + 1) * this.#width, (count + 1) * this.#width)
    this.#rows.copyWithin(at, at + 1, count + 1)
  }

  /**
   * How many of them compare below `wanted` to the key, as far as its first `parts` numbers go. The first `from` ones do, and those from `to` on
   * do not.
   */
  countBelow(key: Float64Array, parts: number, wanted: number, from: number, to: number): number {
    const keys = this.#keys
    let low = from
    let high = to
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareParts(keys, middle, this.#width, key, parts) < wanted) low = middle + 1
      else high = middle
    }
    return low
  }

  /** As `countBelow` of `count` ones, where it is not much more than `from`: looked for in steps that double. */
  countBelowNear(key: Float64Array, parts: number, wanted: number, from: number, count: number): number {
    let low = from
    for (let step = 1; low < count; step *= 2) {
      const at = Math.min(low + step, count) - 1
      if (compareParts(this.#keys, at, this.#width, key, parts) >= wanted)
        return this.countBelow(key, parts, wanted, low, at)
      low = at + 1
    }
    return low
  }

  /** About which share of the entries of leaf `at` lies before the key, if their first numbers are spread evenly, as hashes are. */
  share(key: Float64Array, at: number, count: number): number {
    if (at + 1 >= count) return 0.5
    const first = this.#keys[at * this.#width]!
    const span = this.#keys[(at + 1) * this.#width]! - first
    const share = (key[0]! - first) / span
    return share >= 0 && share < 1 ? share : 0.5
  }

  /** How many of the `count` ones are not above this entry. */
  countUpTo(key: Float64Array, row: RowId, count: number): number {
    const width = this.#width
    let low = 0
    let high = count
    while (low < high) {
      const middle = (low + high) >>> 1
      const sign = compareParts(this.#keys, middle, width, key, width)
      if (sign < 0 || (sign === 0 && this.#rows[middle]! <= row)) low = middle + 1
      else high = middle
    }
    return low
  }
}
