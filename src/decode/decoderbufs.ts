import type protobuf from 'protobufjs'
import { type ChangeSink, NOT_SENT, NULL, TupleView } from '../change/change.js'
import type { DecoderLimits } from '../change/limits.js'
import { lsnFromHalves } from '../change/lsn.js'
import { DecodeError } from '../errors.js'
import { type CataloguedRelation, CataloguedRelations } from './catalogued.js'
import type { Decoder, DecoderContext, DecoderFactory } from './decoder.js'
import { type Description, loadDescription } from './decoderbufs-description.js'
import { ValueTexts } from './decoderbufs-values.js'
import { sameBytes } from './json-reader.js'
import { ProtobufReader } from './protobuf-reader.js'

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

const QUOTE = 0x22

/** As many names are remembered, of tables that are not wanted too. */
const NAMES_MAX = 65_536

/** Loads what reads protobuf: whoever takes another decoder needs none of it. */
export async function loadDecoderbufs(): Promise<DecoderFactory> {
  loading ??= loadDescription()
  try {
    const { description, Reader } = await loading
    return context => new DecoderbufsDecoder(context, description, Reader)
  } catch (error) {
    loading = undefined
    throw error
  }
}

/** Read once for the whole process, however often tables are loaded anew. */
let loading: ReturnType<typeof loadDescription> | undefined

/**
 * Debezium's decoderbufs: a protobuf message per change, without positions.
 *
 * @see https://github.com/debezium/postgres-decoderbufs
 */
class DecoderbufsDecoder<B> implements Decoder<B> {
  readonly plugin = 'decoderbufs'
  readonly #is: Description
  readonly #reader: ProtobufReader
  readonly #texts: ValueTexts
  readonly #relations: CataloguedRelations<B>
  readonly #new = new TupleView()
  readonly #old = new TupleView()
  /** The tables named so far, as the plugin spells them; undefined for one that is not wanted. */
  readonly #named = new Map<string, CataloguedRelation<B> | undefined>()
  // Consecutive changes are mostly of one table.
  #last: { readonly spelled: Buffer; readonly of: CataloguedRelation<B> | undefined } | undefined

  // The message being read.
  #lsnHigh = 0
  #lsnLow = 0
  #of: CataloguedRelation<B> | undefined
  #isNamed = false
  /** Where the next column is expected: they come in the table's order. */
  #column = 0
  #op = -1
  #xid = -1
  #commitTimeMs = 0
  #hasRow = false
  #hasOld = false

  constructor(context: DecoderContext, description: Description, Reader: typeof protobuf.Reader) {
    this.#relations = new CataloguedRelations(context.relations)
    this.#is = description
    const fail = (problem: string): DecodeError => this.#malformed(problem)
    this.#reader = new ProtobufReader(Reader, fail)
    this.#texts = new ValueTexts(description, this.#reader, fail)
  }

  startOptions(): string {
    // It has no other, and the parentheses must not be empty.
    return `"debug-mode" 'false'`
  }

