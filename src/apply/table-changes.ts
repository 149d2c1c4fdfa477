import { NULL, TEXT, TupleView } from '../change/change.js'
import { hashBytes } from '../sql/hash-bytes.js'
import { type GroupValue, hasValue } from '../store/group-index.js'
import type { RecordFormat } from '../store/record.js'

/** What the changes of one transaction do to a table's rows, key by key, in their order. `key` and `row` are good during the call only. */
export interface ChangeReader {
  /** `row` is a whole record; all of its values are short and ASCII if `ascii`. */
  put(key: Buffer, row: Buffer, ascii: boolean): void
  /** As `put`, but the values at `missing` places of the record were not sent: they are those of the row under `base`, before this change. */
  putPartly(key: Buffer, base: Buffer, row: Buffer, missing: readonly number[]): void
  remove(key: Buffer): void
  truncate(): void
}

const PUT = 0
const PUT_ASCII = 1
const PUT_PARTLY = 2
const REMOVE = 3
const TRUNCATE = 4

/** Keys of which the log takes note at most, for one transaction and table. */
const KEYS_MAX = 65_536
const KEY_BYTES = 32
const FIRST_BYTES = 256
const SEED = 0x2545_f491

const NO_PLACES: readonly number[] = []

/** One row at a time is looked at. */
const view = new TupleView()

/**
 * One transaction's changes of one table, as copies of their bytes in one run: a byte for the kind, four for the length of each part, and the
 * parts. Too many of them are given up for the set of their keys' hashes, and that for knowing only that the table was changed.
 */
export class TableChanges {
  readonly #format: RecordFormat
  #run = Buffer.allocUnsafe(FIRST_BYTES)
  #length = 0
  #changes = 0
  #truncated = false
  /** Hashes of the keys of the changes before `#seenTo`, made when they are asked for. */
  readonly #seen = new Set<number>()
  #seenTo = 0
  /** Hashes of the changed keys; null as long as the changes themselves are here. */
  #keys: Set<number> | null = null
  #allKeys = false

  constructor(format: RecordFormat) {
    this.#format = format
  }

  /** Bytes that this takes, roughly. */
  get bytes(): number {
    return this.#keys === null ? this.#run.length : this.#keys.size * KEY_BYTES
  }

  /** How many changes can be replayed. */
  get changes(): number {
    return this.#changes
  }

  /** Whether the changes themselves are here. */
  get isWhole(): boolean {
    return this.#keys === null
  }

  /** Adds an inserted row (`old` null and nothing missing) or an updated one. Returns how many changes that makes. */
  put(old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array): number {
    const format = this.#format
    const before = this.#changes
    const hasKey = format.measure(row, order, format.keyColumns) >= 0
    const moved = old !== null && hasKey && !format.sameKey(old, order, row, order)
    if (this.#keys !== null) {
      this.#noteKey(hasKey ? row : old!, order)
      if (moved) this.#noteKey(old, order)
      return 0
    }
    const missing = this.#missing(old, oldIsFull, row, order)
    if (moved && missing.length === 0) this.remove(old, order)
    if (missing.length === 0 && format.measure(row, order, format.columns) >= 0) this.#putWhole(row, order)
    else this.#putPartly(old, oldIsFull, row, order, missing)
    // What is missing of a row that moved is taken from under its old key, so that goes last.
    if (moved && missing.length > 0) this.remove(old, order)
    return this.#changes - before
  }

  /** Places of the record that neither tuple has. */
  #missing(old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array): readonly number[] {
    if (this.#format.measure(row, order, this.#format.columns) >= 0) return NO_PLACES
    const places: number[] = []
    for (let place = 0; place < this.#format.columns; place++)
      if (this.#source(place, old, oldIsFull, row, order) === null) places.push(place)
    return places
  }

  #source(
    place: number,
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
  ): TupleView | null {
    const at = order[place]!
    if (isValue(row.kinds[at]!)) return row
    const oldColumns = oldIsFull ? this.#format.columns : this.#format.keyColumns
    return old !== null && place < oldColumns && isValue(old.kinds[at]!) ? old : null
  }

  #putWhole(row: TupleView, order: Int32Array): void {
    const { columns } = this.#format
    const bytes = this.#format.measure(row, order, columns)
    const at = this.#open(PUT, bytes)
    if (this.#format.write(row, order, columns, this.#run, at)) this.#run[at - 5] = PUT_ASCII
    this.#changes++
  }

  /** Values of both tuples in one record; NULL stands where one is missing. Rare. */
  #putPartly(
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
    order: Int32Array,
    missing: readonly number[],
  ): void {
    const format = this.#format
    const values: (Uint8Array | null)[] = []
    for (let place = 0; place < format.columns; place++) {
      const source = this.#source(place, old, oldIsFull, row, order)
      const at = order[place]!
      values.push(
        source === null || source.kinds[at] === NULL
          ? null
          : source.bytes.subarray(source.starts[at]!, source.ends[at]!),
      )
    }
    const record = format.pack(values)
    if (missing.length === 0) {
      this.#copy(record, this.#open(PUT, record.length))
    } else {
      const base = this.#keyBytes(old ?? row, order)
      this.#copy(base, this.#open(PUT_PARTLY, base.length))
      this.#copy(record, this.#part(record.length))
      const places = Buffer.from(Uint16Array.from(missing).buffer)
      this.#copy(places, this.#part(places.length))
    }
    this.#changes++
  }

