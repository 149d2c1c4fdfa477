import { TEXT, TupleView } from '../change/change.js'
import type { Relation } from '../change/relation.js'

/** Bytes of changes that are kept for one table; beyond that everything is loaded anew, since the slot then keeps them. */
const BYTES_MAX = 64 * 2 ** 20
/** What a change takes besides its values. */
const CHANGE_BYTES = 100

/** A tuple as it came, with its bytes copied. */
export interface KeptTuple {
  readonly kinds: Uint8Array
  readonly ends: Int32Array
  readonly bytes: Buffer
}

/** One change of the table, in the shape that its relation had then. */
export interface KeptChange {
  /** `thin`: some of its partitions were truncated. */
  readonly kind: 'insert' | 'update' | 'delete' | 'truncate' | 'thin'
  readonly relation: Relation | null
  readonly old: KeptTuple | null
  readonly oldIsFull: boolean
  readonly row: KeptTuple | null
}

interface KeptTransaction {
  /** As the stream has it: 32 bits. */
  readonly xid: number
  readonly changes: readonly KeptChange[]
}

/** The changes of one table that is being read anew beside the stream, transaction by transaction, to be applied to what was read. */
export class TableLog {
  readonly transactions: KeptTransaction[] = []
  #pending: KeptChange[] = []
  #bytes = 0

  /** Whether there were more changes than are kept. */
  get isOver(): boolean {
    return this.#bytes > BYTES_MAX
  }

  add(
    kind: KeptChange['kind'],
    relation: Relation | null,
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView | null,
  ): void {
    if (this.isOver) return
    const change = {
      kind,
      relation,
      old: old === null ? null : keep(old),
      oldIsFull,
      row: row === null ? null : keep(row),
    }
    this.#bytes += CHANGE_BYTES + (change.old?.bytes.length ?? 0) + (change.row?.bytes.length ?? 0)
    this.#pending.push(change)
  }

  /** Keeps nothing any more. */
  giveUp(): void {
    this.#bytes = Number.POSITIVE_INFINITY
    this.#pending = []
    this.transactions.length = 0
  }

  commit(xid: number): void {
    if (this.#pending.length === 0) return
    this.transactions.push({ xid, changes: this.#pending })
    this.#pending = []
  }

  /** The transaction in progress was taken back, or had come before. */
  abort(): void {
    this.#pending = []
  }
}

function keep(tuple: TupleView): KeptTuple {
  const { count } = tuple
  const kinds = tuple.kinds.slice(0, count)
  const ends = new Int32Array(count)
  let size = 0
  for (let column = 0; column < count; column++) {
    if (kinds[column] === TEXT) size += tuple.ends[column]! - tuple.starts[column]!
    ends[column] = size
  }
  const bytes = Buffer.allocUnsafe(size)
  for (let column = 0, at = 0; column < count; column++) {
    if (kinds[column] === TEXT) bytes.set(tuple.bytes.subarray(tuple.starts[column], tuple.ends[column]), at)
    at = ends[column]!
  }
  return { kinds, ends, bytes }
}

/** Points `view` at what was kept. */
export function show({ kinds, ends, bytes }: KeptTuple, view: TupleView): TupleView {
  view.bytes = bytes
  view.count = kinds.length
  view.kinds.set(kinds)
  view.ends.set(ends)
  view.starts[0] = 0
  view.starts.set(ends.subarray(0, Math.max(0, ends.length - 1)), 1)
  return view
}
