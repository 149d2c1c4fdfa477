import { TupleView } from '../change/change.js'
import { DivergedError } from '../errors.js'
import { type Address, type CommitSeq, NONE } from './address.js'
import type { Chains } from './chains.js'
import type { KeyFinder } from './key-finder.js'
import type { MemoryAccount } from './memory.js'
import { type RecordFormat, ROW_BYTES_MAX } from './record.js'
import { ASCII, TOMBSTONE } from './slab.js'
import { mergeUnchanged } from './unchanged.js'

/** Writes a table's tuples as records that are no version of a row yet. */
export class TupleWriter {
  /** What `complete` has made, with its values by their places in a record. */
  readonly merged = new TupleView()
  readonly mergedOrder: Int32Array
  readonly #table: string
  readonly #format: RecordFormat
  readonly #chains: Chains
  readonly #keys: KeyFinder
  readonly #memory: MemoryAccount
  readonly #base = new TupleView()

  constructor(table: string, format: RecordFormat, chains: Chains, keys: KeyFinder, memory: MemoryAccount) {
    this.#table = table
    this.#keys = keys
    this.#format = format
    this.#chains = chains
    this.#memory = memory
    this.mergedOrder = Int32Array.from({ length: format.columns }, (_, place) => place)
  }

  /** A record of all values. @throws {DivergedError} if one was not sent. @throws {MemoryLimitError} */
  write(row: TupleView, order: Int32Array, seq: CommitSeq): Address {
    const { columns } = this.#format
    const bytes = this.#format.measure(row, order, columns)
    if (bytes < 0) throw new DivergedError(this.#table, 'a row came with a value that was not sent.')
    if (bytes > ROW_BYTES_MAX) throw this.#memory.full(ROW_BYTES_MAX)
    const { slab } = this.#chains
    const record = slab.allocate(bytes, 0, seq, 0)
    const ascii = this.#format.write(row, order, columns, slab.page(record), slab.dataStart(record))
    if (ascii) slab.set(record, ASCII)
    return record
  }

  /** A record of the key only. Throws as `write` does. */
  writeKey(old: TupleView, order: Int32Array, seq: CommitSeq, flags: number): Address {
    const { keyColumns } = this.#format
    const bytes = this.#format.measure(old, order, keyColumns)
    if (bytes < 0) throw new DivergedError(this.#table, 'an old key came with a value that was not sent.')
    const { slab } = this.#chains
    const record = slab.allocate(bytes, 0, seq, flags)
    this.#format.write(old, order, keyColumns, slab.page(record), slab.dataStart(record))
    return record
  }

  /** Leaves in `merged` the new row with its unchanged TOAST values, from the old tuple; false if they are not in it. */
  completeFrom(old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array): boolean {
    return this.#merge(old, oldIsFull, row, order, null)
  }

  /** The same, from the row in memory where the old tuple has them not. @throws {DivergedError} */
  complete(old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array): void {
    const { slab } = this.#chains
    const found = this.#keys.find(old ?? row, order)
    const head = found < 0 ? NONE : this.#chains.foundHead
    const base = head === NONE || slab.has(head, TOMBSTONE) ? null : this.#base
    if (base !== null) this.#format.read(slab.page(head), slab.dataStart(head), base)
    if (!this.#merge(old, oldIsFull, row, order, base))
      throw new DivergedError(this.#table, 'an unchanged value of an updated row is not there.')
  }

  #merge(
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
    base: TupleView | null,
  ): boolean {
    const oldColumns = old === null ? 0 : oldIsFull ? this.#format.columns : this.#format.keyColumns
    return mergeUnchanged(this.#format, row, order, { old, oldColumns, base }, this.merged)
  }
}
