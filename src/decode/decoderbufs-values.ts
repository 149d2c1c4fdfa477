import { TEXT, type TupleView, UNCHANGED } from '../change/change.js'
import type { Description } from './decoderbufs-description.js'
import type { ProtobufReader } from './protobuf-reader.js'
import { dateText, float4Text, float8Text, timestampText, timeText } from './value-text.js'

// The types whose values arrive in binary (pg_type.oid).
const BOOL = 16
const BYTEA = 17
const INT8 = 20
const INT2 = 21
const INT4 = 23
const OID = 26
const POINT = 600
const FLOAT4 = 700
const FLOAT8 = 701
const DATE = 1082
const TIME = 1083
const TIMESTAMP = 1114
const TIMESTAMPTZ = 1184

// What the plugin's sum makes of a date's infinities: it counts from 1970 and not from 2000, in 32 bits.
const DATE_INFINITY = -2_147_472_692
const DATE_MINUS_INFINITY = -2_147_472_691
const TIMESTAMP_INFINITY = 2n ** 63n - 1n
const TIMESTAMP_MINUS_INFINITY = -(2n ** 63n)
/** 4714-11-24 BC, PostgreSQL's first: what is less has wrapped around. */
const TIMESTAMP_MIN = -210_866_803_200_000_000n

const LETTER_F = 0x66
const LETTER_T = 0x74

const DAY_MICROS = 86_400_000_000n

/** Types whose values don't travel as text, and bytea, which travels as it is. */
const BINARY: ReadonlySet<number> = new Set([
  BOOL,
  BYTEA,
  INT8,
  INT2,
  INT4,
  OID,
  POINT,
  FLOAT4,
  FLOAT8,
  DATE,
  TIME,
  TIMESTAMP,
  TIMESTAMPTZ,
])

/** More text than this is let go with the payload that needed it. */
const KEPT_BYTES_MAX = 1 << 20

/** The values of one message as PostgreSQL's texts: most arrive as numbers, or as bytes that a tuple can't point at where they lie. */
export class ValueTexts {
  readonly #is: Pick<Description, 'datum' | 'point'>
  readonly #reader: ProtobufReader
  readonly #fail: (problem: string) => Error
  #bytes = Buffer.allocUnsafeSlow(8192)
  #kept = this.#bytes
  #end = 0

  constructor(
    description: Pick<Description, 'datum' | 'point'>,
    reader: ProtobufReader,
    fail: (problem: string) => Error,
  ) {
    this.#is = description
    this.#reader = reader
    this.#fail = fail
  }

  /** All of the message's texts; another buffer once a longer one was needed. */
  get bytes(): Uint8Array {
    return this.#bytes
  }

  /** A message begins. */
  clear(): void {
    this.#end = 0
  }

  /** Lets go of the message's texts, if they are large. */
  release(): void {
    this.#bytes = this.#kept
  }

  /** Reads the value of `field`, which ends before `end`, into `view`. */
  read(view: TupleView, column: number, typeOid: number, field: number, end: number): void {
    const reader = this.#reader
    const { datum } = this.#is
    view.kinds[column] = TEXT
    view.starts[column] = this.#end
    switch (field) {
      case datum.datumMissing:
        reader.bool()
        view.kinds[column] = UNCHANGED
        return
      case datum.datumBool:
        if (typeOid !== BOOL) throw this.#unknownForm(typeOid)
        this.#room(1)
        this.#bytes[this.#end++] = reader.bool() ? LETTER_T : LETTER_F
        break
      case datum.datumInt32:
        this.#ascii(this.#int32Text(typeOid, reader.int32()))
        break
      case datum.datumInt64:
        this.#ascii(this.#int64Text(typeOid, reader.int64()))
        break
      case datum.datumFloat:
        if (typeOid !== FLOAT4) throw this.#unknownForm(typeOid)
        this.#ascii(float4Text(reader.float()))
        break
      case datum.datumDouble:
        if (typeOid !== FLOAT8) throw this.#unknownForm(typeOid)
        this.#ascii(float8Text(reader.double()))
        break
      case datum.datumPoint:
        if (typeOid !== POINT) throw this.#unknownForm(typeOid)
        this.#ascii(this.#pointText(reader.delimited(end)))
        break
      case datum.datumString:
      case datum.datumBytes:
        if (BINARY.has(typeOid) !== (typeOid === BYTEA)) throw this.#unknownForm(typeOid)
        if (typeOid === BYTEA) this.#hex(reader.delimited(end))
        else this.#copy(reader.delimited(end))
        break
      default:
        throw this.#fail('a value of an unknown kind.')
    }
    view.ends[column] = this.#end
  }

  #int32Text(typeOid: number, value: number): string {
    if (typeOid === INT2 || typeOid === INT4) return String(value)
    if (typeOid !== DATE) throw this.#unknownForm(typeOid)
    if (value === DATE_INFINITY) return 'infinity'
    return value === DATE_MINUS_INFINITY ? '-infinity' : dateText(value)
  }

  #int64Text(typeOid: number, value: bigint): string {
    switch (typeOid) {
      case INT8:
      case OID:
        return String(value)
      case TIME:
        if (value < 0n || value > DAY_MICROS) throw this.#fail('a time of day that is none.')
        return timeText(value)
      case TIMESTAMP:
        return this.#timestampText(value, '')
      case TIMESTAMPTZ:
        // Refused at the start for sessions in another zone.
        return this.#timestampText(value, '+00')
      default:
        throw this.#unknownForm(typeOid)
    }
  }

  #timestampText(micros: bigint, zone: string): string {
    if (micros === TIMESTAMP_INFINITY) return 'infinity'
    if (micros === TIMESTAMP_MINUS_INFINITY) return '-infinity'
    return timestampText(micros < TIMESTAMP_MIN ? micros + 2n ** 64n : micros, zone)
  }

  #pointText(end: number): string {
    const reader = this.#reader
    const { point } = this.#is
    let x: number | undefined
    let y: number | undefined
    while (reader.position < end) {
      const field = reader.field()
      if (field === point.x) x = reader.double()
      else if (field === point.y) y = reader.double()
      else throw this.#fail('a point with more than x and y.')
    }
    if (reader.position !== end || x === undefined || y === undefined)
      throw this.#fail('a point without x or y.')
    return `(${float8Text(x)},${float8Text(y)})`
  }

  #ascii(text: string): void {
    this.#room(text.length)
    this.#end += this.#bytes.write(text, this.#end, 'latin1')
  }

  #copy(end: number): void {
    const { bytes, position } = this.#reader
    this.#room(end - position)
    this.#bytes.set(bytes.subarray(position, end), this.#end)
    this.#end += end - position
    this.#reader.moveTo(end)
  }

  #hex(end: number): void {
    this.#ascii(`\\x${this.#reader.hex(end)}`)
  }

  /** Makes room for `length` more bytes of text. */
  #room(length: number): void {
    const needed = this.#end + length
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(larger, 0, 0, this.#end)
    this.#bytes = larger
    if (larger.length <= KEPT_BYTES_MAX) this.#kept = larger
  }

  #unknownForm(typeOid: number): Error {
    return this.#fail(
      `a value of type ${typeOid} in a form that this plugin's releases since 2.0 don't have.`,
    )
  }
}
