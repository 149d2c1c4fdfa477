import { type ChangeSink, NOT_SENT, NULL, TEXT, type TupleView, UNCHANGED } from '../../src/change/change.js'
import { formatLsn, LSN_ZERO, type Lsn, maxLsn } from '../../src/change/lsn.js'
import type { Relation } from '../../src/change/relation.js'

/** A value as a test writes it: its text, null, or why it is not there. */
export type RecordedValue = string | null | typeof unchanged | typeof notSent
export const unchanged = Symbol('unchanged')
export const notSent = Symbol('not sent')

export type RecordedRow = Readonly<Record<string, RecordedValue>>

export type Recorded =
  | { readonly kind: 'begin'; readonly xid: number; readonly commitLsn: string | null }
  | { readonly kind: 'relation'; readonly relation: Relation }
  | { readonly kind: 'insert'; readonly table: string; readonly row: RecordedRow }
  | {
      readonly kind: 'update'
      readonly table: string
      readonly old: RecordedRow | null
      readonly oldIsFull: boolean
      readonly row: RecordedRow
    }
  | {
      readonly kind: 'delete'
      readonly table: string
      readonly old: RecordedRow
      readonly oldIsFull: boolean
    }
  | {
      readonly kind: 'truncate'
      readonly tables: readonly string[]
      readonly cascade: boolean
      readonly restartIdentity: boolean
    }
  | {
      readonly kind: 'message'
      readonly prefix: string
      readonly content: string
      readonly transactional: boolean
    }
  | { readonly kind: 'commit'; readonly endLsn: string; readonly commitTimeMs: number }
  | { readonly kind: 'progress'; readonly lsn: string }

/** Writes down what a decoder says, with copies of all values. */
export class RecordingSink implements ChangeSink<Relation> {
  readonly all: Recorded[] = []
  /** Up to where everything was said. */
  position = LSN_ZERO

  constructor(readonly wants: (relation: Relation) => boolean = () => true) {}

  /** What was recorded and is not about relations, transactions' borders or progress. */
  get changes(): Recorded[] {
    return this.all.filter(({ kind }) => !['begin', 'commit', 'relation', 'progress'].includes(kind))
  }

  begin(xid: number, commitLsn: Lsn | null): void {
    this.all.push({ kind: 'begin', xid, commitLsn: commitLsn === null ? null : formatLsn(commitLsn) })
  }

  relation(relation: Relation): Relation | null {
    this.all.push({ kind: 'relation', relation })
    return this.wants(relation) ? relation : null
  }

  insert(table: Relation, row: TupleView): void {
    this.all.push({ kind: 'insert', table: table.name, row: rowOf(table, row) })
  }

  update(table: Relation, old: TupleView | null, oldIsFull: boolean, row: TupleView): void {
    const before = old === null ? null : rowOf(table, old)
    this.all.push({ kind: 'update', table: table.name, old: before, oldIsFull, row: rowOf(table, row) })
  }

  delete(table: Relation, old: TupleView, oldIsFull: boolean): void {
    this.all.push({ kind: 'delete', table: table.name, old: rowOf(table, old), oldIsFull })
  }

  truncate(tables: readonly Relation[], cascade: boolean, restartIdentity: boolean): void {
    this.all.push({ kind: 'truncate', tables: tables.map(({ name }) => name), cascade, restartIdentity })
  }

  message(prefix: string, content: Uint8Array, transactional: boolean): void {
    this.all.push({ kind: 'message', prefix, content: Buffer.from(content).toString(), transactional })
  }

  commit(endLsn: Lsn, commitTimeMs: number): void {
    this.position = endLsn
    this.all.push({ kind: 'commit', endLsn: formatLsn(endLsn), commitTimeMs })
  }

  progress(lsn: Lsn): void {
    this.position = maxLsn(this.position, lsn)
    this.all.push({ kind: 'progress', lsn: formatLsn(lsn) })
  }
}

function rowOf(table: Relation, tuple: TupleView): RecordedRow {
  return Object.fromEntries(
    table.columns.slice(0, tuple.count).map(({ name }, column) => [name, valueOf(tuple, column)]),
  )
}

function valueOf(tuple: TupleView, column: number): RecordedValue {
  switch (tuple.kinds[column]) {
    case TEXT:
      return Buffer.from(tuple.bytes.slice(tuple.starts[column], tuple.ends[column])).toString()
    case NULL:
      return null
    case UNCHANGED:
      return unchanged
    case NOT_SENT:
      return notSent
    default:
      throw new Error(`A tuple has the value kind ${tuple.kinds[column]}.`)
  }
}
