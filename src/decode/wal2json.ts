import { type ChangeSink, NOT_SENT, NULL, TEXT, TupleView, UNCHANGED } from '../change/change.js'
import type { DecoderLimits } from '../change/limits.js'
import { type Lsn, lsnFromHalves, parseLsn } from '../change/lsn.js'
import { DecodeError } from '../errors.js'
import { type CataloguedRelation, CataloguedRelations } from './catalogued.js'
import type { Decoder, DecoderContext } from './decoder.js'
import { JsonReader, sameBytes } from './json-reader.js'

// An action is one letter.
const BEGIN = 0x42 // B
const COMMIT = 0x43 // C
const DELETE = 0x44 // D
const INSERT = 0x49 // I
const MESSAGE = 0x4d // M
const TRUNCATE = 0x54 // T
const UPDATE = 0x55 // U

const BOOL = 16
const BYTEA = 17
const BACKSLASH = 0x5c
const LETTER_X = 0x78

/** From 2.6 on it can send numbers as text, with nothing lost. */
const TEXT_NUMBERS_OPTION = 'numeric-data-types-as-string'

export const wal2jsonLimits: DecoderLimits = {
  decoder: 'wal2json',
  truncate: true,
  messages: true,
  generatedStored: true,
  publications: false,
  convertsEncoding: false,
  lostTypes: [{ oids: [700, 701, 1700], why: 'NaN and the infinities as null', mendedBy: 'finite' }],
  textNumbersOption: TEXT_NUMBERS_OPTION,
}

const asBytes = (names: readonly string[]): Buffer[] => names.map(name => Buffer.from(name))

/** What is read of an object; of each, where its value lies. */
const MEMBERS = asBytes([
  'action',
  'schema',
  'table',
  'columns',
  'identity',
  'xid',
  'timestamp',
  'lsn',
  'nextlsn',
  'transactional',
  'prefix',
  'content',
])
const [
  ACTION,
  SCHEMA,
  TABLE,
  COLUMNS,
  IDENTITY,
  XID,
  TIMESTAMP,
  LSN,
  NEXT_LSN,
  TRANSACTIONAL,
  PREFIX,
  CONTENT,
] = MEMBERS.map((_name, member) => member) as [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]

const COLUMN_MEMBERS = asBytes(['name', 'typeoid', 'value'])
const [NAME, TYPE_OID, VALUE] = [0, 1, 2]

/** As `timestamptz_to_str` writes it, in the session's zone: `2026-01-31 12:34:56.789012+05:30`. */
const COMMIT_TIME = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(\.\d{1,6})?([+-])(\d\d)(?::(\d\d))?(?::(\d\d))?$/

/**
 * wal2json, format version 2: an object per change, read where it lies, its numbers as they are written.
 *
 * @see https://github.com/eulerto/wal2json
 */
export class Wal2jsonDecoder<B> implements Decoder<B> {
  readonly plugin = 'wal2json'
  readonly #context: DecoderContext
  readonly #relations: CataloguedRelations<B>
  readonly #json = new JsonReader(problem => this.#malformed(problem))
  readonly #new = new TupleView()
  readonly #old = new TupleView()
  // Consecutive changes are mostly of one table.
  #last: Named<B> | undefined

  // The object being read: where its members' values lie (-1: it has none), and the frame's position.
  readonly #starts = new Int32Array(MEMBERS.length)
  readonly #ends = new Int32Array(MEMBERS.length)
  #lsnHigh = 0
  #lsnLow = 0

  constructor(context: DecoderContext) {
    this.#context = context
    this.#relations = new CataloguedRelations(context.relations)
  }

