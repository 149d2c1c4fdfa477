import type { RowId } from '../address.js'
import type { MemoryAccount } from '../memory.js'
import { FirstEntries } from './first-entries.js'
import { compareParts, Leaf, LEAF_ENTRIES } from './leaf.js'

/** How far from where an entry is expected it is looked for at first. */
const NEAR = 4
/** Two neighbours with at most so many entries become one. */
const MERGED_MAX = LEAF_ENTRIES >>> 1

/** A place between two entries. Good until the next write. */
export class Place {
  leaf = 0
  at = 0
}

/** Room for some entries, copied out one after the other. */
export class Batch {
  readonly room: number
  readonly rows: Uint32Array
  readonly keys: Float64Array

  constructor(room: number, width: number) {
    this.room = room
    this.rows = new Uint32Array(room)
    this.keys = new Float64Array(room * width)
  }
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
  /** The first entry of each leaf, close together: a search looks at these, and then into one leaf. */
  readonly #firsts: FirstEntries
  readonly #place = new Place()
  #size = 0

  constructor(width: number, memory: MemoryAccount) {
    this.width = width
    this.#memory = memory
    this.#firsts = new FirstEntries(width)
  }

  get size(): number {
    return this.#size
  }

  get #leafBytes(): number {
    return (LEAF_ENTRIES + 1) * (this.width * 8 + 4)
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
    if (at === 0) this.#firsts.set(place.leaf, leaf)
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
    if (at === 0 && leaf.count > 0) this.#firsts.set(place.leaf, leaf)
    this.#mergeAt(place.leaf)
  }

  /** Puts `place` before the first entry whose first `parts` numbers are not below those of `key`; with `after`, are above them. Hot: once a query. */
  seek(key: Float64Array, parts: number, after: boolean, place: Place): void {
    const wanted = after ? 1 : 0
    const leaves = this.#leaves.length
    // The last leaf that begins before the place.
    place.leaf = Math.max(0, this.#firsts.countBelow(key, parts, wanted, 0, leaves) - 1)
    place.at = 0
    if (leaves === 0) return
    const leaf = this.#leaves[place.leaf]!
    const guess = Math.floor(this.#firsts.share(key, place.leaf, leaves) * leaf.count)
    place.at = this.#boundIn(leaf, key, parts, wanted, 0, guess)
  }

  /** As `seek`, for a place that is not before `from`: next to it, mostly. */
  seekFrom(from: Place, key: Float64Array, parts: number, after: boolean, place: Place): void {
    const leaves = this.#leaves.length
    const wanted = after ? 1 : 0
    const last = this.#firsts.countBelowNear(key, parts, wanted, Math.min(from.leaf + 1, leaves), leaves) - 1
    const leaf = this.#leaves[last]
    if (leaf === undefined) {
      this.seek(key, parts, after, place)
      return
    }
    const start = last === from.leaf ? from.at : 0
    place.leaf = last
    place.at = this.#boundIn(leaf, key, parts, wanted, start, start)
  }

  /** The first entry of the leaf from `start` on that does not compare below `wanted`, looked for around `guess`: what lies far from it need not be fetched. */
  #boundIn(
    { keys, count }: Leaf,
    key: Float64Array,
    parts: number,
    wanted: number,
    start: number,
    guess: number,
  ): number {
    const { width } = this
    let low = start
    let high = count
    let at = Math.min(Math.max(guess, start), count - 1)
    for (let step = NEAR; low < high && at < high; step *= 4) {
      if (compareParts(keys, at, width, key, parts) < wanted) {
        low = at + 1
        if (at + step >= high) break
        at += step
        if (compareParts(keys, at, width, key, parts) >= wanted) high = at
      } else {
        high = at
        if (at - step < low) break
        at -= step
        if (compareParts(keys, at, width, key, parts) < wanted) low = at + 1
      }
    }
    while (low < high) {
      const middle = (low + high) >>> 1
      if (compareParts(keys, middle, width, key, parts) < wanted) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Entries between two places. */
  countBetween(from: Place, to: Place): number {
    if (from.leaf === to.leaf) return Math.max(0, to.at - from.at)
    if (from.leaf > to.leaf) return 0
    let count = this.#leaves[from.leaf]!.count - from.at + to.at
    for (let leaf = from.leaf + 1; leaf < to.leaf; leaf++) count += this.#leaves[leaf]!.count
    return count
  }

  /**
   * The entries behind `place`, up to `until`: their rows and keys are left in `batch`, and `place` is moved on. Returns how many; 0 at the end.
   * At most `most` of them, and no more than the batch has room for. Hot: once for some dozens of rows.
   */
  next(place: Place, until: Place, most: number, batch: Batch): number {
    let leaf = this.#leaves[place.leaf]
    while (leaf !== undefined && place.leaf < until.leaf && place.at === leaf.count) {
      place.leaf++
      place.at = 0
      leaf = this.#leaves[place.leaf]
    }
    if (leaf === undefined || place.leaf > until.leaf) return 0
    const end = place.leaf === until.leaf ? until.at : leaf.count
    const count = Math.min(end - place.at, most, batch.room)
    if (count <= 0) return 0
    this.#copy(leaf, place.at, 1, count, batch)
    place.at += count
    return count
  }

  /** As `next`, for the entries before `place`, down to `until`, the last of them first. */
  previous(place: Place, until: Place, most: number, batch: Batch): number {
    while (place.leaf > until.leaf && place.at === 0) {
      place.leaf--
      place.at = this.#leaves[place.leaf]!.count
    }
    const leaf = this.#leaves[place.leaf]
    if (leaf === undefined || place.leaf < until.leaf) return 0
    const end = place.leaf === until.leaf ? until.at : 0
    const count = Math.min(place.at - end, most, batch.room)
    if (count <= 0) return 0
    this.#copy(leaf, place.at - 1, -1, count, batch)
    place.at -= count
    return count
  }

  #copy(leaf: Leaf, first: number, step: 1 | -1, count: number, batch: Batch): void {
    const { width } = this
    const { keys, rows } = leaf
    const { keys: toKeys, rows: toRows } = batch
    let at = first
    for (let i = 0; i < count; i++, at += step) {
      toRows[i] = rows[at]!
      for (let part = 0; part < width; part++) toKeys[i * width + part] = keys[at * width + part]!
    }
  }

  /** Where this very entry is or belongs: a leaf that it may be added to, and the place there. */
  #find(key: Float64Array, row: RowId, place: Place): void {
    place.leaf = Math.max(0, this.#firsts.countUpTo(key, row, this.#leaves.length) - 1)
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
    const sign = compareParts(leaf.keys, at, this.width, key, this.width)
    return sign === 0 ? leaf.rows[at]! - row : sign
  }

  #insertLeaf(at: number): void {
    this.#memory.take(this.#leafBytes)
    this.#leaves.splice(at, 0, new Leaf(this.width))
    this.#firsts.insert(at, this.#leaves.length)
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
    if (!isLast) this.#firsts.set(place.leaf + 1, right)
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
    this.#firsts.remove(at, this.#leaves.length)
    this.#memory.give(this.#leafBytes)
  }

  /** Gives everything back at once. */
  clear(): void {
    this.#memory.give(this.#leaves.length * this.#leafBytes)
    this.#leaves.length = 0
    this.#size = 0
  }
}
