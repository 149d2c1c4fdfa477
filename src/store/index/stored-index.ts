import type { TupleView } from '../../change/change.js'
import type { Address, RowId } from '../address.js'
import type { MemoryAccount } from '../memory.js'
import { HashEntries } from './hash-entries.js'
import { Batch, Place, SortedEntries } from './sorted-entries.js'

/** How an index makes numbers of a row's values: equal values give equal numbers. */
export interface IndexKey {
  /** Whether it is one number that says nothing of the values' order: a hash of 32 bits. */
  readonly isHash: boolean
  /** Whether mostly one row has a value: then its newest version stands in the entry of a hash, where a look-up finds it without the row's own entry. */
  readonly isUnique: boolean
  /** Positions of the indexed columns, in the index's order. */
  readonly columns: readonly number[]
  /** Numbers in a key. */
  readonly width: number
  /** Writes the key of the row that `view` shows in SELECT order. `seed` is for those that hash. */
  write(view: TupleView, into: Float64Array, seed: number): void
}

/** What an entry takes at most, in the long run: tables of hashes and leaves whose keys come in no order are half full, or fuller. */
export function entryBytes({ isHash, isUnique, width }: IndexKey): number {
  return (isHash ? (isUnique ? 12 : 8) : width * 8 + 4) * 2
}

/** Entries that are read at one time. */
const ENTRIES_READ = 64

/** One index: an entry for each value that a retained version of a row has. */
export class StoredIndex {
  readonly key: IndexKey
  /** Null if the index is by order. */
  readonly hashed: HashEntries | null
  /** All entries of an index by order; of one by hash those of the hashes that many rows have. */
  readonly sorted: SortedEntries

  constructor(key: IndexKey, memory: MemoryAccount) {
    this.key = key
    this.hashed = key.isHash ? new HashEntries(memory, key.isUnique) : null
    this.sorted = this.hashed?.many ?? new SortedEntries(key.width, memory)
  }

  /** How many entries it has. */
  get size(): number {
    return (this.hashed ?? this.sorted).size
  }

  /** Whether an entry has the newest version of its row. */
  get hasHeads(): boolean {
    return this.hashed !== null && this.hashed.hasHeads
  }

  /** Adds the entry, if it is not there; `head` is the newest version of the row. @throws {MemoryLimitError} */
  add(key: Float64Array, row: RowId, head: Address): void {
    if (this.hashed === null) this.sorted.add(key, row)
    else this.hashed.add(key, row, head)
  }

  /** The row of this entry, if it is there, has another newest version. */
  setHead(key: Float64Array, row: RowId, head: Address): void {
    this.hashed?.setHead(key, row, head)
  }

  /** Removes the entry, if it is there. */
  remove(key: Float64Array, row: RowId): void {
    if (this.hashed === null) this.sorted.remove(key, row)
    else this.hashed.remove(key, row)
  }

  /** The rows of all entries with this key. */
  rowsOf(key: Float64Array): RowId[] {
    const batch = new Batch(ENTRIES_READ, this.key.width)
    const few = this.hashed === null ? -1 : this.hashed.few(key[0]!, batch)
    if (few >= 0) return [...batch.rows.subarray(0, few)]
    const place = new Place()
    const until = new Place()
    this.sorted.seek(key, this.key.width, false, place)
    this.sorted.seekFrom(place, key, this.key.width, true, until)
    const rows: RowId[] = []
    for (;;) {
      const count = this.sorted.next(place, until, ENTRIES_READ, batch)
      if (count === 0) return rows
      for (let i = 0; i < count; i++) rows.push(batch.rows[i]!)
    }
  }

  /** Gives everything back at once. */
  clear(): void {
    if (this.hashed === null) this.sorted.clear()
    else this.hashed.clear()
  }
}
