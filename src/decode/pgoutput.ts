import {
  type ChangeSink,
  MAX_COLUMNS,
  NOT_SENT,
  NULL,
  TEXT,
  TupleView,
  UNCHANGED,
  type ValueKind,
} from '../change/change.js'
import { lsnFromHalves } from '../change/lsn.js'
import type { DecoderLimits } from '../change/limits.js'
import type { Relation, RelationColumn, ReplicaIdentity } from '../change/relation.js'
import { DecodeError } from '../errors.js'
import type { Decoder, DecoderContext } from './decoder.js'
import { FieldReader } from './field-reader.js'

/** The stream announces a relation only once, so a forgotten one can't be asked for again: beyond this the stream is refused. */
const MAX_RELATIONS = 65_536

const MESSAGE_TRANSACTIONAL = 1
const TRUNCATE_CASCADE = 1
const TRUNCATE_RESTART_IDENTITY = 2
const COLUMN_IS_KEY = 1

// The tags of messages, tuples and values.
const BEGIN = 0x42 // B
const COMMIT = 0x43 // C
const DELETE = 0x44 // D
const INSERT = 0x49 // I
const KEY_TUPLE = 0x4b // K
const MESSAGE = 0x4d // M
const NEW_TUPLE = 0x4e // N
const OLD_TUPLE = 0x4f // O
const ORIGIN = 0x4f // O
const RELATION = 0x52 // R
const TRUNCATE = 0x54 // T
const UPDATE = 0x55 // U
const TYPE = 0x59 // Y
const VALUE_BINARY = 0x62 // b
const VALUE_NULL = 0x6e // n
const VALUE_TEXT = 0x74 // t
const VALUE_UNCHANGED = 0x75 // u

const IDENTITIES = new Map<number, ReplicaIdentity>([
  [0x64, 'default'],
  [0x6e, 'nothing'],
  [0x66, 'full'],
  [0x69, 'index'],
])

export const pgoutputLimits: DecoderLimits = {
  decoder: 'pgoutput',
  truncate: true,
  messages: true,
  // From 18 on a publication may carry them; ours does not ask for it.
  generatedStored: false,
  publications: true,
  convertsEncoding: true,
  lostTypes: [],
  textNumbersOption: null,
}

/** A relation as announced, and what its tuples need, prepared once. */
interface Announced<B> {
  /** `schema.table`, for messages. */
  readonly name: string
  readonly relation: Relation
  /** What the sink remembers about it; null if it wants nothing of it. */
  readonly table: B | null
  readonly columnCount: number
  /** What 'n' means in a key tuple, per column: columns outside the identity were not sent. */
  readonly nullInKey: Uint8Array
}

/**
 * PostgreSQL's own output plugin, protocol version 1: text values, whole transactions in commit order.
 *
 * @see https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
 */
export class PgoutputDecoder<B> implements Decoder<B> {
  readonly plugin = 'pgoutput'
  readonly #publication: string
  readonly #relations = new Map<number, Announced<B>>()
  readonly #new = new TupleView()
  readonly #old = new TupleView()
  // Consecutive changes are mostly of one table.
  #lastOid = -1
  #last: Announced<B> | undefined

  /** The payload being decoded, and how far. */
  readonly #fields = new FieldReader(problem => this.#malformed(problem))
  #lsnHigh = 0
  #lsnLow = 0

  constructor(context: DecoderContext) {
    this.#publication = context.publication
  }

  startOptions(): string {
    // A list of identifiers inside a literal: a name is quoted for the list, and the list for the literal.
    const name = `"${this.#publication.replaceAll('"', '""')}"`.replaceAll("'", "''")
    return `proto_version '1', publication_names '${name}', messages 'true'`
  }

  reset(): void {
    this.#relations.clear()
    this.#lastOid = -1
    this.#last = undefined
  }

