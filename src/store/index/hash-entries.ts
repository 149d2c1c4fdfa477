import type { Address, RowId } from '../address.js'
import { HashIndex, homeSlot } from '../hash-index.js'
import type { MemoryAccount } from '../memory.js'
import { type Batch, Place, SortedEntries } from './sorted-entries.js'

/** Rows of one hash beside each other in the table, at most: more would make long ways of short ones, also for others. */
export const FEW_ROWS_MAX = 16
/** Stands in the table for all rows of a hash that has more. No row has this id. */
const MANY_ROWS: RowId = 2 ** 32 - 2

/**
 * Pairs of a hash and a row id, each pair once: found by one probe into an open-addressing table, 8 bytes a slot. The rows of a hash that many
 * have (a value that most rows share) are in sorted leaves instead, where adding and removing one is as fast however many there are.
 *
 * With heads (12 bytes a slot) an entry of the table has the newest version of its row, too: as far as its owner says when that changes.
 */
export class HashEntries {
  /** Numbers in a key. */
  readonly width = 1
  /** The entries of the hashes that many rows have. */
  readonly many: SortedEntries
  readonly hasHeads: boolean
  readonly #few: HashIndex
  readonly #place = new Place()
  readonly #until = new Place()
  #fewSize = 0

  constructor(memory: MemoryAccount, withHeads: boolean) {
    this.many = new SortedEntries(1, memory)
    this.hasHeads = withHeads
    this.#few = new HashIndex(memory, withHeads)
  }

  get size(): number {
    return this.#fewSize + this.many.size
  }

  /** Adds the entry, if it is not there. @throws {MemoryLimitError} */
  add(key: Float64Array, row: RowId, head: Address): void {
    const hash = key[0]!
    const few = this.#few
    let count = 0
    let found = few.next(hash, homeSlot(hash))
    while (found >= 0) {
      if (found === row) return
      if (found === MANY_ROWS) {
        this.many.add(key, row)
        return
      }
      count++
      found = few.next(hash, few.foundSlot + 1)
    }
    if (count === FEW_ROWS_MAX) {
      this.#becomeMany(key)
      this.many.add(key, row)
      return
    }
    few.insert(hash, row, head)
    this.#fewSize++
  }

  /** Moves the rows of a hash to the leaves. What can fail for want of memory comes first. */
  #becomeMany(key: Float64Array): void {
    const hash = key[0]!
    const few = this.#few
    few.insert(hash, MANY_ROWS)
    try {
      for (let row = this.#first(hash); row >= 0; row = few.next(hash, few.foundSlot + 1))
        if (row !== MANY_ROWS) this.many.add(key, row)
    } catch (error) {
      for (let row = this.#first(hash); row >= 0; row = few.next(hash, few.foundSlot + 1))
        if (row !== MANY_ROWS) this.many.remove(key, row)
      few.remove(hash, MANY_ROWS)
      throw error
    }
    for (let row = this.#firstOfFew(hash); row >= 0; row = this.#firstOfFew(hash)) {
      few.remove(hash, row)
      this.#fewSize--
    }
  }

  #first(hash: number): RowId {
    return this.#few.next(hash, homeSlot(hash))
  }

  #firstOfFew(hash: number): RowId {
    const first = this.#first(hash)
    return first === MANY_ROWS ? this.#few.next(hash, this.#few.foundSlot + 1) : first
  }

  /** Removes the entry, if it is there. */
  remove(key: Float64Array, row: RowId): void {
    const hash = key[0]!
    const few = this.#few
    for (let found = this.#first(hash); found >= 0; found = few.next(hash, few.foundSlot + 1)) {
      if (found === row) {
        few.remove(hash, row)
        this.#fewSize--
        return
      }
      if (found === MANY_ROWS) {
        this.many.remove(key, row)
        if (!this.#areThereMany(key)) few.remove(hash, MANY_ROWS)
        return
      }
    }
  }

  /** The row of this entry, if it is there, has another newest version. */
  setHead(key: Float64Array, row: RowId, head: Address): void {
    const few = this.#few
    for (let found = this.#first(key[0]!); found >= 0; found = few.next(key[0]!, few.foundSlot + 1)) {
      if (found !== row) continue
      few.setFoundHead(head)
      return
    }
  }

  #areThereMany(key: Float64Array): boolean {
    this.many.seek(key, 1, false, this.#place)
    this.many.seekFrom(this.#place, key, 1, true, this.#until)
    return this.many.countBetween(this.#place, this.#until) > 0
  }

  /**
   * Leaves the rows of this hash, and the hash as the key of each, in `batch`, which must have room for `FEW_ROWS_MAX`. Returns how many; -1 if they are
   * in `many`. Hot: once a query.
   */
  few(hash: number, { rows, keys }: Batch): number {
    const few = this.#few
    let count = 0
    for (let row = this.#first(hash); row >= 0; row = few.next(hash, few.foundSlot + 1)) {
      if (row === MANY_ROWS) return -1
      rows[count] = row
      keys[count++] = hash
    }
    return count
  }

  /** As `few`, where entries have heads, which are left in `heads`. Hot: once a query. */
  fewHeads(hash: number, { rows, keys }: Batch, heads: Uint32Array): number {
    const few = this.#few
    let count = 0
    for (let row = this.#first(hash); row >= 0; row = few.next(hash, few.foundSlot + 1)) {
      if (row === MANY_ROWS) return -1
      rows[count] = row
      keys[count] = hash
      heads[count++] = few.foundHead
    }
    return count
  }

  /** The newest version of the only row of this hash, where entries have heads. NONE if no row has it; else `SEVERAL`. Hot: once a look-up. */
  onlyHead(hash: number): Address {
    return this.#few.onlyHead(hash, MANY_ROWS)
  }

  /** Gives everything back at once. */
  clear(): void {
    this.#few.clear()
    this.many.clear()
    this.#fewSize = 0
  }
}