  startOptions(): string {
    const tables = this.#context.relations.map(({ schema, name }) => `${escaped(schema)}.${escaped(name)}`)
    const options = {
      'format-version': '2',
      'include-xids': 'true',
      'include-timestamp': 'true',
      'include-lsn': 'true',
      // A type's name may be written so that it is not JSON; its OID is all that is needed.
      'include-types': 'false',
      'include-typmod': 'false',
      'include-type-oids': 'true',
      'add-tables': tables.join(','),
      ...(this.#context.numbersAsText === true ? { [TEXT_NUMBERS_OPTION]: 'true' } : {}),
    }
    return Object.entries(options)
      .map(([name, value]) => `"${name}" '${value.replaceAll("'", "''")}'`)
      .join(', ')
  }

  reset(): void {
    this.#relations.reset()
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
    this.#json.open(bytes, start, end)
    try {
      this.#object(sink)
    } finally {
      this.#json.close()
    }
  }

  /** Reads the object to its end, then hands over what it said: nothing is said of half an object. */
  #object(sink: ChangeSink<B>): void {
    const json = this.#json
    this.#starts.fill(-1)
    json.openObject()
    for (let first = true; json.nextMember(first); first = false) {
      const member = json.name(MEMBERS)
      if (member === COLUMNS) this.#tuple(this.#new, false)
      else if (member === IDENTITY) this.#tuple(this.#old, true)
      else if (member === -1) {
        json.skip()
        continue
      } else json.value()
      if (this.#starts[member] !== -1) throw this.#malformed('a member twice.')
      this.#starts[member] = json.start
      this.#ends[member] = json.end
    }
    json.expectEnd()
    this.#tell(sink)
  }

  #tell(sink: ChangeSink<B>): void {
    const action = this.#starts[ACTION]!
    if (action === -1 || this.#ends[ACTION] !== action + 1)
      throw this.#malformed('an object without an action.')
    switch (this.#json.bytes[action]) {
      case INSERT:
      case UPDATE:
      case DELETE:
        return this.#change(sink, this.#json.bytes[action]!)
      case BEGIN:
        return sink.begin(this.#xid(), this.#lsn(LSN))
      case COMMIT:
        return this.#commit(sink)
      case TRUNCATE:
        return this.#truncate(sink)
      case MESSAGE:
        return this.#message(sink)
      default:
        throw this.#malformed('an unknown action.')
    }
  }

  #change(sink: ChangeSink<B>, action: number): void {
    const of = this.#named().of
    const table = of?.announced(sink)
    if (of === undefined || table === null || table === undefined) return
    const isFull = of.relation.replicaIdentity === 'full'
    if (action !== DELETE) this.#expectWhole(of, this.#new, COLUMNS, 'row')
    if (action !== INSERT) this.#expectWhole(of, this.#old, IDENTITY, isFull ? 'full' : 'key')
    if (action === INSERT) sink.insert(table, this.#new)
    else if (action === UPDATE) sink.update(table, this.#old, isFull, this.#new)
    else sink.delete(table, this.#old, isFull)
  }

  #expectWhole(
    of: CataloguedRelation<B>,
    view: TupleView,
    member: number,
    what: 'row' | 'key' | 'full',
  ): void {
    if (this.#starts[member] === -1) throw this.#malformed('a change without its row.')
    const missing = of.missing(view, what)
    if (missing !== undefined)
      throw this.#malformed(
        `column ${missing.name} of ${of.relation.schema}.${of.relation.name} is no longer sent.`,
      )
  }

  #truncate(sink: ChangeSink<B>): void {
    const table = this.#named().of?.announced(sink)
    if (table !== null && table !== undefined) sink.truncate([table], false, false)
  }

  #message(sink: ChangeSink<B>): void {
    const transactional = this.#required(TRANSACTIONAL) === 'true'
    const prefix = this.#required(PREFIX)
    this.#required(CONTENT)
    sink.message(prefix, this.#json.bytes.subarray(this.#starts[CONTENT], this.#ends[CONTENT]), transactional)
  }

  #commit(sink: ChangeSink<B>): void {
    const endLsn = this.#lsn(NEXT_LSN)
    if (endLsn !== lsnFromHalves(this.#lsnHigh, this.#lsnLow))
      throw this.#malformed('a commit that does not end at its frame’s position.')
    sink.commit(endLsn, this.#commitTimeMs())
  }

  #commitTimeMs(): number {
    const parts = COMMIT_TIME.exec(this.#required(TIMESTAMP))
    if (parts === null) throw this.#malformed('a commit without its time.')
    const [, date, clock, fraction = '.0', sign, hours, minutes = '0', seconds = '0'] = parts
    const localMs = Date.parse(`${date}T${clock}Z`) + Math.floor(Number(fraction) * 1000)
    const zoneMs = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds)) * 1000
    if (Number.isNaN(localMs)) throw this.#malformed('a commit without its time.')
    return sign === '-' ? localMs + zoneMs : localMs - zoneMs
  }

  /** Points `view` at the values of an array of columns, or skips it if nobody wants the table's. */
  #tuple(view: TupleView, isOld: boolean): void {
    const json = this.#json
    const { of } = this.#named()
    if (of === undefined || of.table === null) {
      json.skip()
      return
    }
    of.clear(view, isOld ? NOT_SENT : UNCHANGED)
    view.bytes = json.bytes
    let expected = 0
    json.openArray()
    for (let first = true; json.nextElement(first); first = false)
      expected = this.#column(of, view, expected) + 1
  }

  /** Reads one column into `view`; returns its place, or the one before `expected` if it is not wanted. */
  #column(of: CataloguedRelation<B>, view: TupleView, expected: number): number {
    const json = this.#json
    let column = -1
    let typeOid = -1
    let isRead = false
    json.openObject()
    for (let first = true; json.nextMember(first); first = false) {
      const member = json.name(COLUMN_MEMBERS)
      if (member === NAME) {
        json.string()
        column = of.position(json.bytes, json.start, json.end, expected)
      } else if (member === TYPE_OID) typeOid = this.#typeOid()
      else if (member === VALUE && column !== -1 && typeOid !== -1 && !isRead) {
        this.#value(view, column, typeOid)
        isRead = true
      } else json.skip()
    }
    if (column === -1) return expected - 1
    if (!isRead) throw this.#malformed('a column without its value.')
    if (typeOid !== of.relation.columns[column]!.typeOid) of.retyped(column, typeOid)
    return column
  }

