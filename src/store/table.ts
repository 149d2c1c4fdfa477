import type { TupleView } from '../change/change.js'
import { type CacheError, DivergedError } from '../errors.js'
import { type Address, type CommitSeq, NONE } from './address.js'
import { BoundedWrites } from './bounded-writes.js'
import { IdList } from './id-list.js'
import { KeyFinder } from './key-finder.js'
import type { MemoryAccount } from './memory.js'
import { Pruner } from './pruner.js'
import type { Readers } from './readers.js'
import type { Bounds } from './recency.js'
import { Residency } from './residency.js'
import { LISTED, TOMBSTONE, UNKNOWN } from './slab.js'
import type { TableLayout, TouchObserver, WriteObserver } from './table-layout.js'
import { TableRows } from './table-rows.js'
import { TupleWriter } from './tuple-writer.js'

export type { DecodedKey, TableLayout, TouchObserver, WriteObserver } from './table-layout.js'

/** One table in memory, written by one writer under a sequence number that no reader sees until it is published. */
export class TableStore extends TableRows {
  readonly residency: Residency | null
  /** Set while somebody follows the table's changes. */
  observer: WriteObserver | null = null
  /** Set while somebody compares the table with PostgreSQL. */
  touches: TouchObserver | null = null
  readonly #bounded: BoundedWrites | null
  readonly #keys: KeyFinder
  readonly #pruner: Pruner
  readonly #writer: TupleWriter
  readonly #selectOrder: Int32Array
  /** Rows that the transaction in progress has written, once each. */
  #touched = new IdList()
  #pendingSize = 0
  #failed: CacheError | null = null

