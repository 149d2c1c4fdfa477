import { TEXT, TupleView } from '../../change/change.js'
import { type Address, NONE, type RowId } from '../address.js'
import type { MemoryAccount } from '../memory.js'
import type { RecordFormat } from '../record.js'
import type { RowIds } from '../row-ids.js'
import { type Slab, TOMBSTONE } from '../slab.js'
import { entryBytes, type IndexKey, StoredIndex } from './stored-index.js'

/**
 * A table's indexes. An entry (value, row) is there exactly as long as some version of the row, published or not, pinned or the newest, has
 * that value; so a reader of any state finds its rows, and has to look whether the version that it sees has the value still.
 *
 * Where entries have heads (of unique keys), the head is the row's newest version as soon as the row has no other one: it is set when the last older
 * version goes, not with each write. So it is to be relied on only in a table that has no older versions.
 */
export class TableIndexes {
  readonly list: StoredIndex[] = []
  readonly #slab: Slab
  readonly #rows: RowIds
  readonly #format: RecordFormat
  readonly #memory: MemoryAccount
  readonly #seed: number
  readonly #view = new TupleView()
  readonly #other = new TupleView()
  #key = new Float64Array(1)
  #otherKey = new Float64Array(1)

  constructor(slab: Slab, rows: RowIds, format: RecordFormat, memory: MemoryAccount, seed: number) {
    this.#slab = slab
    this.#rows = rows
    this.#format = format
    this.#memory = memory
    this.#seed = seed
  }

  /** What hashing keys begin with. */
  get seed(): number {
    return this.#seed
  }

  /** An index that all versions from now on have entries in: of a table that has no rows yet, or one that the rows there are enter by `enter`. */
  add(key: IndexKey): StoredIndex {
    const index = new StoredIndex(key, this.#memory)
    this.list.push(index)
    if (key.width > this.#key.length) {
      this.#key = new Float64Array(key.width)
      this.#otherKey = new Float64Array(key.width)
    }
    return index
  }

  /** The record has become the newest version of its row; `before` was that until now, or NONE. Hot: once per change of an indexed table. @throws {MemoryLimitError} */
  linked(row: RowId, record: Address, before: Address): void {
    if (this.list.length === 0 || this.#slab.has(record, TOMBSTONE)) return
    this.#show(record, this.#view)
    const isNew = before === NONE || this.#slab.has(before, TOMBSTONE)
    if (!isNew) this.#show(before, this.#other)
    for (const index of this.list) {
      const { key } = index
      if (!isNew && this.#hasSameValues(key)) continue
      key.write(this.#view, this.#key, this.#seed)
      index.add(this.#key, row, record)
    }
  }

  /** The record is no version of its row any more, and about to be freed; the row has its newest version already. */
  unlinked(record: Address): void {
    if (this.list.length === 0 || this.#slab.has(record, TOMBSTONE)) return
    const row = this.#slab.rowId(record)
    const head = this.#rows.head(row)
    this.#show(record, this.#view)
    for (const index of this.list) {
      const { key } = index
      key.write(this.#view, this.#key, this.#seed)
      if (!this.#someVersionHas(key, head)) index.remove(this.#key, row)
      else if (index.hasHeads) index.setHead(this.#key, row, head)
    }
  }

  /** The newest version of the row lies elsewhere now. */
  moved(row: RowId, head: Address): void {
    if (this.#slab.has(head, TOMBSTONE)) return
    let isShown = false
    for (const index of this.list) {
      if (!index.hasHeads) continue
      if (!isShown) this.#show(head, this.#view)
      isShown = true
      index.key.write(this.#view, this.#key, this.#seed)
      index.setHead(this.#key, row, head)
    }
  }

  /** @throws {MemoryLimitError} if there is no room for an index of so many rows: better to see it now than in the middle of a commit. */
  mustHaveRoom(key: IndexKey, rows: number): void {
    this.#memory.mustHave(rows * entryBytes(key))
  }

  /** Takes an index away, with what it holds. */
  remove(index: StoredIndex): void {
    const place = this.list.indexOf(index)
    if (place >= 0) this.list.splice(place, 1)
    index.clear()
  }

  /**
   * Gives the row, whatever versions it has, its entries in an index that was added when it was there already. Versions that come or go before or after
   * do no harm: an entry that is there is not added again, and one that is not there need not be removed.
   *
   * @throws {MemoryLimitError}
   */
  enter(index: StoredIndex, row: RowId): void {
    const head = this.#rows.head(row)
    for (let record = head; record !== NONE; record = this.#slab.older(record)) {
      if (this.#slab.has(record, TOMBSTONE)) continue
      this.#show(record, this.#view)
      index.key.write(this.#view, this.#key, this.#seed)
      index.add(this.#key, row, head)
    }
  }

  #someVersionHas(key: IndexKey, head: Address): boolean {
    for (let record = head; record !== NONE; record = this.#slab.older(record)) {
      if (this.#slab.has(record, TOMBSTONE)) continue
      this.#show(record, this.#other)
      if (this.#hasSameValues(key)) return true
      key.write(this.#other, this.#otherKey, this.#seed)
      if (this.#keysAreEqual(key.width)) return true
    }
    return false
  }

  #keysAreEqual(width: number): boolean {
    for (let i = 0; i < width; i++) if (this.#key[i] !== this.#otherKey[i]) return false
    return true
  }

  /** Whether the two views have the same bytes in the indexed columns. */
  #hasSameValues({ columns }: IndexKey): boolean {
    const a = this.#view
    const b = this.#other
    for (const column of columns) {
      if (a.kinds[column] !== b.kinds[column]) return false
      if (a.kinds[column] !== TEXT) continue
      let from = a.starts[column]!
      let to = b.starts[column]!
      const end = a.ends[column]!
      if (end - from !== b.ends[column]! - to) return false
      while (from < end) if (a.bytes[from++] !== b.bytes[to++]) return false
    }
    return true
  }

  #show(record: Address, view: TupleView): void {
    this.#format.read(this.#slab.page(record), this.#slab.dataStart(record), view)
  }

  /** Gives everything back at once. */
  clear(): void {
    for (const index of this.list) index.clear()
  }
}
