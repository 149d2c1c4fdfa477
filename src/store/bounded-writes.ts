import type { TupleView } from '../change/change.js'
import { MemoryLimitError } from '../errors.js'
import type { Address, CommitSeq } from './address.js'
import type { RecordFormat } from './record.js'
import type { PackedRow } from './packed-row.js'
import type { Residency } from './residency.js'
import type { WriteObserver } from './table-layout.js'
import { type Telling, toldRow } from './told-row.js'

/** How a table writes, as far as its own changes go. */
export interface TableWriter {
  /** Writes a mark for this tuple's key: from this commit on nothing is known of it. @throws {MemoryLimitError} */
  mark(key: TupleView, order: Int32Array, seq: CommitSeq): void
  /** The new row, completed by its old tuple alone; null if that does not have its unchanged values. */
  complete(
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
  ): { readonly view: TupleView; readonly order: Int32Array } | null
  /** Writes the row as it is, whatever was there before. @throws {MemoryLimitError} */
  put(row: TupleView, order: Int32Array, seq: CommitSeq): Address
  /** Whoever follows the table's changes, or null. */
  observer(): WriteObserver | null
}

/**
 * Which changes of the stream a bounded table applies as any other does: those of keys that it knows. Each function says so, or deals with the
 * change itself: a key of which nothing is known stays unknown, and a known key becomes unknown where a change does not say all of its row.
 */
export class BoundedWrites {
  readonly #residency: Residency
  readonly #format: RecordFormat
  readonly #writer: TableWriter

  constructor(residency: Residency, format: RecordFormat, writer: TableWriter) {
    this.#residency = residency
    this.#format = format
    this.#writer = writer
  }

  admitsInsert(row: TupleView, order: Int32Array, seq: CommitSeq): boolean {
    if (this.#residency.covers(row, order)) return true
    // Before its insert there was no row, whoever asks.
    this.#mark(row, order, seq, 'absent')
    const { groups } = this.#residency
    const isWhole = this.#isWhole(row, order)
    if (isWhole && groups.wants(row, order)) return true
    if (!isWhole) groups.lose(row, order, seq, true)
    this.#writer.observer()?.told(null, toldRow(this.#format, this.#whole(row, order)))
    return false
  }

  admitsRemove(old: TupleView, oldIsFull: boolean, order: Int32Array, seq: CommitSeq): boolean {
    if (this.#residency.covers(old, order)) return true
    this.#mark(old, order, seq, oldIsFull ? 'row' : null)
    this.#writer.observer()?.told(toldRow(this.#format, this.#ofOld(old, oldIsFull, order)), null)
    return false
  }

  admitsUpdate(
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
    seq: CommitSeq,
  ): boolean {
    const residency = this.#residency
    if (residency.covers(old ?? row, order)) return true
    this.#mark(old ?? row, order, seq, oldIsFull ? 'row' : null)
    const moved = old !== null && this.#hasKey(row, order) && !this.#format.sameKey(old, order, row, order)
    const isKnownPlace = moved && residency.covers(row, order)
    if (isKnownPlace || residency.groups.wants(row, order))
      this.#arrive(old, oldIsFull, row, order, seq, isKnownPlace)
    else if (moved) this.#mark(row, order, seq, 'absent')
    this.#tellUpdate(old, oldIsFull, row, order)
    return false
  }

  #tellUpdate(old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array): void {
    const observer = this.#writer.observer()
    if (observer === null) return
    const before = this.#ofOld(old ?? row, oldIsFull, order)
    const told = old === null ? [] : [before]
    observer.told(toldRow(this.#format, before), toldRow(this.#format, this.#whole(row, order), ...told))
  }

  #whole(view: TupleView, order: Int32Array): Telling {
    return { view, order, count: this.#format.columns }
  }

  /** Of an old tuple that is not full only the key's columns may be read. */
  #ofOld(view: TupleView, isFull: boolean, order: Int32Array): Telling {
    return { view, order, count: isFull ? this.#format.columns : this.#format.keyColumns }
  }

  /** A row of which nothing is known comes to a key that is known, or into a group that is. */
  #arrive(
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
    seq: CommitSeq,
    isKnownPlace: boolean,
  ): void {
    const whole = this.#writer.complete(old, oldIsFull, row, order)
    if (whole !== null) {
      this.#writer.put(whole.view, whole.order, seq)
      return
    }
    this.#residency.groups.lose(row, order, seq, false)
    if (!isKnownPlace) return
    this.#residency.incomplete()
    this.#residency.counts.uncovered++
    this.#writer.mark(row, order, seq)
  }

  #isWhole(row: TupleView, order: Int32Array): boolean {
    return this.#format.measure(row, order, this.#format.columns) >= 0
  }

  #hasKey(row: TupleView, order: Int32Array): boolean {
    return this.#format.measure(row, order, this.#format.keyColumns) >= 0
  }

  /** `before` says what the tuple tells of the state before this change: that there was no row, all of the row, or nothing. */
  #mark(tuple: TupleView, order: Int32Array, seq: CommitSeq, before: 'absent' | 'row' | null): void {
    if (!this.#residency.wantsMark(seq)) return
    try {
      const isKept = before !== null && this.#keepBefore(tuple, order, seq, before)
      // What an unknown row was before may have been in any group.
      if (!isKept && before !== 'absent') this.#residency.groups.coverage.uncertain(seq)
      this.#writer.mark(tuple, order, seq)
    } catch (error) {
      if (!(error instanceof MemoryLimitError)) throw error
      this.#residency.marks.missing(seq)
    }
  }

  #keepBefore(tuple: TupleView, order: Int32Array, seq: CommitSeq, before: 'absent' | 'row'): boolean {
    const key = this.#pack(tuple, order, this.#format.keyColumns)
    const row = before === 'row' ? this.#pack(tuple, order, this.#format.columns) : null
    if (key === null || (before === 'row' && row === null)) return false
    return this.#residency.installer.keepBefore(row, key.bytes, seq)
  }

  #pack(tuple: TupleView, order: Int32Array, count: number): PackedRow | null {
    const length = this.#format.measure(tuple, order, count)
    if (length < 0) return null
    const bytes = Buffer.allocUnsafe(length)
    return { bytes, ascii: this.#format.write(tuple, order, count, bytes, 0) }
  }
}
