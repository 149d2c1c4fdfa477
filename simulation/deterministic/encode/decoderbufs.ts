import { isExternal } from '../server/heap.js'
import type { Change, Committed } from '../server/transaction.js'
import { keyOf, type TableSpec, type Texts, TYPE_OIDS, type TypeName } from '../schema.js'
import { Bytes } from './bytes.js'
import type { Encoder, Frame } from './encoder.js'

const INSERT = 0
const UPDATE = 1
const DELETE = 2
const BEGIN = 3
const COMMIT = 4

// Protobuf's wire types.
const VARINT = 0
const COUNTED = 2

const tag = (field: number, wireType: number): number => (field << 3) | wireType

/** decoderbufs' protobuf messages, written field by field from what the plugin does. */
export class DecoderbufsEncoder implements Encoder {
  readonly #message = new Bytes()
  readonly #datum = new Bytes()
  readonly #typeInfos = new Map<TableSpec, Buffer>();

  *frames(transaction: Committed): Iterable<Frame> {
    yield { at: transaction.firstAt, payload: this.#mark(transaction, BEGIN), change: null }
    for (const change of transaction.changes) {
      // It says nothing of TRUNCATE and of logical messages.
      if (change.spec === null || change.kind === 'truncate') continue
      yield { at: change.at, payload: this.#change(transaction, change, change.spec), change }
    }
    yield { at: transaction.end, payload: this.#mark(transaction, COMMIT), change: null }
  }

  announceAgain(): void {
    // Each of its changes names its table itself.
  }

  #mark(transaction: Committed, op: number): Buffer {
    this.#head(transaction)
    return this.#message.uint8(tag(4, VARINT)).small(op).copy()
  }

  #head({ xid, timeMicros }: Committed): void {
    const out = this.#message
    out.reset()
    out.uint8(tag(1, VARINT)).small(xid % 2 ** 32)
    out.uint8(tag(2, VARINT)).varint(timeMicros)
  }

  #change(transaction: Committed, change: Change, spec: TableSpec): Buffer {
    this.#head(transaction)
    const out = this.#message
    counted(out, 3, `public.${spec.name}`)
    const op = change.kind === 'insert' ? INSERT : change.kind === 'update' ? UPDATE : DELETE
    out.uint8(tag(4, VARINT)).small(op)
    if (change.new !== null) this.#tuple(spec, 5, change.new, change.old, false)
    if (this.#sendsOld(spec, change)) this.#tuple(spec, 6, change.old!, null, spec.identity !== 'full')
    if (change.new !== null) out.bytes(this.#typeInfo(spec))
    return out.copy()
  }

  #sendsOld(spec: TableSpec, { old, new: now }: Change): boolean {
    if (old === null) return false
    return now === null || spec.identity === 'full' || keyOf(spec, old) !== keyOf(spec, now)
  }

  #tuple(spec: TableSpec, number: number, texts: Texts, before: Texts | null, keyOnly: boolean): void {
    for (const [at, text] of texts.entries()) {
      const datum = this.#datum
      const { name, type } = spec.columns[at]!
      datum.reset()
      counted(datum, 1, name)
      datum.uint8(tag(2, VARINT)).small(TYPE_OIDS[type])
      const isUntouched = before !== null && before[at] === text && isExternal(spec, at, text)
      if (isUntouched) datum.uint8(tag(11, VARINT)).uint8(1)
      else if (text !== null && !(keyOnly && !spec.key.includes(at))) value(datum, type, text)
      field(this.#message, number, datum.written)
    }
  }

  /** The same for every row of a table. */
  #typeInfo(spec: TableSpec): Buffer {
    const known = this.#typeInfos.get(spec)
    if (known !== undefined) return known
    const infos = new Bytes()
    const info = new Bytes()
    for (const { type, notNull } of spec.columns) {
      info.reset()
      counted(info, 1, type)
      info.uint8(tag(2, VARINT)).uint8(notNull ? 0 : 1)
      field(infos, 7, info.written)
    }
    const made = infos.copy()
    this.#typeInfos.set(spec, made)
    return made
  }
}

/** A text as a field. */
function counted(out: Bytes, number: number, text: string): void {
  out.uint8(tag(number, COUNTED)).small(Buffer.byteLength(text)).text(text)
}

function field(out: Bytes, number: number, bytes: Uint8Array): void {
  out.uint8(tag(number, COUNTED)).small(bytes.length).bytes(bytes)
}

function value(out: Bytes, type: TypeName, text: string): void {
  switch (type) {
    case 'int4':
      out.uint8(tag(3, VARINT)).varint(BigInt(text))
      return
    case 'int8':
      out.uint8(tag(4, VARINT)).varint(BigInt(text))
      return
    case 'bool':
      out.uint8(tag(7, VARINT)).uint8(text === 't' ? 1 : 0)
      return
    case 'text':
      counted(out, 8, text)
  }
}
