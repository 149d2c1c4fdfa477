import { readFile } from 'node:fs/promises'
import type protobuf from 'protobufjs'
import { type ChangeSink, NOT_SENT, NULL, TEXT, TupleView, UNCHANGED } from '../change/change.js'
import type { DecoderLimits } from '../change/limits.js'
import { lsnFromHalves } from '../change/lsn.js'
import { assert, DecodeError } from '../errors.js'
import { type CataloguedRelation, CataloguedRelations } from './catalogued.js'
import type { Decoder, DecoderContext, DecoderFactory } from './decoder.js'
import { dateText, float4Text, float8Text, timestampText, timeText } from './value-text.js'

export const decoderbufsLimits: DecoderLimits = {
  decoder: 'decoderbufs',
  truncate: false,
  messages: false,
  generatedStored: true,
  publications: false,
  convertsEncoding: false,
  lostTypes: [
    { oids: [790], why: 'it without what lc_monetary adds', mendedBy: null },
    { oids: [1266], why: 'it without its zone', mendedBy: null },
    {
      oids: [1184],
      why: 'the instant alone, and only in UTC is the text of every one known',
      mendedBy: 'utc',
    },
  ],
  textNumbersOption: null,
}

// The types whose values arrive in binary (pg_type.oid).
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

const QUOTE = 0x22
const LETTER_F = 0x66
const LETTER_T = 0x74

/** Wire types. */
const VARINT = 0
const FIXED64 = 1
const DELIMITED = 2
const FIXED32 = 5

const DAY_MICROS = 86_400_000_000n