  readonly want = (oid: number, sink: ChangeSink<B>): void => {
    const announced = this.#relations.get(oid)
    if (announced !== undefined) this.#remember(sink, announced.relation)
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
    this.#fields.open(bytes, start, end)
    const tag = this.#fields.uint8()
    switch (tag) {
      case INSERT:
        return this.#insert(sink)
      case UPDATE:
        return this.#update(sink)
      case DELETE:
        return this.#delete(sink)
      case BEGIN:
        return this.#begin(sink)
      case COMMIT:
        return this.#commit(sink)
      case RELATION:
        return this.#relation(sink)
      case TRUNCATE:
        return this.#truncate(sink)
      case MESSAGE:
        return this.#message(sink)
      case TYPE:
      case ORIGIN:
        // A type's name says nothing that its OID does not; where a change came from is nobody's concern here.
        return
      default:
        throw this.#malformed(`unknown message tag 0x${tag.toString(16)}.`)
    }
  }

  #insert(sink: ChangeSink<B>): void {
    const { table, columnCount } = this.#announced(this.#fields.uint32())
    if (table === null) return
    this.#expectTag(NEW_TUPLE)
    this.#tuple(this.#new, columnCount, null)
    this.#fields.expectEnd()
    sink.insert(table, this.#new)
  }

  #update(sink: ChangeSink<B>): void {
    const { table, columnCount, nullInKey } = this.#announced(this.#fields.uint32())
    if (table === null) return
    const tag = this.#fields.uint8()
    if (tag === NEW_TUPLE) {
      this.#tuple(this.#new, columnCount, null)
      this.#fields.expectEnd()
      sink.update(table, null, false, this.#new)
      return
    }
    const oldIsFull = this.#isFull(tag)
    this.#tuple(this.#old, columnCount, oldIsFull ? null : nullInKey)
    this.#expectTag(NEW_TUPLE)
    this.#tuple(this.#new, columnCount, null)
    this.#fields.expectEnd()
    sink.update(table, this.#old, oldIsFull, this.#new)
  }

  #delete(sink: ChangeSink<B>): void {
    const { table, columnCount, nullInKey } = this.#announced(this.#fields.uint32())
    if (table === null) return
    const oldIsFull = this.#isFull(this.#fields.uint8())
    this.#tuple(this.#old, columnCount, oldIsFull ? null : nullInKey)
    this.#fields.expectEnd()
    sink.delete(table, this.#old, oldIsFull)
  }

  #isFull(tag: number): boolean {
    if (tag === OLD_TUPLE) return true
    if (tag === KEY_TUPLE) return false
    throw this.#malformed(`unknown tuple tag 0x${tag.toString(16)}.`)
  }

  /** Points `view` at the tuple's values. `nulls` says what 'n' means per column; null: NULL. */
  #tuple(view: TupleView, columnCount: number, nulls: Uint8Array | null): void {
    const count = this.#fields.uint16()
    if (count !== columnCount) {
      throw this.#malformed(`a tuple of ${count} columns, of a relation that has ${columnCount}.`)
    }
    const fields = this.#fields
    const { bytes, end } = fields
    const { kinds, starts, ends } = view
    let { at } = fields
    for (let column = 0; column < count; column++) {
      if (at >= end) throw this.#fields.short()
      const kind = bytes[at]!
      if (kind === VALUE_TEXT) {
        const start = at + 5
        if (start > end) throw this.#fields.short()
        const length =
          (bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!
        // The length is signed: below zero it is as wrong as beyond the payload.
        if (length < 0 || length > end - start) throw this.#malformed(`a value of ${length} bytes.`)
        kinds[column] = TEXT
        starts[column] = start
        at = start + length
        ends[column] = at
      } else {
        kinds[column] = this.#valueless(kind, nulls === null ? NULL : (nulls[column] as ValueKind))
        at++
      }
    }
    view.bytes = bytes
    view.count = count
    fields.at = at
  }

