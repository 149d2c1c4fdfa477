import { NULL, TEXT, type TupleView } from '../change/change.js'
import { DecodeError } from '../errors.js'

const TAB = 0x09
const NEWLINE = 0x0a
const BACKSLASH = 0x5c
const LETTER_N = 0x4e

/** What `\b \f \n \r \t \v` stand for; any other byte after a backslash stands for itself. */
const ESCAPES: Readonly<Record<number, number>> = { 98: 8, 102: 12, 110: 10, 114: 13, 116: 9, 118: 11 }

/** What precedes a row: the tag of CopyData, and a length in four bytes that counts itself and the row. */
const TAG_BYTES = 1
const HEADER_BYTES = 5

/**
 * Reads rows in COPY's text format, one in each CopyData message.
 *
 * @see https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
 */
export class CopyTextReader {
  readonly #columns: number
  #messages: Uint8Array = new Uint8Array(0)
  #at = 0
  #unescaped = Buffer.alloc(1024)

  constructor(columns: number) {
    this.#columns = columns
  }

  /** Takes the next whole messages, after `next` has said that the last ones are used up. */
  push(messages: Uint8Array): void {
    this.#messages = messages
    this.#at = 0
  }

  /**
   * Points `view` at the next row's values; false if there is none left.
   *
   * @throws {DecodeError} for a row that does not have as many columns as were asked for.
   */
  next(view: TupleView): boolean {
    const messages = this.#messages
    const at = this.#at
    if (at === messages.length) return false
    const after = at + TAG_BYTES + uint32(messages, at + TAG_BYTES)
    this.#at = after
    view.count = this.#columns
    const start = at + HEADER_BYTES
    const end = after - 1
    if (end < start || messages[end] !== NEWLINE) throw new DecodeError('COPY', 'a message is not one row.')
    if (!this.#readPlain(view, start, end)) this.#readEscaped(view, start, end)
    return true
  }

  /** Reads a row in which nothing is escaped but NULL; false if there is more to it. Hot: once per loaded row. */
  #readPlain(view: TupleView, start: number, end: number): boolean {
    const bytes = this.#messages
    view.bytes = bytes
    let column = 0
    let from = start
    for (let at = start; at <= end; at++) {
      const byte = bytes[at]!
      if (byte > NEWLINE && byte !== BACKSLASH) continue
      if (byte === BACKSLASH) {
        if (bytes[at + 1] !== LETTER_N) return false
      } else if (byte === TAB || byte === NEWLINE) {
        if (column === this.#columns || (byte === NEWLINE && at !== end)) throw this.#wrongCount()
        const isNull = at - from === 2 && bytes[from] === BACKSLASH
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
    const bytes = this.#messages
    const target = this.#unescaped
    view.bytes = target
    let column = 0
    let to = 0
    let at = start
    while (at <= end) {
      if (column === this.#columns) throw this.#wrongCount()
      view.starts[column] = to
      view.kinds[column] = TEXT
      if (bytes[at] === BACKSLASH && bytes[at + 1] === LETTER_N) {
        view.kinds[column] = NULL
        at += 2
      }
      while (at < end && bytes[at] !== TAB) {
        let byte = bytes[at++]!
        if (byte === BACKSLASH) {
          byte = bytes[at++]!
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

function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}
