import { NULL, TEXT, TupleView } from '../change/change.js'

// A value in a record: one byte that is its length up to INLINE_MAX, or says what follows; then PostgreSQL's text.
const INLINE_MAX = 250
const LENGTH_16 = 251
const LENGTH_32 = 252
const IS_NULL = 255

/** Values up to this length are copied byte by byte, which beats a call; it is also what makes a row count as ASCII. */
const SHORT_MAX = 64

/** The digits of the largest integer that a number holds exactly, and a sign. */
const INTEGER_DIGITS_MAX = 17

/** Where the values of one record at a time are put together. */
const packing = new TupleView()

/** The largest row that is kept: beyond it one value is no row of a cache. */
export const ROW_BYTES_MAX = 256 * 1024 * 1024

/**
 * How a table's rows lie in its records: the key's columns first, in the key's order, then the others. So the key of a record is its
 * first bytes, and two keys are equal exactly if these are, for one column or several, whatever the types.
 */
export class RecordFormat {
  readonly columns: number
  readonly keyColumns: number
  /** For each place in a record, the column's position in a SELECT. */
  readonly #column: Int32Array

  constructor(columns: number, key: readonly number[]) {
    this.columns = columns
    this.keyColumns = key.length
    const rest = Array.from({ length: columns }, (_, column) => column).filter(
      column => !key.includes(column),
    )
    this.#column = Int32Array.from([...key, ...rest])
  }

  /** The SELECT position of a place in a record. */
  column(place: number): number {
    return this.#column[place]!
  }

  /**
   * For each place in a record, the position in a tuple whose own order is given by `positionOf`: what `measure` and `write` go by.
   * Prepared once for each shape a relation takes.
   */
  order(positionOf: (column: number) => number): Int32Array {
    return this.#column.map(column => positionOf(column))
  }

  /** How many bytes the first `count` values in `order` take; -1 if one of them was not sent (unchanged TOAST). */
  measure(view: TupleView, order: Int32Array, count: number): number {
    let bytes = 0
    for (let i = 0; i < count; i++) {
      const at = order[i]!
      const kind = view.kinds[at]!
      if (kind === TEXT) {
        const length = view.ends[at]! - view.starts[at]!
        bytes += length + (length <= INLINE_MAX ? 1 : length <= 0xffff ? 3 : 5)
      } else if (kind === NULL) bytes++
      else return -1
    }
    return bytes
  }

  /** Writes the first `count` values in `order` to `target`; true if all of them are short and ASCII. Hot: once per change. */
  write(view: TupleView, order: Int32Array, count: number, target: Uint8Array, start: number): boolean {
    const source = view.bytes
    let to = start
    let seen = 0
    for (let i = 0; i < count; i++) {
      const at = order[i]!
      if (view.kinds[at] !== TEXT) {
        target[to++] = IS_NULL
        continue
      }
      let from = view.starts[at]!
      const end = view.ends[at]!
      const length = end - from
      if (length <= SHORT_MAX) {
        target[to++] = length
        while (from < end) {
          const byte = source[from++]!
          seen |= byte
          target[to++] = byte
        }
      } else {
        seen = 0x80
        to = writeLength(target, to, length)
        target.set(source.subarray(from, end), to)
        to += length
      }
    }
    return seen < 0x80
  }

  /** A record of these values, given by their places in it. Slow. */
  pack(values: readonly (Uint8Array | null)[]): Buffer {
    const view = packing
    view.bytes = Buffer.concat(values.filter(value => value !== null))
    view.count = values.length
    let at = 0
    for (const [place, value] of values.entries()) {
      view.kinds[place] = value === null ? NULL : TEXT
      view.starts[place] = at
      at += value?.length ?? 0
      view.ends[place] = at
    }
    const order = Int32Array.from({ length: values.length }, (_, place) => place)
    const packed = Buffer.allocUnsafe(this.measure(view, order, values.length))
    this.write(view, order, values.length, packed, 0)
    return packed
  }

  /** Points `view` at the values of the record that begins at `start`, in SELECT order. Hot: once per cold read. */
  read(bytes: Uint8Array, start: number, view: TupleView): void {
    this.#readSome(bytes, start, view, this.columns)
  }

  /** As `read`, for the key's columns only: what a tombstone holds. */
  readKey(bytes: Uint8Array, start: number, view: TupleView): void {
    this.#readSome(bytes, start, view, this.keyColumns)
  }