  #valueless(kind: number, nullMeans: ValueKind): ValueKind {
    if (kind === VALUE_NULL) return nullMeans
    if (kind === VALUE_UNCHANGED) return UNCHANGED
    if (kind === VALUE_BINARY) throw this.#malformed('a binary value, which was not asked for.')
    throw this.#malformed(`unknown value tag 0x${kind.toString(16)}.`)
  }

  #announced(oid: number): Announced<B> {
    if (oid === this.#lastOid) return this.#last!
    const found = this.#relations.get(oid)
    if (found === undefined) throw this.#malformed(`a change of relation ${oid}, which was not announced.`)
    this.#lastOid = oid
    this.#last = found
    return found
  }

  #begin(sink: ChangeSink<B>): void {
    const commitLsn = this.#fields.lsn()
    this.#fields.skip(8) // the commit's time: the commit has it too
    const xid = this.#fields.uint32()
    this.#fields.expectEnd()
    sink.begin(xid, commitLsn)
  }

  #commit(sink: ChangeSink<B>): void {
    this.#fields.skip(1 + 8) // flags, none defined; where the commit record begins
    const endLsn = this.#fields.lsn()
    const commitTimeMs = this.#fields.timestampMs()
    this.#fields.expectEnd()
    sink.commit(endLsn, commitTimeMs)
  }

  #relation(sink: ChangeSink<B>): void {
    const oid = this.#fields.uint32()
    // pg_catalog is sent as an empty name.
    const schema = this.#fields.string() || 'pg_catalog'
    const name = this.#fields.string()
    const replicaIdentity = IDENTITIES.get(this.#fields.uint8())
    if (replicaIdentity === undefined) throw this.#malformed('an unknown replica identity.')
    const columns = this.#columns()
    this.#fields.expectEnd()
    this.#remember(sink, { oid, schema, name, replicaIdentity, columns })
  }

  #columns(): RelationColumn[] {
    const count = this.#fields.uint16()
    if (count > MAX_COLUMNS) throw this.#malformed(`a relation of ${count} columns.`)
    const columns: RelationColumn[] = []
    for (let column = 0; column < count; column++) {
      const isKey = (this.#fields.uint8() & COLUMN_IS_KEY) !== 0
      const name = this.#fields.string()
      const typeOid = this.#fields.uint32()
      const typeModifier = this.#fields.uint32() | 0
      columns.push({ name, typeOid, typeModifier, isKey })
    }
    return columns
  }

  #remember(sink: ChangeSink<B>, relation: Relation): void {
    const { oid, schema, name, columns } = relation
    if (this.#relations.size >= MAX_RELATIONS && !this.#relations.has(oid)) {
      throw this.#malformed(`more than ${MAX_RELATIONS} relations in one stream.`)
    }
    const nullInKey = Uint8Array.from(columns, column => (column.isKey ? NULL : NOT_SENT))
    const table = sink.relation(relation)
    const columnCount = columns.length
    this.#relations.set(oid, { name: `${schema}.${name}`, relation, table, columnCount, nullInKey })
    this.#lastOid = -1
  }

  #truncate(sink: ChangeSink<B>): void {
    const count = this.#fields.uint32()
    const flags = this.#fields.uint8()
    if (count * 4 !== this.#fields.left) throw this.#malformed(`a TRUNCATE of ${count} relations.`)
    const tables: B[] = []
    for (let i = 0; i < count; i++) {
      const { table } = this.#announced(this.#fields.uint32())
      if (table !== null) tables.push(table)
    }
    if (tables.length === 0) return
    sink.truncate(tables, (flags & TRUNCATE_CASCADE) !== 0, (flags & TRUNCATE_RESTART_IDENTITY) !== 0)
  }

  #message(sink: ChangeSink<B>): void {
    const transactional = (this.#fields.uint8() & MESSAGE_TRANSACTIONAL) !== 0
    this.#fields.skip(8) // its position, which is of another kind than a commit's
    const prefix = this.#fields.string()
    const length = this.#fields.uint32()
    if (length !== this.#fields.left) throw this.#malformed(`a message of ${length} bytes.`)
    const { bytes, at, end } = this.#fields
    sink.message(prefix, bytes.subarray(at, end), transactional)
  }

  #expectTag(tag: number): void {
    const found = this.#fields.uint8()
    if (found !== tag) throw this.#malformed(`unknown tuple tag 0x${found.toString(16)}.`)
  }

  #malformed(problem: string): DecodeError {
    const lsn = lsnFromHalves(this.#lsnHigh, this.#lsnLow)
    return new DecodeError(this.plugin, problem, lsn, { table: this.#changed() })
  }

  /** Whose change is being decoded, if it is one. */
  #changed(): string | undefined {
    const { bytes, start, end } = this.#fields
    const tag = bytes[start]
    if ((tag !== INSERT && tag !== UPDATE && tag !== DELETE) || end - start < 5) return undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset + start + 1, 4)
    return this.#relations.get(view.getUint32(0))?.name
  }
}
