import { LRUCache } from 'lru-cache'
import { TupleView } from '../change/change.js'
import { type CacheError, DivergedError } from '../errors.js'
import { integerOf } from '../sql/compare-bytes.js'
import { type Address, type CommitSeq, NONE, type RowId } from './address.js'
import { BoundedWrites } from './bounded-writes.js'
import { Chains } from './chains.js'
import { IdList } from './id-list.js'
import type { TableIndexes } from './index/table-indexes.js'
import { KeyFinder } from './key-finder.js'
import type { MemoryAccount } from './memory.js'
import { Pruner } from './pruner.js'
import { ReadLately } from './read-lately.js'
import type { Readers } from './readers.js'
import type { Bounds } from './recency.js'
import { KeyBuffer, RecordFormat } from './record.js'
import type { PackedRow } from './packed-row.js'
import { Residency } from './residency.js'
import { SizeHistory } from './size-history.js'
import { ASCII, DECODED, LISTED, TOMBSTONE, UNKNOWN } from './slab.js'
import type { DecodedKey, TableLayout, TouchObserver, WriteObserver } from './table-layout.js'
import { Truncations } from './truncations.js'
import { TupleWriter } from './tuple-writer.js'

/** How many decoded rows a table keeps; the packed rows are bounded by bytes. */
const DECODED_MAX = 8192

/** Of the rows that could be kept decoded in place of another one, one in so many is. */
const ONE_IN = 16

export type { DecodedKey, TableLayout, TouchObserver, WriteObserver } from './table-layout.js'

/**
 * One table in memory: packed rows by key, each a chain of versions, written by one writer under a sequence number that no
 * reader sees until it is published.
 */
export class TableStore {
  readonly layout: TableLayout
  readonly format: RecordFormat
  /** Rows decoded lately, by key: only such as are the newest version, with nothing newer on the way. */
  readonly decoded: LRUCache<DecodedKey, object>
  /** Reads by key: of rows that were there, of keys known to be absent, of keys of which nothing was known. */
  readonly reads = { hits: 0, absent: 0, misses: 0 }
  /** What a bounded table knows; null if the table is whole. */
  readonly residency: Residency | null
  /** Set while somebody follows the table's changes. */
  observer: WriteObserver | null = null
  /** Set while somebody compares the table with PostgreSQL. */
  touches: TouchObserver | null = null
  readonly #bounded: BoundedWrites | null
  readonly #memory: MemoryAccount
  readonly #readers: Readers
  readonly #chains: Chains
  readonly #keys: KeyFinder
  readonly #truncations = new Truncations()
  readonly #pruner: Pruner
  readonly #sizes: SizeHistory
  readonly #view = new TupleView()
  readonly #writer: TupleWriter
  readonly #selectOrder: Int32Array
  readonly #readLately = new ReadLately(2 * DECODED_MAX)
  /** Answers have many rows: what does not fit must not push out one after the other what would. */
  readonly #foundLately = new ReadLately(DECODED_MAX / 2)
  /** Counts the rows that could have taken another one's place. */
  #displacing = 0
  /** Rows that the transaction in progress has written, once each. */
  #touched = new IdList()
  #pendingSize = 0
  #failed: CacheError | null = null