  reset(): void {
    this.#relations.reset()
    this.#named.clear()
    this.#last = undefined
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
    this.#reader.open(bytes, start, end)
    this.#texts.clear()
    try {
      this.#read()
      this.#tell(sink)
    } finally {
      this.#texts.release()
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
    const { end } = reader
    while (reader.position < end) {
      switch (reader.field()) {
        case row.transactionId:
          this.#xid = reader.uint32()
          break
        case row.commitTime:
          this.#commitTimeMs = Number(reader.int64() / 1000n)
          break
        case row.table:
          this.#name(reader.delimited(end))
          break
        case row.op:
          this.#op = reader.int32()
          break
        case row.newTuple:
          if (!this.#hasRow) this.#begin(this.#new)
          this.#hasRow = true
          this.#datum(this.#new, reader.delimited(end), false)
          break
        case row.oldTuple:
          if (!this.#hasOld) this.#begin(this.#old)
          this.#hasOld = true
          this.#datum(this.#old, reader.delimited(end), true)
          break
        default:
          reader.skip()
      }
    }
    if (reader.position !== end) throw this.#malformed('a message that is cut off.')
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
    view.bytes = this.#texts.bytes
  }

  /** Reads the table's name, as `schema.table` with each part quoted where SQL needs it. */
  #name(end: number): void {
    const { bytes, position } = this.#reader
    this.#isNamed = true
    if (this.#last === undefined || !sameBytes(bytes, position, end, this.#last.spelled))
      this.#last = { spelled: Buffer.from(bytes.subarray(position, end)), of: this.#wanted(end) }
    this.#reader.moveTo(end)
    this.#of = this.#last.of
  }

  #wanted(end: number): CataloguedRelation<B> | undefined {
    const spelled = this.#reader.utf8(end)
    if (!this.#named.has(spelled)) {
      const parts = NAME.exec(spelled)
      if (parts === null) throw this.#malformed('a name that is none.')
      if (this.#named.size >= NAMES_MAX) this.#named.clear()
      this.#named.set(spelled, this.#relations.find(unquoted(parts[1]!), unquoted(parts[2]!)))
    }
    return this.#named.get(spelled)
  }

  #begin(view: TupleView): void {
    if (!this.#isNamed) throw this.#malformed('a row before its table.')
    // A column that does not come at all is gone: what an UPDATE left alone says so.
    this.#of?.clear(view, NOT_SENT)
    this.#column = 0
  }

  /** Reads one column's value, dropping it by its name if it is not wanted. */
  #datum(view: TupleView, end: number, isOld: boolean): void {
    const reader = this.#reader
    const of = this.#of
    if (of === undefined || of.table === null) {
      reader.moveTo(end)
      return
    }
    const { datum } = this.#is
    let column = -1
    let typeOid = -1
    let hasValue = false
    while (reader.position < end) {
      const field = reader.field()
      if (field === datum.columnName) {
        column = this.#position(of, reader.delimited(end))
        if (column === -1) {
          reader.moveTo(end)
          return
        }
        this.#column = column + 1
        if (view.kinds[column] !== NOT_SENT) throw this.#malformed('a column twice.')
      } else if (field === datum.columnType) {
        typeOid = reader.uint32()
      } else if (column !== -1 && typeOid !== -1 && !hasValue) {
        hasValue = true
        this.#texts.read(view, column, typeOid, field, end)
      } else throw this.#malformed('a value that is of no column.')
    }
    if (reader.position !== end || column === -1 || typeOid === -1)
      throw this.#malformed('a column that is cut off.')
    const { isKey, typeOid: known } = of.relation.columns[column]!
    // In an old key, other columns are there and empty, which does not mean that they are NULL.
    if (isOld && !isKey && of.relation.replicaIdentity !== 'full') view.kinds[column] = NOT_SENT
    else if (!hasValue) view.kinds[column] = NULL
    if (known !== typeOid) of.retyped(column, typeOid)
  }

  /** The place of the column whose name, as SQL quotes it, goes up to `end`. */
  #position(of: CataloguedRelation<B>, end: number): number {
    const reader = this.#reader
    const { bytes, position } = reader
    if (bytes[position] !== QUOTE) {
      reader.moveTo(end)
      return of.position(bytes, position, end, this.#column)
    }
    const name = Buffer.from(unquoted(this.#reader.utf8(end)))
    return of.position(name, 0, name.length, this.#column)
  }

  #malformed(problem: string, options?: ErrorOptions): DecodeError {
    const of = this.#of?.relation
    const table = of === undefined ? undefined : `${of.schema}.${of.name}`
    return new DecodeError(this.plugin, problem, lsnFromHalves(this.#lsnHigh, this.#lsnLow), {
      ...options,
      table,
    })
  }
}

/** Two identifiers and a dot. */
const NAME = /^("(?:[^"]|"")+"|[^".]+)\.("(?:[^"]|"")+"|[^".]+)$/s

/** An identifier without the quotes that it may have. */
function unquoted(identifier: string): string {
  return identifier.startsWith('"') ? identifier.slice(1, -1).replaceAll('""', '"') : identifier
}
