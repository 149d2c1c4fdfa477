import type protobuf from 'protobufjs'
import { assert } from '../errors.js'

// Wire types.
const VARINT = 0
const FIXED64 = 1
const DELIMITED = 2
const FIXED32 = 5

/**
 * Protobuf's wire format, read field by field where it lies with protobufjs's reader: no object is made of a message.
 *
 * `field` and then what reads its value; who reads a value of another wire type than it came with gets `fail`'s error. A message that ends too
 * early gives that, or one of protobufjs's own.
 */
export class ProtobufReader {
  readonly #reader: protobuf.Reader
  readonly #fail: (problem: string) => Error
  /** Of the field read last. */
  #wire = -1

  constructor(Reader: typeof protobuf.Reader, fail: (problem: string) => Error) {
    this.#reader = new Reader(new Uint8Array(0))
    this.#fail = fail
  }

  /** Begins with the message `bytes[start, end)`. */
  open(bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader
    reader.buf = bytes
    reader.pos = start
    reader.len = end
  }

  get bytes(): Uint8Array {
    return this.#reader.buf
  }

  get position(): number {
    return this.#reader.pos
  }

  /** Where the message ends. */
  get end(): number {
    return this.#reader.len
  }

  /** Goes on at `position`, which is not behind the message's end. */
  moveTo(position: number): void {
    this.#reader.pos = position
  }

  /** Reads the next field's number. */
  field(): number {
    const tag = this.#reader.uint32()
    this.#wire = tag & 7
    return tag >>> 3
  }

  /** Passes over the field's value. */
  skip(): void {
    this.#reader.skipType(this.#wire)
  }

  uint32(): number {
    this.#expect(VARINT)
    return this.#reader.uint32()
  }

  int32(): number {
    this.#expect(VARINT)
    return this.#reader.int32()
  }

  int64(): bigint {
    this.#expect(VARINT)
    const value = this.#reader.int64()
    assert(typeof value !== 'number', 'protobufjs has its package for 64-bit integers')
    return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0)
  }

  bool(): boolean {
    this.#expect(VARINT)
    return this.#reader.bool()
  }

  float(): number {
    this.#expect(FIXED32)
    return this.#reader.float()
  }

  double(): number {
    this.#expect(FIXED64)
    return this.#reader.double()
  }

  /** Reads the length of a value that has one. Returns where it ends, which is not behind `end`; it begins at `position`. */
  delimited(end: number): number {
    this.#expect(DELIMITED)
    const length = this.#reader.uint32()
    if (length > end - this.#reader.pos) throw this.#fail('a message that is cut off.')
    return this.#reader.pos + length
  }

  /** The bytes up to `end`, as UTF-8. */
  utf8(end: number): string {
    return this.#upTo(end).toString('utf8')
  }

  /** The bytes up to `end`, as hexadecimal digits. */
  hex(end: number): string {
    return this.#upTo(end).toString('hex')
  }

  #upTo(end: number): Buffer {
    const { buf, pos } = this.#reader
    this.#reader.pos = end
    return Buffer.from(buf.buffer, buf.byteOffset + pos, end - pos)
  }

  #expect(wire: number): void {
    if (this.#wire !== wire) throw this.#fail('a field of another kind than was described.')
  }
}