  #value(view: TupleView, column: number, typeOid: number): void {
    const json = this.#json
    if (view.kinds[column] === TEXT || view.kinds[column] === NULL) throw this.#malformed('a column twice.')
    const token = json.value()
    view.kinds[column] = TEXT
    view.starts[column] = json.start
    view.ends[column] = json.end
    if (token === 'word') {
      if (json.isNull) view.kinds[column] = NULL
      else if (typeOid !== BOOL) throw this.#malformed('true or false in a column that is not boolean.')
      // PostgreSQL's own texts are the first letters of these.
      else view.ends[column] = json.start + 1
    } else if (token === 'string' && typeOid === BYTEA) {
      // Only the digits are sent. What stood before them, a colon and a quote, is of no more use.
      const start = json.start - 2
      json.bytes[start] = BACKSLASH
      json.bytes[start + 1] = LETTER_X
      view.starts[column] = start
    }
  }

  /** It is printed as a signed number. */
  #typeOid(): number {
    if (this.#json.value() !== 'number') throw this.#malformed('a type that is no number.')
    return Number(this.#json.text()) >>> 0
  }

  /** The wanted table that the object names. */
  #named(): Named<B> {
    const { bytes } = this.#json
    const [schema, name] = [this.#starts[SCHEMA]!, this.#starts[TABLE]!]
    if (schema === -1 || name === -1) throw this.#malformed('a change that names no table.')
    const [schemaEnd, nameEnd] = [this.#ends[SCHEMA]!, this.#ends[TABLE]!]
    const last = this.#last
    if (
      last !== undefined &&
      sameBytes(bytes, name, nameEnd, last.name) &&
      sameBytes(bytes, schema, schemaEnd, last.schema)
    )
      return last
    const of = this.#relations.find(
      bytes.toString('utf8', schema, schemaEnd),
      bytes.toString('utf8', name, nameEnd),
    )
    this.#last = {
      schema: Buffer.from(bytes.subarray(schema, schemaEnd)),
      name: Buffer.from(bytes.subarray(name, nameEnd)),
      of,
    }
    return this.#last
  }

  #xid(): number {
    const xid = Number(this.#required(XID))
    if (!Number.isInteger(xid) || xid < 0 || xid > 0xffff_ffff)
      throw this.#malformed('a transaction without its id.')
    return xid
  }

  #lsn(member: number): Lsn {
    const text = this.#required(member)
    try {
      return parseLsn(text)
    } catch (cause) {
      throw this.#malformed('a position that is none.', { cause })
    }
  }

  #required(member: number): string {
    if (this.#starts[member] === -1)
      throw this.#malformed(`an object without ${MEMBERS[member]!.toString()}.`)
    return this.#json.bytes.toString('utf8', this.#starts[member], this.#ends[member])
  }

  #malformed(problem: string, options?: ErrorOptions): DecodeError {
    const lsn = lsnFromHalves(this.#lsnHigh, this.#lsnLow)
    return new DecodeError(this.plugin, problem, lsn, { ...options, table: this.#changed() })
  }

  /** Whose change is being read, as far as its object has been. */
  #changed(): string | undefined {
    if (this.#starts[SCHEMA] === -1 || this.#starts[TABLE] === -1) return undefined
    return `${this.#required(SCHEMA)}.${this.#required(TABLE)}`
  }
}

interface Named<B> {
  readonly schema: Buffer
  readonly name: Buffer
  /** Undefined if it is not wanted. */
  readonly of: CataloguedRelation<B> | undefined
}

/** In a list of tables, a backslash takes a character as it is: a comma, a dot, a star, a space. */
function escaped(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_\u0080-\uffff]/g, '\\$&')
}
