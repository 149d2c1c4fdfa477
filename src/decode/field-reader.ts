import { type Lsn, lsnFromHalves } from '../change/lsn.js'

/** PostgreSQL's timestamps count microseconds since 2000-01-01. */
const POSTGRES_EPOCH_MS = Date.UTC(2000, 0, 1)
const TWO_TO_32 = 4_294_967_296

/**
 * The fields of one message in PostgreSQL's binary notation, read one after the other where they lie. Who reads beyond the message's end gets
 * `fail`'s error.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-types.html
 */
export class FieldReader {
  /** The message is `bytes[start, end)`, and read up to `at`. */
  bytes: Uint8Array = new Uint8Array(0)
  start = 0
  at = 0
  end = 0
  readonly #fail: (problem: string) => Error

  constructor(fail: (problem: string) => Error) {
    this.#fail = fail
  }

  open(bytes: Uint8Array, start: number, end: number): void {
    this.bytes = bytes
    this.start = start
    this.at = start
    this.end = end
  }

  /** How many bytes are not read yet. */
  get left(): number {
    return this.end - this.at
  }

  uint8(): number {
    this.#need(1)
    return this.bytes[this.at++]!
  }

  uint16(): number {
    this.#need(2)
    const { bytes, at } = this
    this.at = at + 2
    return (bytes[at]! << 8) | bytes[at + 1]!
  }

  uint32(): number {
    this.#need(4)
    const { bytes, at } = this
    this.at = at + 4
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  }

  lsn(): Lsn {
    const high = this.uint32()
    return lsnFromHalves(high, this.uint32())
  }

  /** Milliseconds since 1970. */
  timestampMs(): number {
    // Signed 64 bits; a double holds microseconds exactly until the year 2285, and milliseconds are what is asked.
    const high = this.uint32() | 0
    const microseconds = high * TWO_TO_32 + this.uint32()
    return Math.floor(microseconds / 1000) + POSTGRES_EPOCH_MS
  }

  /** A string that ends with a zero byte. */
  string(): string {
    const { bytes, at: start } = this
    let at = start
    while (at < this.end && bytes[at] !== 0) at++
    if (at === this.end) throw this.short()
    this.at = at + 1
    return Buffer.from(bytes.buffer, bytes.byteOffset + start, at - start).toString('utf8')
  }

  skip(count: number): void {
    this.#need(count)
    this.at += count
  }

  expectEnd(): void {
    if (this.at !== this.end) throw this.#fail(`${this.left} bytes after the end of a message.`)
  }

  /** The error for what lies beyond the message's end. */
  short(): Error {
    return this.#fail('a payload that ends too early.')
  }

  #need(count: number): void {
    if (count > this.end - this.at) throw this.short()
  }
}