  constructor(layout: TableLayout, memory: MemoryAccount, readers: Readers, hashSeed: number) {
    super(layout, memory, readers, hashSeed)
    this.#keys = new KeyFinder(this.format, this.chains)
    this.#writer = new TupleWriter(layout.name, this.format, this.chains, this.#keys, memory)
    this.residency = layout.bounds === undefined ? null : this.#makeResidency(layout.bounds)
    this.#bounded = this.residency === null ? null : this.#makeBounded(this.residency)
    const { residency } = this
    this.#pruner = new Pruner(
      this.chains,
      readers,
      this.truncations,
      residency === null ? null : row => residency.settle(row),
    )
    this.#selectOrder = this.format.order(column => column)
  }

  #makeResidency(bounds: Bounds): Residency {
    const chains = this.chains
    const residency = new Residency(
      bounds,
      {
        name: this.layout.name,
        chains,
        keys: this.#keys,
        format: this.format,
        readers: this.readers,
        truncations: this.truncations,
      },
      {
        isDecoded: head => this.decodedRows.has(head),
        dropDecoded: head => this.decodedRows.drop(head),
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

  /** Why the table can't be read, or null. */
  get failed(): CacheError | null {
    return this.#failed
  }

  /** Whether the transaction in progress finds no row here, so that a deletion changes nothing. Of a bounded table that is never said. */
  get isEmpty(): boolean {
    return this.residency === null && this.#pendingSize === 0
  }

  /**
   * Adds a row of the first load, whose values are in SELECT order. The same row may come twice: a part of a load that broke off is done again.
   *
   * @throws {MemoryLimitError}
   */
  load(values: TupleView, seq: CommitSeq): void {
    const record = this.#writer.write(values, this.#selectOrder, seq)
    const row = this.chains.findKeyOf(record)
    if (row < 0) {
      this.chains.indexes.linked(this.chains.addRow(record), record, NONE)
      this.#pendingSize++
    } else {
      const before = this.chains.foundHead
      this.chains.push(row, record, NONE)
      this.chains.indexes.linked(row, record, before)
      this.chains.free(before)
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
    if (before !== NONE && this.isAlive(before, seq))
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
    if (before === NONE || !this.isAlive(before, seq))
      throw this.#diverged('a row was updated that is not there.')
    this.observer?.wrote(before, record)
    this.#freeIfPending(before, seq)
  }

  /** A changed key is the end of one row and the beginning of another. */
  #moveKey(old: TupleView, oldOrder: Int32Array, row: TupleView, order: Int32Array, seq: CommitSeq): void {
    const tombstone = this.#writer.writeKey(old, oldOrder, seq, TOMBSTONE)
    const before = this.#link(tombstone, seq)
    if (before === NONE || !this.isAlive(before, seq))
      throw this.#diverged('a row got a new key that is not there.')
    const record = this.#writer.write(row, order, seq)
    const replaced = this.#link(record, seq)
    if (replaced !== NONE && this.isAlive(replaced, seq))
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
    if (before === NONE || !this.isAlive(before, seq))
      throw this.#diverged('a row was deleted that is not there.')
    this.#pendingSize--
    this.observer?.wrote(before, NONE)
    this.#freeIfPending(before, seq)
  }

  /** Whether the transaction in progress finds a row with this tuple's key. */
  holds(tuple: TupleView, order: Int32Array): boolean {
    if (this.#keys.find(tuple, order) < 0) return false
    const { foundHead } = this.chains
    return foundHead !== NONE && this.isAlive(foundHead, Number.POSITIVE_INFINITY)
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
    this.truncations.add(seq)
    this.residency?.truncate(seq)
    this.#pendingSize = 0
    this.decodedRows.clear()
  }

  /** Makes the record its row's newest version. Returns the one before, or NONE for a new key. */
  #link(record: Address, seq: CommitSeq): Address {
    const { slab } = this.chains
    const row = this.chains.findKeyOf(record)
    if (row < 0) {
      const added = this.chains.addRow(record)
      this.#touched.push(added)
      this.chains.indexes.linked(added, record, NONE)
      return NONE
    }
    const before = this.chains.foundHead
    if (slab.has(before, LISTED)) slab.set(record, LISTED)
    if (slab.seq(before) === seq) this.chains.push(row, record, slab.older(before))
    else {
      this.decodedRows.drop(before)
      this.chains.push(row, record, before)
      this.#touched.push(row)
    }
    this.chains.indexes.linked(row, record, before)
    return before
  }

  /** A version that its own transaction has replaced is seen by nobody. */
  #freeIfPending(record: Address, seq: CommitSeq): void {
    if (record !== NONE && this.chains.slab.seq(record) === seq) this.chains.free(record)
  }

  #diverged(problem: string): DivergedError {
    return new DivergedError(this.layout.name, problem)
  }

  /** Whether the transaction in progress has changed anything here. */
  isChanged(seq: CommitSeq): boolean {
    return this.#touched.length > 0 || this.truncations.newest === seq
  }

  /** Makes the transaction's writes part of the table; `seq` becomes visible right after. */
  publish(seq: CommitSeq): void {
    if (this.#failed !== null) return
    this.residency?.publish(seq)
    this.sizes.set(seq, this.#pendingSize)
    if (this.truncations.newest === seq && this.#pendingSize === 0 && this.readers.pins === 0) this.#empty()
    else this.#touched = this.#pruner.add(this.#touched)
  }

  /** After a TRUNCATE that nobody looks behind, everything goes at once. */
  #empty(): void {
    this.#touched.clear()
    this.chains.clear()
    this.residency?.clear()
    this.#pruner.clear()
    this.truncations.forget(this.truncations.newest)
  }

  /** Takes back about `rows` rows of a transaction that was cut off; true while there are more. */
  abort(seq: CommitSeq, rows: number): boolean {
    if (this.#failed !== null) return false
    this.#popTouched(seq, rows)
    if (this.#touched.length > 0) return true
    this.truncations.undo(seq)
    this.residency?.aborted()
    this.#pendingSize = this.sizes.newest
    return false
  }

  #popTouched(seq: CommitSeq, rows: number): void {
    const { rows: ids, slab } = this.chains
    for (let left = rows; left > 0; left--) {
      const row = this.#touched.pop()
      if (row < 0) return
      const head = ids.head(row)
      if (head !== NONE && slab.seq(head) === seq) this.chains.pop(row)
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
    this.decodedRows.clear()
    this.#touched.clear()
    this.#pruner.clear()
    this.chains.clear()
    this.residency?.clear()
  }
}
