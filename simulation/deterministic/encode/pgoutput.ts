import { isExternal } from '../server/heap.js'
import type { Change, Committed } from '../server/transaction.js'
import { keyOf, type TableSpec, type Texts, TYPE_OIDS } from '../schema.js'
import { Bytes } from './bytes.js'
import type { Encoder, Frame } from './encoder.js'

/** From this version on a transaction that changes nothing that is published is not sent. */
const SKIPS_EMPTY = 15
/** Microseconds from 1970 to 2000. */
const EPOCH_MICROS = 946_684_800_000_000n

const letter = (text: string): number => text.charCodeAt(0)

/** Written from the protocol's description, apart from the decoder that is put to the test. */
export class PgoutputEncoder implements Encoder {
  readonly #out = new Bytes()
  readonly #announced = new Set<number>()

  constructor(readonly major: number) {}

  *frames(transaction: Committed): Iterable<Frame> {
    const changes = transaction.changes.filter(({ isPublished }) => isPublished)
    if (changes.length === 0 && this.major >= SKIPS_EMPTY) return
    yield { at: transaction.firstAt, payload: this.#begin(transaction), change: null }
    for (const change of changes) {
      const { spec } = change
      if (spec !== null && !this.#announced.has(spec.oid)) {
        this.#announced.add(spec.oid)
        yield { at: 0, payload: this.#relation(spec), change: null }
      }
      yield { at: change.at, payload: this.#change(change), change }
    }
    yield { at: transaction.end, payload: this.#commit(transaction), change: null }
  }

  announceAgain(): void {
    this.#announced.clear()
  }

  #begin({ commitAt, timeMicros, xid }: Committed): Buffer {
    this.#out.reset()
    this.#out
      .uint8(letter('B'))
      .uint64(commitAt)
      .int64(timeMicros - EPOCH_MICROS)
      .uint32(xid % 2 ** 32)
    return this.#out.copy()
  }

  #commit({ commitAt, end, timeMicros }: Committed): Buffer {
    this.#out.reset()
    this.#out
      .uint8(letter('C'))
      .uint8(0)
      .uint64(commitAt)
      .uint64(end)
      .int64(timeMicros - EPOCH_MICROS)
    return this.#out.copy()
  }

  #relation({ oid, name, columns, key, identity }: TableSpec): Buffer {
    const out = this.#out
    out.reset()
    out.uint8(letter('R')).uint32(oid).zeroEnded('public').zeroEnded(name)
    out.uint8(letter(identity === 'full' ? 'f' : 'd')).uint16(columns.length)
    for (const [at, column] of columns.entries()) {
      const isKey = identity === 'full' || key.includes(at)
      out
        .uint8(isKey ? 1 : 0)
        .zeroEnded(column.name)
        .uint32(TYPE_OIDS[column.type])
        .uint32(-1)
    }
    return out.copy()
  }

  #change(change: Change): Buffer {
    const out = this.#out
    out.reset()
    const { kind, spec } = change
    if (spec === null) return this.#message(change)
    if (kind === 'truncate') return out.uint8(letter('T')).uint32(1).uint8(0).uint32(spec.oid).copy()
    out.uint8(letter(kind === 'insert' ? 'I' : kind === 'update' ? 'U' : 'D')).uint32(spec.oid)
    if (kind === 'delete') this.#old(spec, change.old!)
    if (kind === 'update' && this.#sendsOld(spec, change)) this.#old(spec, change.old!)
    if (kind !== 'delete') {
      out.uint8(letter('N'))
      this.#tuple(spec, change.new!, change.old, false)
    }
    return out.copy()
  }

  #sendsOld(spec: TableSpec, change: Change): boolean {
    return spec.identity === 'full' || keyOf(spec, change.old!) !== keyOf(spec, change.new!)
  }

  #old(spec: TableSpec, old: Texts): void {
    this.#out.uint8(letter(spec.identity === 'full' ? 'O' : 'K'))
    this.#tuple(spec, old, null, spec.identity !== 'full')
  }

  #tuple(spec: TableSpec, texts: Texts, before: Texts | null, keyOnly: boolean): void {
    const out = this.#out
    out.uint16(texts.length)
    for (const [at, text] of texts.entries()) {
      if (text === null || (keyOnly && !spec.key.includes(at))) out.uint8(letter('n'))
      else if (before !== null && before[at] === text && isExternal(spec, at, text)) out.uint8(letter('u'))
      else out.uint8(letter('t')).counted(text)
    }
  }

  #message({ at, prefix }: Change): Buffer {
    return this.#out.uint8(letter('M')).uint8(1).uint64(at).zeroEnded(prefix).uint32(0).copy()
  }
}
