import { type Address, type CommitSeq, NONE, type RowId } from './address.js'
import { TableIndexes } from './index/table-indexes.js'
import { HashIndex, homeSlot } from './hash-index.js'
import type { MemoryAccount } from './memory.js'
import type { Readers } from './readers.js'
import { hashBytes } from '../sql/hash-bytes.js'
import type { RecordFormat } from './record.js'
import { RowIds } from './row-ids.js'
import { Slab, TOMBSTONE, UNKNOWN } from './slab.js'

/** What pruning left of a row. */
export type Pruned =
  /** One living version, or no row at all any more. */
  | 'settled'
  /** Versions that a snapshot can still see: prune again when one is released. */
  | 'pinned'

/** A table's rows as chains of versions, newest first, found by key. */
export class Chains {
  readonly slab: Slab
  readonly rows: RowIds
  readonly indexes: TableIndexes
  readonly #keys: HashIndex
  readonly #format: RecordFormat
  readonly #readers: Readers
  readonly #seed: number
  /** Told of each row that is gone with all its versions; null for a whole table, where that means that there is none. */
  onRemoved: ((row: RowId) => void) | null = null
  /** The hash of the key that `find` or `findKeyOf` looked for last. */
  #hash = 0

  constructor(format: RecordFormat, memory: MemoryAccount, readers: Readers, seed: number) {
    this.slab = new Slab(memory)
    this.rows = new RowIds(memory)
    this.#keys = new HashIndex(memory, true)
    this.#format = format
    this.#readers = readers
    this.#seed = seed
    this.indexes = new TableIndexes(this.slab, this.rows, format, memory, seed)
  }