  #readSome(bytes: Uint8Array, start: number, view: TupleView, count: number): void {
    view.bytes = bytes
    view.count = this.columns
    let at = start
    for (let i = 0; i < count; i++) {
      const column = this.#column[i]!
      let length = bytes[at++]!
      if (length === IS_NULL) {
        view.kinds[column] = NULL
        continue
      }
      if (length === LENGTH_16) {
        length = bytes[at]! | (bytes[at + 1]! << 8)
        at += 2
      } else if (length === LENGTH_32) {
        length = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
        at += 4
      }
      view.kinds[column] = TEXT
      view.starts[column] = at
      at += length
      view.ends[column] = at
    }
  }

  /** Whether two tuples have the same key, byte for byte. */
  sameKey(a: TupleView, aOrder: Int32Array, b: TupleView, bOrder: Int32Array): boolean {
    for (let i = 0; i < this.keyColumns; i++) {
      const inA = aOrder[i]!
      const inB = bOrder[i]!
      let from = a.starts[inA]!
      let to = b.starts[inB]!
      const end = a.ends[inA]!
      if (a.kinds[inA] !== TEXT || end - from !== b.ends[inB]! - to) return false
      while (from < end) if (a.bytes[from++] !== b.bytes[to++]) return false
    }
    return true
  }

  /** Where the key of the record that begins at `start` ends. Key columns are never null. */
  keyEnd(bytes: Uint8Array, start: number): number {
    let at = start
    for (let i = 0; i < this.keyColumns; i++) at = skipValue(bytes, at)
    return at
  }

  /** Where the values of the record that begins at `start` end. */
  end(bytes: Uint8Array, start: number): number {
    let at = start
    for (let i = 0; i < this.columns; i++) at = skipValue(bytes, at)
    return at
  }
}

function writeLength(target: Uint8Array, at: number, length: number): number {
  if (length <= INLINE_MAX) {
    target[at] = length
    return at + 1
  }
  const wide = length > 0xffff
  target[at] = wide ? LENGTH_32 : LENGTH_16
  target[at + 1] = length
  target[at + 2] = length >>> 8
  if (!wide) return at + 3
  target[at + 3] = length >>> 16
  target[at + 4] = length >>> 24
  return at + 5
}

function skipValue(bytes: Uint8Array, at: number): number {
  const length = bytes[at]!
  if (length === IS_NULL) return at + 1
  if (length <= INLINE_MAX) return at + 1 + length
  if (length === LENGTH_16) return at + 3 + (bytes[at + 1]! | (bytes[at + 2]! << 8))
  return at + 5 + (bytes[at + 1]! | (bytes[at + 2]! << 8) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 24))
}

/** A key as a record would begin with it: grown as needed, used again for each look-up. */
export class KeyBuffer {
  bytes = Buffer.alloc(256)
  length = 0

  clear(): void {
    this.length = 0
  }

  /** Appends one key column's text. */
  append(text: string): void {
    const most = text.length * 3
    if (this.length + 5 + most > this.bytes.length) this.#grow(this.length + 5 + most)
    if (text.length <= SHORT_MAX && this.#appendAscii(text)) return
    const bytes = Buffer.byteLength(text)
    this.length = writeLength(this.bytes, this.length, bytes)
    this.length += this.bytes.write(text, this.length)
  }

  /** As `append` of the integer's decimal text. */
  appendInteger(value: number): void {
    if (this.length + 1 + INTEGER_DIGITS_MAX > this.bytes.length)
      this.#grow(this.length + 1 + INTEGER_DIGITS_MAX)
    const { bytes } = this
    let left = Math.abs(value)
    let digits = value < 0 ? 1 : 0
    for (let rest = left; digits === 0 || rest >= 1; rest = Math.floor(rest / 10)) digits++
    bytes[this.length] = digits
    this.length += 1 + digits
    let at = this.length
    do {
      const tens = Math.floor(left / 10)
      bytes[--at] = 0x30 + (left - tens * 10)
      left = tens
    } while (left > 0)
    if (value < 0) bytes[--at] = 0x2d
  }

  #appendAscii(text: string): boolean {
    const { bytes } = this
    let to = this.length
    bytes[to++] = text.length
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit >= 0x80) return false
      bytes[to++] = unit
    }
    this.length = to
    return true
  }

  #grow(bytes: number): void {
    const larger = Buffer.alloc(Math.max(bytes, this.bytes.length * 2))
    this.bytes.copy(larger, 0, 0, this.length)
    this.bytes = larger
  }
}
