import type { RowId } from '../address.js'
import type { MemoryAccount } from '../memory.js'

/** Entries of one leaf, at most. */
const LEAF_ENTRIES = 256
/** Two neighbours with at most so many entries become one. */
const MERGED_MAX = LEAF_ENTRIES >>> 1

class Leaf {
  readonly keys: Float64Array
  readonly rows = new Uint32Array(LEAF_ENTRIES)
  count = 0

  constructor(readonly width: number) {
    this.keys = new Float64Array(LEAF_ENTRIES * width)
  }
}

/** A place between two entries. Good until the next write. */
export class Place {
  leaf = 0
  at = 0
}

/**
 * Pairs of a key (some numbers) and a row id, each pair once, in order: leaves of typed arrays under one list of leaves. An entry takes 8
 * bytes for each number and 4 for the row; leaves are full where keys ascend, and at least half full before anything is removed.
 */
export class SortedEntries {
  /** Numbers in a key. */
  readonly width: number
  readonly #memory: MemoryAccount
  readonly #leaves: Leaf[] = []
  readonly #place = new Place()
  #size = 0

  constructor(width: number, memory: MemoryAccount) {
    this.width = width
    this.#memory = memory
  }

  get size(): number {
    return this.#size
  }

  get #leafBytes(): number {
    return LEAF_ENTRIES * (this.width * 8 + 4)
  }

  /** Adds the entry, if it is not there. @throws {MemoryLimitError} */
  add(key: Float64Array, row: RowId): void {
    const place = this.#place
    this.#find(key, row, place)
    let leaf = this.#leaves[place.leaf]
    if (leaf !== undefined && place.at < leaf.count && this.#compare(leaf, place.at, key, row) === 0) return
    if (leaf === undefined) {
      this.#insertLeaf(0)
      leaf = this.#leaves[0]!
    } else if (leaf.count === LEAF_ENTRIES) {
      this.#split(place)
      leaf = this.#leaves[place.leaf]!
    }
    const { width } = this
    const { at } = place
    leaf.keys.copyWithin((at + 1) * width, at * width, leaf.count * width)
    leaf.rows.copyWithin(at + 1, at, leaf.count)
    for (let i = 0; i < width; i++) leaf.keys[at * width + i] = key[i]!
    leaf.rows[at] = row
    leaf.count++
    this.#size++
  }

  /** Removes the entry, if it is there. */
  remove(key: Float64Array, row: RowId): void {
    const place = this.#place
    this.#find(key, row, place)
    const leaf = this.#leaves[place.leaf]
    const { at } = place
    if (leaf === undefined || at >= leaf.count || this.#compare(leaf, at, key, row) !== 0) return
    const { width } = this
    leaf.keys.copyWithin(at * width, (at + 1) * width, leaf.count * width)
    leaf.rows.copyWithin(at, at + 1, leaf.count)
    leaf.count--
    this.#size--
    this.#mergeAt(place.leaf)
  }

  /** Puts `place` before the first entry whose first `parts` numbers are not below those of `key`; with `after`, are above them. */
  seek(key: Float64Array, parts: number, after: boolean, place: Place): void {
    const wanted = after ? 1 : 0
    let low = 0
    let high = this.#leaves.length
    // The last leaf that begins before the place.
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#compareParts(this.#leaves[middle]!, 0, key, parts) < wanted) low = middle + 1
      else high = middle
    }
    place.leaf = Math.max(0, low - 1)
    const leaf = this.#leaves[place.leaf]
    place.at = 0
    if (leaf === undefined) return
    let from = 0
    let to = leaf.count
    while (from < to) {
      const middle = (from + to) >>> 1
      if (this.#compareParts(leaf, middle, key, parts) < wanted) from = middle + 1
      else to = middle
    }
    place.at = from
  }

  /** Entries between two places. */
  countBetween(from: Place, to: Place): number {
    if (from.leaf === to.leaf) return Math.max(0, to.at - from.at)
    if (from.leaf > to.leaf) return 0
    let count = this.#leaves[from.leaf]!.count - from.at + to.at
    for (let leaf = from.leaf + 1; leaf < to.leaf; leaf++) count += this.#leaves[leaf]!.count
    return count
  }

  /** The row of the entry behind `place`, whose key is left in `key`; -1 at the end, which is `until`. Moves the place on. */
  next(place: Place, until: Place, key: Float64Array): RowId {
    for (;;) {
      if (place.leaf > until.leaf || (place.leaf === until.leaf && place.at >= until.at)) return -1
      const leaf = this.#leaves[place.leaf]!
      if (place.at < leaf.count) return this.#read(leaf, place.at++, key)
      place.leaf++
      place.at = 0
    }
  }

  /** As `next`, for the entry before `place`, down to `until`. */
  previous(place: Place, until: Place, key: Float64Array): RowId {
    for (;;) {
      if (place.leaf < until.leaf || (place.leaf === until.leaf && place.at <= until.at)) return -1
      if (place.at > 0) return this.#read(this.#leaves[place.leaf]!, --place.at, key)
      place.leaf--
      place.at = this.#leaves[place.leaf]!.count
    }
  }

  #read(leaf: Leaf, at: number, key: Float64Array): RowId {
    for (let i = 0; i < this.width; i++) key[i] = leaf.keys[at * this.width + i]!
    return leaf.rows[at]!
  }

  /** Where this very entry is or belongs: a leaf that it may be added to, and the place there. */
  #find(key: Float64Array, row: RowId, place: Place): void {
    let low = 0
    let high = this.#leaves.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#compare(this.#leaves[middle]!, 0, key, row) <= 0) low = middle + 1
      else high = middle
    }
    place.leaf = Math.max(0, low - 1)
    place.at = 0
    const leaf = this.#leaves[place.leaf]
    if (leaf === undefined) return
    let from = 0
    let to = leaf.count
    while (from < to) {
      const middle = (from + to) >>> 1
      if (this.#compare(leaf, middle, key, row) < 0) from = middle + 1
      else to = middle
    }
    place.at = from
  }

  #compare(leaf: Leaf, at: number, key: Float64Array, row: RowId): number {
    const sign = this.#compareParts(leaf, at, key, this.width)
    return sign === 0 ? leaf.rows[at]! - row : sign
  }

  #compareParts(leaf: Leaf, at: number, key: Float64Array, parts: number): number {
    const start = at * this.width
    for (let i = 0; i < parts; i++) {
      const a = leaf.keys[start + i]!
      const b = key[i]!
      if (a < b) return -1
      if (a > b) return 1
    }
    return 0
  }

  #insertLeaf(at: number): void {
    this.#memory.take(this.#leafBytes)
    this.#leaves.splice(at, 0, new Leaf(this.width))
  }

  /** Makes room in the full leaf of `place`. Behind the last entry of all a new leaf begins, so that ascending keys fill theirs. */
  #split(place: Place): void {
    const { width } = this
    this.#insertLeaf(place.leaf + 1)
    const leaf = this.#leaves[place.leaf]!
    const right = this.#leaves[place.leaf + 1]!
    const isLast = place.leaf + 2 === this.#leaves.length && place.at === LEAF_ENTRIES
    const kept = isLast ? LEAF_ENTRIES : LEAF_ENTRIES >>> 1
    right.keys.set(leaf.keys.subarray(kept * width))
    right.rows.set(leaf.rows.subarray(kept))
    right.count = LEAF_ENTRIES - kept
    leaf.count = kept
    if (place.at > kept || isLast) {
      place.leaf++
      place.at -= kept
    }
  }

  #mergeAt(at: number): void {
    const leaf = this.#leaves[at]!
    const left = this.#leaves[at - 1]
    const right = this.#leaves[at + 1]
    if (leaf.count === 0) this.#dropLeaf(at)
    else if (right !== undefined && leaf.count + right.count <= MERGED_MAX) this.#mergeRight(at)
    else if (left !== undefined && leaf.count + left.count <= MERGED_MAX) this.#mergeRight(at - 1)
  }

  #mergeRight(at: number): void {
    const leaf = this.#leaves[at]!
    const right = this.#leaves[at + 1]!
    leaf.keys.set(right.keys.subarray(0, right.count * this.width), leaf.count * this.width)
    leaf.rows.set(right.rows.subarray(0, right.count), leaf.count)
    leaf.count += right.count
    this.#dropLeaf(at + 1)
  }

  #dropLeaf(at: number): void {
    this.#leaves.splice(at, 1)
    this.#memory.give(this.#leafBytes)
  }

  /** Gives everything back at once. */
  clear(): void {
    this.#memory.give(this.#leaves.length * this.#leafBytes)
    this.#leaves.length = 0
    this.#size = 0
  }
}