  /** The row whose key is these bytes, as a record would begin; -1 if there is none. Hot: once per cold read and per change. */
  find(bytes: Uint8Array, start: number, end: number): RowId {
    const hash = hashBytes(bytes, start, end, this.#seed)
    this.#hash = hash
    let row = this.#keys.next(hash, homeSlot(hash))
    while (row >= 0 && !this.#hasKey(this.#keys.foundHead, bytes, start, end))
      row = this.#keys.next(hash, this.#keys.foundSlot + 1)
    return row
  }

  /** The row with the same key as this record, which need not be linked to any. */
  findKeyOf(record: Address): RowId {
    const page = this.slab.page(record)
    const start = this.slab.dataStart(record)
    return this.find(page, start, this.#format.keyEnd(page, start))
  }

  #hasKey(head: Address, bytes: Uint8Array, start: number, end: number): boolean {
    const page = this.slab.page(head)
    let at = this.slab.dataStart(head)
    for (let i = start; i < end; i++) if (page[at++] !== bytes[i]) return false
    return true
  }

  /**
   * A new row for the key that was looked for last, with this record as its only version.
   *
   * @throws {MemoryLimitError} The record is freed then, and there is no such row: a bounded table goes on without it.
   */
  addRow(record: Address): RowId {
    let row = -1
    try {
      row = this.rows.add()
      this.#keys.insert(this.#hash, row, record)
    } catch (error) {
      if (row >= 0) this.rows.release(row)
      this.slab.free(record)
      throw error
    }
    this.rows.setHead(row, record)
    this.slab.setRowId(record, row)
    return row
  }

  /** The newest version of the row that `find` or `findKeyOf` found last. */
  get foundHead(): Address {
    return this.#keys.foundHead
  }

  /** Makes this record the newest version of the row that was found last. */
  push(row: RowId, record: Address, older: Address): void {
    this.slab.setRowId(record, row)
    this.slab.setOlder(record, older)
    this.rows.setHead(row, record)
    this.#keys.setFoundHead(record)
  }

  /** The version as of `seq` in the chain that begins with `head`, which may be a tombstone; NONE if there was none yet. Hot: once per cold read. */
  versionAt(head: Address, seq: CommitSeq): Address {
    let record = head
    while (record !== NONE && this.slab.seq(record) > seq) record = this.slab.older(record)
    return record
  }

  /** Takes back the row's newest version: the one before is the newest again, or the row is gone. */
  pop(row: RowId): void {
    const head = this.rows.head(row)
    const older = this.slab.older(head)
    if (older === NONE) this.removeRow(row)
    else {
      this.#setHead(row, older)
      this.free(head)
    }
  }

  /** Frees a record that is no version of its row any more. */
  free(record: Address): void {
    this.indexes.unlinked(record)
    this.slab.free(record)
  }

  #setHead(row: RowId, head: Address): void {
    this.rows.setHead(row, head)
    this.#keys.setHead(this.#hashOf(head), row, head)
  }

  #hashOf(record: Address): number {
    const page = this.slab.page(record)
    const start = this.slab.dataStart(record)
    return hashBytes(page, start, this.#format.keyEnd(page, start), this.#seed)
  }

  /** Forgets the row with all its versions. */
  removeRow(row: RowId): void {
    const head = this.rows.head(row)
    this.#keys.remove(this.#hashOf(head), row)
    for (let record = head; record !== NONE; ) {
      const older = this.slab.older(record)
      this.rows.setHead(row, older)
      this.free(record)
      record = older
    }
    this.rows.release(row)
    this.onRemoved?.(row)
  }

  /** Frees the versions that no reader can see, and the row if what is left of it is that it was deleted. */
  prune(row: RowId): Pruned {
    const head = this.rows.head(row)
    if (head === NONE) return 'settled'
    this.#freeUnseen(head)
    if (this.slab.older(head) !== NONE) return 'pinned'
    const seq = this.slab.seq(head)
    if (!this.#saysNothing(head) || seq > this.#readers.visible) return 'settled'
    if (this.onRemoved !== null && this.#readers.pinnedIn(0, seq)) return 'pinned'
    this.removeRow(row)
    return 'settled'
  }

  /** Whether no chain at all would say the same: of a bounded table that nothing is known, else that there is no row. */
  #saysNothing(record: Address): boolean {
    return this.slab.has(record, this.onRemoved === null ? TOMBSTONE : UNKNOWN)
  }

  #freeUnseen(head: Address): void {
    let newer = head
    let newerSeq = this.slab.seq(head)
    for (let record = this.slab.older(head); record !== NONE; ) {
      const older = this.slab.older(record)
      const seq = this.slab.seq(record)
      const endsAsNothing = older === NONE && this.#saysNothing(record)
      if (!endsAsNothing && this.#readers.anyIn(seq, newerSeq)) {
        newer = record
        newerSeq = seq
      } else {
        this.slab.setOlder(newer, older)
        this.free(record)
      }
      record = older
    }
  }

  /** Frees the row's versions from before `seq`, which are dead to every reader, and the row if it has no other. */
  cutBefore(row: RowId, seq: CommitSeq): void {
    let last = this.rows.head(row)
    if (last === NONE) return
    if (this.slab.seq(last) < seq) {
      this.removeRow(row)
      return
    }
    let older = this.slab.older(last)
    while (older !== NONE && this.slab.seq(older) >= seq) {
      last = older
      older = this.slab.older(last)
    }
    while (older !== NONE) {
      const next = this.slab.older(older)
      this.slab.setOlder(last, next)
      this.free(older)
      older = next
    }
  }

  /** Moves the records of one sparse page elsewhere, so that the page can be given back. False if no page is worth it. */
  compactPage(): boolean {
    const page = this.slab.sparsestPage()
    if (page < 0) return false
    this.slab.evacuate(page, record => this.#move(record))
    return true
  }

  #move(record: Address): void {
    const copy = this.slab.copy(record)
    const row = this.slab.rowId(record)
    const head = this.rows.head(row)
    if (head === record) {
      this.#setHead(row, copy)
      this.indexes.moved(row, copy)
    } else {
      let newer = head
      while (this.slab.older(newer) !== record) newer = this.slab.older(newer)
      this.slab.setOlder(newer, copy)
    }
    this.slab.free(record)
  }

  /** Gives everything back at once. */
  clear(): void {
    this.indexes.clear()
    this.slab.clear()
    this.rows.clear()
    this.#keys.clear()
  }
}