/** Types whose values don't travel as text, and bytea, which travels as it is. */
const BINARY: ReadonlySet<number> = new Set([
  16,
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

/** As many names are remembered, of tables that are not wanted too. */
const NAMES_MAX = 65_536
/** More text than this is let go with the payload that needed it. */
const KEPT_BYTES_MAX = 1 << 20

/** A message's field numbers, by name. */
type Fields<Name extends string> = Readonly<Record<Name, number>>

/** What proto/decoderbufs.proto says. */
interface Description {
  readonly row: Fields<'transactionId' | 'commitTime' | 'table' | 'op' | 'newTuple' | 'oldTuple'>
  readonly datum: Fields<
    | 'columnName'
    | 'columnType'
    | 'datumInt32'
    | 'datumInt64'
    | 'datumFloat'
    | 'datumDouble'
    | 'datumBool'
    | 'datumString'
    | 'datumBytes'
    | 'datumPoint'
    | 'datumMissing'
  >
  readonly point: Fields<'x' | 'y'>
  readonly op: Fields<'INSERT' | 'UPDATE' | 'DELETE' | 'BEGIN' | 'COMMIT'>
}

/** Loads `protobufjs` and the description of the messages. Only its reader is used, which makes no code at run time. */
export async function loadDecoderbufs(): Promise<DecoderFactory> {
  const file = new URL('../../proto/decoderbufs.proto', import.meta.url)
  const [{ default: library }, text] = await Promise.all([import('protobufjs'), readFile(file, 'utf8')])
  const { root } = library.parse(text)
  const fields = (name: string): Record<string, number> =>
    Object.fromEntries(
      root.lookupType(`walcache.decoderbufs.${name}`).fieldsArray.map(({ name: field, id }) => [field, id]),
    )
  const description = {
    row: fields('RowMessage'),
    datum: fields('DatumMessage'),
    point: fields('Point'),
    op: root.lookupEnum('walcache.decoderbufs.Op').values,
  } as unknown as Description
  return context => new DecoderbufsDecoder(context, description, library.Reader)
}

/**
 * Debezium's decoderbufs: a protobuf message per change, without positions.
 *
 * @see https://github.com/debezium/postgres-decoderbufs
 */
class DecoderbufsDecoder<B> implements Decoder<B> {
  readonly plugin = 'decoderbufs'
  readonly #is: Description
  readonly #reader: protobuf.Reader
  readonly #relations: CataloguedRelations<B>
  readonly #new = new TupleView()
  readonly #old = new TupleView()
  /** The tables named so far, as the plugin spells them; undefined for one that is not wanted. */
  readonly #named = new Map<string, CataloguedRelation<B> | undefined>()

  /** The values' texts: tuples point into it once the message is read. */
  #text = Buffer.allocUnsafeSlow(8192)
  #kept = this.#text
  #textEnd = 0

  // The message being read.
  #lsnHigh = 0
  #lsnLow = 0
  #of: CataloguedRelation<B> | undefined
  #isNamed = false
  #op = -1
  #xid = -1
  #commitTimeMs = 0
  #hasRow = false
  #hasOld = false

  constructor(context: DecoderContext, description: Description, Reader: typeof protobuf.Reader) {
    this.#relations = new CataloguedRelations(context.relations)
    this.#is = description
    this.#reader = new Reader(this.#text)
  }

  startOptions(): string {
    // It has no other, and the parentheses must not be empty.
    return `"debug-mode" 'false'`
  }

  reset(): void {
    this.#relations.reset()
    this.#named.clear()
  }

  // Hot: once per change.
  decode(
    lsnHigh: number,
    lsnLow: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    sink: ChangeSink<B>,
  ): void {
    this.#lsnHigh = lsnHigh
    this.#lsnLow = lsnLow
    const reader = this.#reader
    reader.buf = bytes
    reader.pos = start
    reader.len = end
    try {
      this.#read()
      this.#tell(sink)
    } finally {
      this.#text = this.#kept
    }
  }

  #read(): void {
    try {
      this.#message()
    } catch (error) {
      if (error instanceof DecodeError) throw error
      // The reader's own errors tell of a message that ends too early.
      throw this.#malformed('a message that is cut off.', { cause: error })
    }
  }

  #message(): void {
    const reader = this.#reader
    const { row } = this.#is
    this.#of = undefined
    this.#isNamed = false
    this.#op = -1
    this.#xid = -1
    this.#commitTimeMs = 0
    this.#hasRow = false
    this.#hasOld = false
    this.#textEnd = 0
    const { len: end } = reader
    while (reader.pos < end) {
      const tag = reader.uint32()
      const wire = tag & 7
      switch (tag >>> 3) {
        case row.transactionId:
          this.#expect(wire, VARINT)
          this.#xid = reader.uint32()
          break
        case row.commitTime:
          this.#expect(wire, VARINT)
          this.#commitTimeMs = Number(this.#int64() / 1000n)
          break
        case row.table:
          this.#expect(wire, DELIMITED)
          this.#name(this.#length(end))
          break
        case row.op:
          this.#expect(wire, VARINT)
          this.#op = reader.int32()
          break
        case row.newTuple:
          this.#expect(wire, DELIMITED)
          if (!this.#hasRow) this.#begin(this.#new)
          this.#hasRow = true
          this.#datum(this.#new, this.#length(end), false)
          break
        case row.oldTuple:
          this.#expect(wire, DELIMITED)
          if (!this.#hasOld) this.#begin(this.#old)
          this.#hasOld = true
          this.#datum(this.#old, this.#length(end), true)
          break
        default:
          reader.skipType(wire)
      }
    }
    if (reader.pos !== end) throw this.#malformed('a message that is cut off.')
  }

  #tell(sink: ChangeSink<B>): void {
    const { op } = this.#is
    switch (this.#op) {
      case op.BEGIN:
        if (this.#xid === -1) throw this.#malformed('a transaction without its id.')
        return sink.begin(this.#xid, null)
      case op.COMMIT:
        return sink.commit(lsnFromHalves(this.#lsnHigh, this.#lsnLow), this.#commitTimeMs)
      case op.INSERT:
      case op.UPDATE:
      case op.DELETE:
        return this.#change(sink)
      default:
        throw this.#malformed('an unknown operation.')
    }
  }

  #change(sink: ChangeSink<B>): void {
    if (!this.#isNamed) throw this.#malformed('a change that names no table.')
    const { op } = this.#is
    const of = this.#of
    const table = of?.announced(sink)
    if (of === undefined || table === null || table === undefined) return
    const isFull = of.relation.replicaIdentity === 'full'
    if (this.#op !== op.DELETE) this.#finish(of, this.#new, this.#hasRow, 'full')
    if (this.#op === op.DELETE || this.#hasOld)
      this.#finish(of, this.#old, this.#hasOld, isFull ? 'full' : 'key')
    if (this.#op === op.INSERT) sink.insert(table, this.#new)
    else if (this.#op === op.DELETE) sink.delete(table, this.#old, isFull)
    else sink.update(table, this.#hasOld ? this.#old : null, this.#hasOld && isFull, this.#new)
  }

  /** The tuple is read: its columns are there, and its texts where they stay. */
  #finish(of: CataloguedRelation<B>, view: TupleView, has: boolean, what: 'full' | 'key'): void {
    if (!has) throw this.#malformed('a change without its row.')
    const missing = of.missing(view, what)
    if (missing !== undefined)
      throw this.#malformed(
        `column ${missing.name} of ${of.relation.schema}.${of.relation.name} is no longer sent.`,
      )
    view.bytes = this.#text
  }

  /** Reads the table's name, as `schema.table` with each part quoted where SQL needs it. */
  #name(end: number): void {
    const spelled = this.#utf8(end)
    this.#isNamed = true
    if (!this.#named.has(spelled)) {
      const parts = NAME.exec(spelled)
      if (parts === null) throw this.#malformed('a name that is none.')
      if (this.#named.size >= NAMES_MAX) this.#named.clear()
      this.#named.set(spelled, this.#relations.find(unquoted(parts[1]!), unquoted(parts[2]!)))
    }
    this.#of = this.#named.get(spelled)
  }

  #begin(view: TupleView): void {
    if (!this.#isNamed) throw this.#malformed('a row before its table.')
    // A column that does not come at all is gone: what an UPDATE left alone says so.
    this.#of?.clear(view, NOT_SENT)
  }

  /** Reads one column's value, dropping it by its name if it is not wanted. */
  #datum(view: TupleView, end: number, isOld: boolean): void {
    const reader = this.#reader
    const of = this.#of
    if (of === undefined || of.table === null) {
      reader.pos = end
      return
    }
    const { datum } = this.#is
    let column = -1
    let typeOid = -1
    let hasValue = false
    while (reader.pos < end) {
      const tag = reader.uint32()
      const wire = tag & 7
      const field = tag >>> 3
      if (field === datum.columnName) {
        this.#expect(wire, DELIMITED)
        column = this.#column(of, this.#length(end))
        if (column === -1) {
          reader.pos = end
          return
        }
        if (view.kinds[column] !== NOT_SENT) throw this.#malformed('a column twice.')
      } else if (field === datum.columnType) {
        this.#expect(wire, VARINT)
        typeOid = Number(BigInt.asUintN(32, this.#int64()))
      } else if (column !== -1 && typeOid !== -1 && !hasValue) {
        hasValue = true
        this.#value(view, column, typeOid, field, wire, end)
      } else throw this.#malformed('a value that is of no column.')
    }
    if (reader.pos !== end || column === -1 || typeOid === -1)
      throw this.#malformed('a column that is cut off.')
    const { isKey, typeOid: known } = of.relation.columns[column]!
    // In an old key, other columns are there and empty, which does not mean that they are NULL.
    if (isOld && !isKey && of.relation.replicaIdentity !== 'full') view.kinds[column] = NOT_SENT
    else if (!hasValue) view.kinds[column] = NULL
    if (known !== typeOid) of.retyped(column, typeOid)
  }

  /** The place of the column whose name, as SQL quotes it, goes up to `end`. */
  #column(of: CataloguedRelation<B>, end: number): number {
    const reader = this.#reader
    const { buf, pos } = reader
    if (buf[pos] !== QUOTE) {
      reader.pos = end
      return of.position(buf, pos, end, 0)
    }
    const name = Buffer.from(unquoted(this.#utf8(end)))
    return of.position(name, 0, name.length, 0)
  }

  #value(view: TupleView, column: number, typeOid: number, field: number, wire: number, end: number): void {
    const reader = this.#reader
    const { datum } = this.#is
    view.kinds[column] = TEXT
    view.starts[column] = this.#textEnd
    switch (field) {
      case datum.datumMissing:
        this.#expect(wire, VARINT)
        reader.bool()
        view.kinds[column] = UNCHANGED
        return
      case datum.datumBool:
        this.#expect(wire, VARINT)
        this.#room(1)
        this.#text[this.#textEnd++] = reader.bool() ? LETTER_T : LETTER_F
        break
      case datum.datumInt32:
        this.#expect(wire, VARINT)
        this.#ascii(this.#int32Text(typeOid, reader.int32()))
        break
      case datum.datumInt64:
        this.#expect(wire, VARINT)
        this.#ascii(this.#int64Text(typeOid, this.#int64()))
        break
      case datum.datumFloat:
        this.#expect(wire, FIXED32)
        if (typeOid !== FLOAT4) throw this.#unknownForm(typeOid)
        this.#ascii(float4Text(reader.float()))
        break
      case datum.datumDouble:
        this.#expect(wire, FIXED64)
        if (typeOid !== FLOAT8) throw this.#unknownForm(typeOid)
        this.#ascii(float8Text(reader.double()))
        break
      case datum.datumPoint:
        this.#expect(wire, DELIMITED)
        if (typeOid !== POINT) throw this.#unknownForm(typeOid)
        this.#ascii(this.#pointText(this.#length(end)))
        break
      case datum.datumString:
      case datum.datumBytes:
        this.#expect(wire, DELIMITED)
        if (BINARY.has(typeOid) !== (typeOid === BYTEA)) throw this.#unknownForm(typeOid)
        if (typeOid === BYTEA) this.#hex(this.#length(end))
        else this.#copy(this.#length(end))
        break
      default:
        throw this.#malformed('a value of an unknown kind.')
    }
    view.ends[column] = this.#textEnd
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
        if (value < 0n || value > DAY_MICROS) throw this.#malformed('a time of day that is none.')
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
    while (reader.pos < end) {
      const tag = reader.uint32()
      this.#expect(tag & 7, FIXED64)
      if (tag >>> 3 === point.x) x = reader.double()
      else if (tag >>> 3 === point.y) y = reader.double()
      else throw this.#malformed('a point with more than x and y.')
    }
    if (reader.pos !== end || x === undefined || y === undefined)
      throw this.#malformed('a point without x or y.')
    return `(${float8Text(x)},${float8Text(y)})`
  }

  #ascii(text: string): void {
    this.#room(text.length)
    this.#textEnd += this.#text.write(text, this.#textEnd, 'latin1')
  }

  #copy(end: number): void {
    const { buf, pos } = this.#reader
    this.#room(end - pos)
    this.#text.set(buf.subarray(pos, end), this.#textEnd)
    this.#textEnd += end - pos
    this.#reader.pos = end
  }

  #hex(end: number): void {
    const { buf, pos } = this.#reader
    const digits = Buffer.from(buf.buffer, buf.byteOffset + pos, end - pos).toString('hex')
    this.#ascii(`\\x${digits}`)
    this.#reader.pos = end
  }

  #utf8(end: number): string {
    const { buf, pos } = this.#reader
    this.#reader.pos = end
    return Buffer.from(buf.buffer, buf.byteOffset + pos, end - pos).toString('utf8')
  }

  /** Makes room for `length` more bytes of text. */
  #room(length: number): void {
    const needed = this.#textEnd + length
    if (needed <= this.#text.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#text.length * 2))
    this.#text.copy(larger, 0, 0, this.#textEnd)
    this.#text = larger
    if (larger.length <= KEPT_BYTES_MAX) this.#kept = larger
  }

  /** Reads a length; returns where what is so long ends, which is not behind `end`. */
  #length(end: number): number {
    const length = this.#reader.uint32()
    if (length > end - this.#reader.pos) throw this.#malformed('a message that is cut off.')
    return this.#reader.pos + length
  }

  #int64(): bigint {
    const value = this.#reader.int64()
    assert(typeof value !== 'number', 'protobufjs has its package for 64-bit integers')
    return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0)
  }

  #expect(wire: number, wanted: number): void {
    if (wire !== wanted) throw this.#malformed('a field of another kind than was described.')
  }

  #unknownForm(typeOid: number): DecodeError {
    return this.#malformed(
      `a value of type ${typeOid} in a form that this plugin's releases since 2.0 don't have.`,
    )
  }

  #malformed(problem: string, options?: ErrorOptions): DecodeError {
    return new DecodeError(this.plugin, problem, lsnFromHalves(this.#lsnHigh, this.#lsnLow), options)
  }
}

/** Two identifiers and a dot. */
const NAME = /^("(?:[^"]|"")+"|[^".]+)\.("(?:[^"]|"")+"|[^".]+)$/s

/** An identifier without the quotes that it may have. */
function unquoted(identifier: string): string {
  return identifier.startsWith('"') ? identifier.slice(1, -1).replaceAll('""', '"') : identifier
}