  constructor(layout: TableLayout, memory: MemoryAccount, readers: Readers, hashSeed: number) {
    this.layout = layout
    this.format = new RecordFormat(layout.columns, layout.key)
    this.#memory = memory
    this.#readers = readers
    this.#sizes = new SizeHistory(readers)
    this.#chains = new Chains(this.format, memory, readers, hashSeed)
    this.#keys = new KeyFinder(this.format, this.#chains)
    this.#writer = new TupleWriter(layout.name, this.format, this.#chains, this.#keys, memory)
    this.residency = layout.bounds === undefined ? null : this.#makeResidency(layout.bounds)
    this.#bounded = this.residency === null ? null : this.#makeBounded(this.residency)
    this.decoded = this.#makeDecoded(layout.bounds)
    const { residency } = this
    this.#pruner = new Pruner(
      this.#chains,
      readers,
      this.#truncations,
      residency === null ? null : row => residency.settle(row),
    )
    this.#selectOrder = this.format.order(column => column)
  }

  #makeResidency(bounds: Bounds): Residency {
    const chains = this.#chains
    const residency = new Residency(
      bounds,
      {
        name: this.layout.name,
        chains,
        keys: this.#keys,
        format: this.format,
        readers: this.#readers,
        truncations: this.#truncations,
      },
      {
        isDecoded: head => chains.slab.has(head, DECODED) && this.decoded.has(this.#decodedKey(head)),
        dropDecoded: head => {
          if (chains.slab.has(head, DECODED)) this.decoded.delete(this.#decodedKey(head))
        },
        pin: row => this.#pruner.pin(row),
      },
    )
    chains.onRemoved = row => residency.removed(row)
    return residency
  }

  #makeBounded(residency: Residency): BoundedWrites {
    return new BoundedWrites(residency, this.format, {
      mark: (key, order, seq) => {
        const record = this.#writer.writeKey(key, order, seq, TOMBSTONE | UNKNOWN)
        this.#freeIfPending(this.#link(record, seq), seq)
      },
      complete: (old, oldIsFull, row, order) => {
        if (this.format.measure(row, order, this.format.columns) >= 0) return { view: row, order }
        return this.#writer.completeFrom(old, oldIsFull, row, order)
          ? { view: this.#writer.merged, order: this.#writer.mergedOrder }
          : null
      },
      put: (row, order, seq) => {
        const record = this.#writer.write(row, order, seq)
        this.#freeIfPending(this.#link(record, seq), seq)
        return record
      },
      observer: () => this.observer,
    })
  }

  #makeDecoded(bounds: Bounds | undefined): LRUCache<DecodedKey, object> {
    if (bounds === undefined) return new LRUCache({ max: DECODED_MAX })
    const key = new KeyBuffer()
    return new LRUCache<DecodedKey, object>({
      max: Math.max(1, Math.min(DECODED_MAX, Math.floor((bounds.maxRows ?? 2 * DECODED_MAX) / 2))),
      // While it was here, no read of it was noted anywhere else.
      dispose: (_, decodedKey, reason) => {
        if (reason !== 'evict') return
        key.clear()
        if (typeof decodedKey === 'number') key.appendInteger(decodedKey)
        else for (const text of decodedKey.split('\0')) key.append(text)
        const row = this.find(key)
        if (row >= 0) this.residency!.used(row)
      },
    })
  }

  /** Why the table can't be read, or null. */
  get failed(): CacheError | null {
    return this.#failed
  }

  /** Bytes that the packed rows and their indexes take. */
  get bytes(): number {
    return this.#memory.usedBytes
  }

  /** Row ids are below this. */
  get rowEnd(): RowId {
    return this.#chains.rows.end
  }

  /** The secondary indexes. They are added before the first row. */
  get indexes(): TableIndexes {
    return this.#chains.indexes
  }

  /** Whether there are no versions but those that a reader of state `at`, the visible one, sees: then each entry of an index is one row of its. */
  isSettledAt(at: CommitSeq): boolean {
    return (
      this.residency === null &&
      at === this.#readers.visible &&
      this.#chains.slab.records === this.#sizes.at(at)
    )
  }

  /** How many rows a reader of state `at` sees. */
  sizeAt(at: CommitSeq): number {
    return this.#sizes.at(at)
  }

  /** The row with this key; -1 if there is none in any version. */
  find(key: KeyBuffer): RowId {
    return this.#chains.find(key.bytes, 0, key.length)
  }

  /** The same for a key's bytes, as a record begins with them. */
  findBytes(key: Uint8Array): RowId {
    return this.#chains.find(key, 0, key.length)
  }

  /** The record of this row that a reader of state `at` sees; NONE if it sees no row. */
  recordAt(row: RowId, at: CommitSeq): Address {
    const record = this.#chains.versionAt(this.#chains.rows.head(row), at)
    return record !== NONE && this.#isAlive(record, at) ? record : NONE
  }

  /** As `recordAt`, of `count` rows at once, left in `into`: they are looked up side by side. Hot: once for some dozens of rows. */
  recordsOf(rows: Uint32Array, count: number, at: CommitSeq, into: Uint32Array): void {
    this.headsOf(rows, count, into, 0)
    for (let i = 0; i < count; i++) {
      const record = this.#chains.versionAt(into[i]!, at)
      into[i] = record !== NONE && this.#isAlive(record, at) ? record : NONE
    }
  }

  /** The newest versions of `count` rows, left in `into` from `start` on. */
  headsOf(rows: Uint32Array, count: number, into: Uint32Array, start: number): void {
    const ids = this.#chains.rows
    for (let i = 0; i < count; i++) into[start + i] = ids.head(rows[i]!)
  }

  /** The rows that `count` records are versions of, left in `into`. The records are fetched side by side, where reading one after the other would wait for each. */
  rowsOf(records: Uint32Array, start: number, count: number, into: Uint32Array): void {
    const { slab } = this.#chains
    for (let i = 0; i < count; i++) into[i] = slab.rowId(records[start + i]!)
  }

  /**
   * What this record of `row`, which a reader sees, holds: the row that is kept decoded, if it is, or one that is kept from now on if it is read often,
   * as `get` does. Hot: once for each row of an answer.
   */
  rowOf(record: Address, row: RowId): object {
    const { slab, rows } = this.#chains
    if (rows.head(row) !== record) return this.decode(record)
    return slab.has(record, DECODED) || this.#deservesPlace(row) ? this.#keptRow(record) : this.decode(record)
  }

  /** As `rowOf`, of a record that `view` shows. */
  rowShown(record: Address, view: TupleView): object {
    const { slab, rows } = this.#chains
    const row = slab.rowId(record)
    const isNewest = rows.head(row) === record
    if (isNewest && (slab.has(record, DECODED) || this.#deservesPlace(row))) return this.#keptRow(record)
    return this.layout.decode(view, slab.has(record, ASCII))
  }

  /** The row that is kept decoded, or is from now on. */
  #keptRow(record: Address): object {
    const { slab } = this.#chains
    const decodedKey = this.#decodedKey(record)
    const kept = slab.has(record, DECODED) ? this.decoded.get(decodedKey) : undefined
    if (kept !== undefined) return kept
    const decoded = this.decode(record)
    // Not behind a truncation, published or pending: a snapshot may still read what that one killed.
    if (slab.seq(record) >= this.#truncations.newest) {
      slab.set(record, DECODED)
      this.decoded.set(decodedKey, decoded)
    }
    return decoded
  }

  /** Whether a row that an index has found is to be kept decoded. Where there is no room left, only some of those that could be: to drive out one such row for another costs more than it saves. */
  #deservesPlace(row: RowId): boolean {
    if (!this.#foundLately.seen(row)) return false
    return this.decoded.size < this.decoded.max || ++this.#displacing % ONE_IN === 0
  }

  /**
   * The row with this key that a reader of state `at` sees, decoded; undefined if it sees none. It is kept decoded under `decodedKey` if it is read
   * often, and is what every new reader will see. Hot: once per cold read. Guarded by benchmarks/read.ts.
   */
  get(key: KeyBuffer, decodedKey: DecodedKey, at: CommitSeq): object | undefined {
    const row = this.find(key)
    if (row < 0) return undefined
    const { slab, foundHead } = this.#chains
    const record = this.#chains.versionAt(foundHead, at)
    if (record === NONE || !this.#isAlive(record, at)) return undefined
    if (record !== foundHead) return this.decode(record)
    const kept = slab.has(record, DECODED) ? this.decoded.get(decodedKey) : undefined
    if (kept !== undefined) return kept
    this.residency?.used(row)
    const decoded = this.decode(record)
    // Not behind a truncation, published or pending: a snapshot may still read what that one killed.
    if (this.#readLately.seen(row) && slab.seq(record) >= this.#truncations.newest) {
      slab.set(record, DECODED)
      this.decoded.set(decodedKey, decoded)
    }
    return decoded
  }

  /** The record that a reader of state `at` sees of the row with the key that `record` of `other`, a table of the same shape, has; NONE if it sees none. */
  recordLike(other: TableStore, record: Address, at: CommitSeq): Address {
    const { slab } = other.#chains
    const page = slab.page(record)
    const start = slab.dataStart(record)
    const row = this.#chains.find(page, start, this.format.keyEnd(page, start))
    return row < 0 ? NONE : this.recordAt(row, at)
  }

  /** Whether a record and one of `other`, a table of the same shape, hold the same texts. */
  isSameRow(record: Address, other: TableStore, otherRecord: Address): boolean {
    const page = this.#chains.slab.page(record)
    const start = this.#chains.slab.dataStart(record)
    const otherPage = other.#chains.slab.page(otherRecord)
    const otherStart = other.#chains.slab.dataStart(otherRecord)
    const end = this.format.end(page, start)
    const otherEnd = this.format.end(otherPage, otherStart)
    return page.compare(otherPage, otherStart, otherEnd, start, end) === 0
  }

  #isAlive(record: Address, at: CommitSeq): boolean {
    const { slab } = this.#chains
    return !slab.has(record, TOMBSTONE) && !this.#truncations.killed(slab.seq(record), at)
  }

  /** The row that this record holds, made anew. */
  decode(record: Address): object {
    const ascii = this.point(record, this.#view)
    return this.layout.decode(this.#view, ascii)
  }

  /** Whether every byte of the record's values is below 0x80. */
  isAscii(record: Address): boolean {
    return this.#chains.slab.has(record, ASCII)
  }

  /** Points `view` at the record's values, in SELECT order: good until the next write. Returns whether every byte is below 0x80. */
  point(record: Address, view: TupleView): boolean {
    const { slab } = this.#chains
    this.format.read(slab.page(record), slab.dataStart(record), view)
    return slab.has(record, ASCII)
  }

  /** The decoded row that readers get instead of decoding this record; undefined if there is none. */
  decodedOf(record: Address): object | undefined {
    return this.#chains.slab.has(record, DECODED) ? this.decoded.peek(this.#decodedKey(record)) : undefined
  }

  /** A copy of the key under which a reader of state `at` finds this row or, in a bounded table, its absence; null if there is none. */
  keyAt(row: RowId, at: CommitSeq): Buffer | null {
    const { slab } = this.#chains
    const record = this.#chains.versionAt(this.#chains.rows.head(row), at)
    if (record === NONE || slab.has(record, UNKNOWN)) return null
    if (this.residency === null && !this.#isAlive(record, at)) return null
    const page = slab.page(record)
    const start = slab.dataStart(record)
    return Buffer.from(page.subarray(start, this.format.keyEnd(page, start)))
  }

  /** A copy of the record's values, for whoever keeps them longer than the record lives. */
  packed(record: Address): PackedRow {
    const { slab } = this.#chains
    const page = slab.page(record)
    const start = slab.dataStart(record)
    return {
      bytes: Buffer.from(page.subarray(start, this.format.end(page, start))),
      ascii: slab.has(record, ASCII),
    }
  }

  /** The row that such a copy holds, as a reader gets it. */
  decodePacked(row: PackedRow): object {
    this.format.read(row.bytes, 0, this.#view)
    return this.layout.read(this.layout.decode(this.#view, row.ascii))
  }

  /**
   * Adds a row of the first load, whose values are in SELECT order. The same row may come twice: a part of a load that broke off is done again.
   *
   * @throws {MemoryLimitError}
   */
  load(values: TupleView, seq: CommitSeq): void {
    const record = this.#writer.write(values, this.#selectOrder, seq)
    const row = this.#chains.findKeyOf(record)
    if (row < 0) {
      this.#chains.indexes.linked(this.#chains.addRow(record), record, NONE)
      this.#pendingSize++
    } else {
      const before = this.#chains.foundHead
      this.#chains.push(row, record, NONE)
      this.#chains.indexes.linked(row, record, before)
      this.#chains.free(before)
    }
  }

  /**
   * Adds a row, under a sequence number that is not visible yet. `order` says where in `row` each place of a record is (`RecordFormat.order`).
   *
   * @throws {DivergedError} if there is one with its key. @throws {MemoryLimitError}
   */
  insert(row: TupleView, order: Int32Array, seq: CommitSeq): void {
    if (this.#bounded !== null && !this.#bounded.admitsInsert(row, order, seq)) return
    const record = this.#writer.write(row, order, seq)
    const before = this.#link(record, seq)
    if (before !== NONE && this.#isAlive(before, seq))
      throw this.#diverged('a row was inserted whose key is there already.')
    this.#pendingSize++
    this.observer?.wrote(NONE, record)
    this.#freeIfPending(before, seq)
  }

  /**
   * Replaces a row. `old` holds at least its key if that changed or was TOASTed; `oldIsFull`: it is the whole row before.
   *
   * @throws {DivergedError} if there is no such row. @throws {MemoryLimitError}
   */
  update(old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array, seq: CommitSeq): void {
    if (this.#bounded !== null && !this.#bounded.admitsUpdate(old, oldIsFull, row, order, seq)) return
    if (this.format.measure(row, order, this.format.columns) < 0) {
      this.#writer.complete(old, oldIsFull, row, order)
      this.#replace(old, order, this.#writer.merged, this.#writer.mergedOrder, seq)
    } else this.#replace(old, order, row, order, seq)
  }

  #replace(
    old: TupleView | null,
    oldOrder: Int32Array,
    row: TupleView,
    order: Int32Array,
    seq: CommitSeq,
  ): void {
    if (old !== null && !this.format.sameKey(old, oldOrder, row, order)) {
      this.#moveKey(old, oldOrder, row, order, seq)
      return
    }
    const record = this.#writer.write(row, order, seq)
    const before = this.#link(record, seq)
    if (before === NONE || !this.#isAlive(before, seq))
      throw this.#diverged('a row was updated that is not there.')
    this.observer?.wrote(before, record)
    this.#freeIfPending(before, seq)
  }

  /** A changed key is the end of one row and the beginning of another. */
  #moveKey(old: TupleView, oldOrder: Int32Array, row: TupleView, order: Int32Array, seq: CommitSeq): void {
    const tombstone = this.#writer.writeKey(old, oldOrder, seq, TOMBSTONE)
    const before = this.#link(tombstone, seq)
    if (before === NONE || !this.#isAlive(before, seq))
      throw this.#diverged('a row got a new key that is not there.')
    const record = this.#writer.write(row, order, seq)
    const replaced = this.#link(record, seq)
    if (replaced !== NONE && this.#isAlive(replaced, seq))
      throw this.#diverged('a row got a key that another row has.')
    this.observer?.wrote(before, record)
    this.#freeIfPending(before, seq)
    this.#freeIfPending(replaced, seq)
  }

  /**
   * Deletes the row with the key in `old`; `oldIsFull`: it is the whole row.
   *
   * @throws {DivergedError} if there is no such row. @throws {MemoryLimitError}
   */
  remove(old: TupleView, order: Int32Array, seq: CommitSeq, oldIsFull = false): void {
    if (this.#bounded !== null && !this.#bounded.admitsRemove(old, oldIsFull, order, seq)) return
    const tombstone = this.#writer.writeKey(old, order, seq, TOMBSTONE)
    const before = this.#link(tombstone, seq)
    if (before === NONE || !this.#isAlive(before, seq))
      throw this.#diverged('a row was deleted that is not there.')
    this.#pendingSize--
    this.observer?.wrote(before, NONE)
    this.#freeIfPending(before, seq)
  }

  /** Whether the transaction in progress finds a row with this tuple's key. */
  holds(tuple: TupleView, order: Int32Array): boolean {
    if (this.#keys.find(tuple, order) < 0) return false
    const { foundHead } = this.#chains
    return foundHead !== NONE && this.#isAlive(foundHead, Number.POSITIVE_INFINITY)
  }

  /**
   * The new row of an update with its unchanged TOAST values, from the old tuple or, if there `isHeld`, from the row before, by `wholeOrder`; null
   * if one is in neither. Good until the next call.
   */
  whole(
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
    isHeld: boolean,
  ): TupleView | null {
    if (isHeld) this.#writer.complete(old, oldIsFull, row, order)
    else if (!this.#writer.completeFrom(old, oldIsFull, row, order)) return null
    return this.#writer.merged
  }

  /** Where in what `whole` gives each place of a record is. */
  get wholeOrder(): Int32Array {
    return this.#writer.mergedOrder
  }

  /** Empties the table. */
  truncate(seq: CommitSeq): void {
    this.observer?.truncated()
    // What this transaction wrote before has the same number as the truncation, and so has to go by hand.
    this.#popTouched(seq, this.#touched.length)
    this.#truncations.add(seq)
    this.residency?.truncate(seq)
    this.#pendingSize = 0
    this.decoded.clear()
  }

  /** Makes the record its row's newest version. Returns the one before, or NONE for a new key. */
  #link(record: Address, seq: CommitSeq): Address {
    const { slab } = this.#chains
    const row = this.#chains.findKeyOf(record)
    if (row < 0) {
      const added = this.#chains.addRow(record)
      this.#touched.push(added)
      this.#chains.indexes.linked(added, record, NONE)
      return NONE
    }
    const before = this.#chains.foundHead
    if (slab.has(before, LISTED)) slab.set(record, LISTED)
    if (slab.seq(before) === seq) this.#chains.push(row, record, slab.older(before))
    else {
      if (slab.has(before, DECODED)) this.decoded.delete(this.#decodedKey(before))
      this.#chains.push(row, record, before)
      this.#touched.push(row)
    }
    this.#chains.indexes.linked(row, record, before)
    return before
  }

  /** A version that its own transaction has replaced is seen by nobody. */
  #freeIfPending(record: Address, seq: CommitSeq): void {
    if (record !== NONE && this.#chains.slab.seq(record) === seq) this.#chains.free(record)
  }

  #decodedKey(record: Address): DecodedKey {
    const { slab } = this.#chains
    const page = slab.page(record)
    this.format.readKey(page, slab.dataStart(record), this.#view)
    const { key, integerKey } = this.layout
    const { starts, ends } = this.#view
    if (integerKey) return integerOf(page, starts[key[0]!]!, ends[key[0]!]!)
    return key.map(column => page.toString('utf8', starts[column], ends[column])).join('\0')
  }

  #diverged(problem: string): DivergedError {
    return new DivergedError(this.layout.name, problem)
  }

  /** Whether the transaction in progress has changed anything here. */
  isChanged(seq: CommitSeq): boolean {
    return this.#touched.length > 0 || this.#truncations.newest === seq
  }

  /** Makes the transaction's writes part of the table; `seq` becomes visible right after. */
  publish(seq: CommitSeq): void {
    if (this.#failed !== null) return
    this.residency?.publish(seq)
    this.#sizes.set(seq, this.#pendingSize)
    if (this.#truncations.newest === seq && this.#pendingSize === 0 && this.#readers.pins === 0) this.#empty()
    else this.#touched = this.#pruner.add(this.#touched)
  }

  /** After a TRUNCATE that nobody looks behind, everything goes at once. */
  #empty(): void {
    this.#touched.clear()
    this.#chains.clear()
    this.residency?.clear()
    this.#pruner.clear()
    this.#truncations.forget(this.#truncations.newest)
  }

  /** Takes back about `rows` rows of a transaction that was cut off; true while there are more. */
  abort(seq: CommitSeq, rows: number): boolean {
    if (this.#failed !== null) return false
    this.#popTouched(seq, rows)
    if (this.#touched.length > 0) return true
    this.#truncations.undo(seq)
    this.residency?.aborted()
    this.#pendingSize = this.#sizes.newest
    return false
  }

  #popTouched(seq: CommitSeq, rows: number): void {
    const { rows: ids, slab } = this.#chains
    for (let left = rows; left > 0; left--) {
      const row = this.#touched.pop()
      if (row < 0) return
      const head = ids.head(row)
      if (head !== NONE && slab.seq(head) === seq) this.#chains.pop(row)
      this.residency?.settle(row)
    }
  }

  /** A snapshot was released: what it held back may be pruned. */
  released(): void {
    this.residency?.released()
    this.#pruner.released()
  }

  /** Tidies up about `rows` rows; true while there is more to do now. */
  maintain(rows: number): boolean {
    return this.#failed === null && this.#pruner.work(rows)
  }

  /** Gives the table's memory back; every read of it gets this error from now on. */
  fail(error: CacheError): void {
    this.#failed = error
    this.observer?.failed(error)
    this.decoded.clear()
    this.#touched.clear()
    this.#pruner.clear()
    this.#chains.clear()
    this.residency?.clear()
  }
}
