import { NULL, TEXT, type TupleView } from '../change/change.js'
import { DecodeError } from '../errors.js'

const TAB = 0x09
const NEWLINE = 0x0a
const BACKSLASH = 0x5c
const LETTER_N = 0x4e

/** What `\b \f \n \r \t \v` stand for; any other byte after a backslash stands for itself. */
const ESCAPES: Readonly<Record<number, number>> = { 98: 8, 102: 12, 110: 10, 114: 13, 116: 9, 118: 11 }

/**
 * Reads COPY's text format as it arrives, in chunks that end anywhere.
 *
 * @see https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
 */
export class CopyTextReader {
  readonly #columns: number
  /** The beginning of a row whose end has not arrived, in the chunks it came in: a large row is put together once. */
  #rest: Buffer[] = []
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  #unescaped = Buffer.alloc(1024)

  constructor(columns: number) {
    this.#columns = columns
  }

  /** Takes the next chunk, after `next` has said that the last one is used up. */
  push(chunk: Uint8Array): void {
    const bytes = asBuffer(chunk)
    this.#at = 0
    if (this.#rest.length === 0) this.#chunk = bytes
    else if (bytes.includes(NEWLINE)) {
      this.#chunk = Buffer.concat([...this.#rest, bytes])
      this.#rest = []
    } else {
      this.#rest.push(bytes)
      this.#chunk = bytes.subarray(0, 0)
    }
  }

  /**
   * Points `view` at the next row's values; false if the chunk holds no further whole row.
   *
   * @throws {DecodeError} for a row that does not have as many columns as were asked for.
   */
  next(view: TupleView): boolean {
    const start = this.#at
    const end = this.#chunk.indexOf(NEWLINE, start)
    if (end < 0) {
      if (start < this.#chunk.length) this.#rest.push(this.#chunk.subarray(start))
      this.#at = this.#chunk.length
      return false
    }
    this.#at = end + 1
    view.count = this.#columns
    if (!this.#readPlain(view, start, end)) this.#readEscaped(view, start, end)
    return true
  }

  /** Whether the last chunk ended with the end of a row, as the whole answer must. */
  get complete(): boolean {
    return this.#rest.length === 0
  }

  /** Reads a row in which nothing is escaped but NULL; false if there is more to it. Hot: once per loaded row. */
  #readPlain(view: TupleView, start: number, end: number): boolean {
    const chunk = this.#chunk
    view.bytes = chunk
    let column = 0
    let from = start
    for (let at = start; at <= end; at++) {
      const byte = chunk[at]!
      if (byte !== TAB && byte !== NEWLINE) {
        if (byte !== BACKSLASH) continue
        if (chunk[at + 1] !== LETTER_N) return false
      } else {
        if (column === this.#columns) throw this.#wrongCount()
        const isNull = at - from === 2 && chunk[from] === BACKSLASH
        view.kinds[column] = isNull ? NULL : TEXT
        view.starts[column] = from
        view.ends[column] = at
        column++
        from = at + 1
      }
    }
    if (column !== this.#columns) throw this.#wrongCount()
    return true
  }

  #readEscaped(view: TupleView, start: number, end: number): void {
    if (this.#unescaped.length < end - start) this.#unescaped = Buffer.alloc((end - start) * 2)
    const chunk = this.#chunk
    const target = this.#unescaped
    view.bytes = target
    let column = 0
    let to = 0
    let at = start
    while (at <= end) {
      if (column === this.#columns) throw this.#wrongCount()
      view.starts[column] = to
      view.kinds[column] = TEXT
      if (chunk[at] === BACKSLASH && chunk[at + 1] === LETTER_N) {
        view.kinds[column] = NULL
        at += 2
      }
      while (at < end && chunk[at] !== TAB) {
        let byte = chunk[at++]!
        if (byte === BACKSLASH) {
          byte = chunk[at++]!
          byte = ESCAPES[byte] ?? byte
        }
        target[to++] = byte
      }
      view.ends[column] = to
      column++
      at++
    }
    if (column !== this.#columns) throw this.#wrongCount()
  }

  #wrongCount(): DecodeError {
    return new DecodeError('COPY', `a row does not have the ${this.#columns} columns that were asked for.`)
  }
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
}