  remove(old: TupleView, order: Int32Array): number {
    if (this.#keys !== null) {
      this.#noteKey(old, order)
      return 0
    }
    const bytes = this.#format.measure(old, order, this.#format.keyColumns)
    if (bytes < 0) return 0
    const at = this.#open(REMOVE, bytes)
    this.#format.write(old, order, this.#format.keyColumns, this.#run, at)
    this.#changes++
    return 1
  }

  truncate(): void {
    this.#truncated = true
    if (this.#keys === null) this.#open(TRUNCATE, 0)
  }

  #keyBytes(tuple: TupleView, order: Int32Array): Buffer {
    const { keyColumns } = this.#format
    const key = Buffer.allocUnsafe(Math.max(0, this.#format.measure(tuple, order, keyColumns)))
    this.#format.write(tuple, order, keyColumns, key, 0)
    return key
  }

  /** Begins a change whose first part has so many bytes. Returns where that part is to be written. */
  #open(kind: number, bytes: number): number {
    this.#reserve(5 + bytes)
    this.#run[this.#length++] = kind
    return this.#part(bytes)
  }

  /** The run may be another one once there is room, so it is looked up after that. */
  #copy(part: Buffer, at: number): void {
    part.copy(this.#run, at)
  }

  #part(bytes: number): number {
    this.#reserve(4 + bytes)
    this.#run.writeUInt32LE(bytes, this.#length)
    const at = this.#length + 4
    this.#length = at + bytes
    return at
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#run.length) return
    const wider = Buffer.allocUnsafe(Math.max(this.#length + bytes, this.#run.length * 2))
    this.#run.copy(wider, 0, 0, this.#length)
    this.#run = wider
  }

  #noteKey(tuple: TupleView, order: Int32Array): void {
    this.#note(this.#keyBytes(tuple, order))
  }

  #note(key: Uint8Array): void {
    if (this.#allKeys) return
    this.#keys!.add(hashBytes(key, 0, key.length, SEED))
    if (this.#keys!.size <= KEYS_MAX) return
    this.#allKeys = true
    this.#keys!.clear()
  }

  /** Keeps only which keys were changed. */
  degrade(): void {
    if (this.#keys !== null) {
      this.#allKeys = true
      this.#keys.clear()
      return
    }
    const keys = this.#seenKeys()
    this.#keys = keys
    this.#run = Buffer.alloc(0)
    this.#length = 0
    this.#changes = 0
    if (keys.size <= KEYS_MAX) return
    this.#allKeys = true
    keys.clear()
  }

  /** Whether this key was changed, or may have been. */
  touches(key: Uint8Array): boolean {
    if (this.#truncated || this.#allKeys) return true
    return (this.#keys ?? this.#seenKeys()).has(hashBytes(key, 0, key.length, SEED))
  }

  /** Whether a row was brought into this group, or may have been; so it is after a TRUNCATE. */
  enters(value: GroupValue): boolean {
    if (this.#truncated || !this.isWhole) return true
    let enters = false
    const look = (_: Buffer, row: Buffer): void => {
      this.#format.read(row, 0, view)
      enters ||= hasValue(value, view)
    }
    this.replay({
      put: look,
      putPartly: (key, _, row, missing) => {
        if (value.index.places.some(place => missing.includes(place))) enters = true
        else look(key, row)
      },
      remove: () => undefined,
      truncate: () => undefined,
    })
    return enters
  }

  /** Hashes of all changed keys, brought up to date. */
  #seenKeys(): Set<number> {
    const note = (key: Buffer): void => void this.#seen.add(hashBytes(key, 0, key.length, SEED))
    this.replay({ put: note, putPartly: note, remove: note, truncate: () => undefined }, this.#seenTo)
    this.#seenTo = this.#length
    return this.#seen
  }

  /** Hands over all changes in their order; there are none if they are not whole. */
  replay(reader: ChangeReader, from = 0): void {
    const run = this.#run
    const format = this.#format
    let at = from
    const part = (): Buffer => {
      const start = at + 4
      at = start + run.readUInt32LE(at)
      return run.subarray(start, at)
    }
    const keyOf = (record: Buffer): Buffer => record.subarray(0, format.keyEnd(record, 0))
    while (at < this.#length) {
      const kind = run[at++]!
      const first = part()
      if (kind === PUT || kind === PUT_ASCII) reader.put(keyOf(first), first, kind === PUT_ASCII)
      else if (kind === REMOVE) reader.remove(first)
      else if (kind === TRUNCATE) reader.truncate()
      else {
        const row = part()
        const places = Buffer.from(part())
        const missing = Array.from({ length: places.length / 2 }, (_, i) => places.readUInt16LE(2 * i))
        reader.putPartly(keyOf(row), first, row, missing)
      }
    }
  }
}

function isValue(kind: number): boolean {
  return kind === TEXT || kind === NULL
}
