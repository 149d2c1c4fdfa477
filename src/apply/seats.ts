import { TupleView } from '../change/change.js'
import type { Relation } from '../change/relation.js'
import { assert, DivergedError } from '../errors.js'
import { type AppliedTable, type BoundRelation, bindRelation } from './binding.js'
import type { CommitLog } from './commit-log.js'
import { type BoundFilter, type Entering, insertKept, removeKept, updateKept } from './kept-rows.js'
import { type KeptChange, show, TableLog } from './table-log.js'

const NO_ORDER = new Int32Array(0)

/** One relation of the stream, and the table that its changes go to, which may be replaced while the stream goes on. */
interface Seat {
  applied: AppliedTable
  /** As it was announced last. */
  relation: Relation | null
  /** What the decoder hands back with the relation's changes. It keeps it, so it is changed in place. */
  bound: BoundRelation | null
  /** The changes that are set aside while the table is read anew; null if it is not. */
  log: TableLog | null
}

/** Where the changes of each relation go. */
export class Seats {
  readonly #seats: Map<number, Seat>
  readonly #old = new TupleView()
  readonly #row = new TupleView()
  /** The shape in which changes were replayed last. */
  #replayed: BoundRelation | null = null
  readonly #onChanged: (oid: number, error: DivergedError) => void
  /** Those whose changes are set aside. */
  readonly #logs = new Set<TableLog>()

  /** `onChanged` is told of a relation that no longer has what was mapped; it is to call `setAside`. */
  constructor(tables: readonly AppliedTable[], onChanged: (oid: number, error: DivergedError) => void) {
    this.#seats = new Map(
      tables.map(applied => [applied.mapping.oid, { applied, relation: null, bound: null, log: null }]),
    )
    this.#onChanged = onChanged
  }

  /** Whether the relation's changes go anywhere. */
  has(oid: number): boolean {
    return this.#seats.has(oid)
  }

  /** What to hand back with the relation's changes; null if nobody wants them. */
  announce(relation: Relation): BoundRelation | null {
    const seat = this.#seats.get(relation.oid)
    if (seat === undefined) return null
    seat.relation = relation
    seat.bound = null
    if (seat.log === null) {
      try {
        seat.bound = bindRelation(relation, seat.applied)
        return seat.bound
      } catch (error) {
        if (!(error instanceof DivergedError)) throw error
        this.#onChanged(relation.oid, error)
      }
    }
    const { mapping, table } = seat.applied
    assert(seat.log !== null, 'a relation that has changed is set aside')
    seat.bound = { mapping, table, order: NO_ORDER, relation, filter: null, log: seat.log, isStale: false }
    return seat.bound
  }

  /** One more relation is wanted; its changes are set aside. */
  add(closed: AppliedTable): void {
    const { oid } = closed.mapping
    this.#seats.set(oid, { applied: closed, relation: null, bound: null, log: null })
    this.setAside(oid, closed)
  }

  /** The relation is wanted no more. */
  drop(oid: number): void {
    const seat = this.#seats.get(oid)
    if (seat === undefined) return
    this.#seats.delete(oid)
    if (seat.log !== null) this.#logs.delete(seat.log)
    // The decoder keeps what it was bound to.
    if (seat.bound !== null) seat.bound.log = null
  }

  /** From now on the relation's changes are kept, in order, and not applied; `closed` is a table that can't be read. Once more: those kept are forgotten. */
  setAside(oid: number, closed: AppliedTable): void {
    const seat = this.#seats.get(oid)!
    if (seat.log !== null) this.#logs.delete(seat.log)
    seat.log = new TableLog()
    this.#logs.add(seat.log)
    seat.applied = closed
    const { bound } = seat
    if (bound === null) return
    bound.table = closed.table
    bound.log = seat.log
  }

  /** Nothing more is kept of the relation's changes, which go on not being applied. */
  forget(oid: number): void {
    this.#seats.get(oid)?.log?.giveUp()
  }

  /** The transaction in progress is published, or was taken back. */
  committed(xid: number): void {
    for (const log of this.#logs) log.commit(xid)
  }

  aborted(): void {
    for (const log of this.#logs) log.abort()
  }

  /** The transactions that were set aside. @throws {DivergedError} if there were too many. */
  kept(oid: number): TableLog['transactions'] {
    const { log, applied } = this.#seats.get(oid)!
    assert(log !== null, 'what is read anew was set aside')
    if (log.isOver)
      throw new DivergedError(applied.mapping.name, 'more was written while it was read than is kept.')
    return log.transactions
  }

  /** The relation's changes go to this table from now on, which has all that were set aside. */
  seat(oid: number, applied: AppliedTable): void {
    const seat = this.#seats.get(oid)!
    if (seat.log !== null) this.#logs.delete(seat.log)
    seat.log = null
    seat.applied = applied
    const { bound, relation } = seat
    if (bound === null || relation === null) return
    bound.log = null
    try {
      const { mapping, table, order, filter } = bindRelation(relation, applied)
      Object.assign(bound, { mapping, table, order, filter })
    } catch (error) {
      if (!(error instanceof DivergedError)) throw error
      // It was announced before the table was changed, and will be again before the next change.
      bound.isStale = true
    }
  }

  /**
   * Applies what was set aside, and takes note of it in the log if the table is bounded. Of a table with a filter, gives back the row that the change
   * does not say all of; `admitted` are those that were asked for in the same transaction.
   */
  replay(
    change: KeptChange,
    applied: AppliedTable,
    seq: number,
    commits: CommitLog | null,
    admitted: ReadonlySet<string>,
  ): Entering | null {
    const { table } = applied
    if (change.kind === 'truncate') {
      table.truncate(seq)
      commits?.truncate(table)
      return null
    }
    const bound = this.#boundFor(change.relation!, applied)
    const old = change.old === null ? null : show(change.old, this.#old)
    const row = change.row === null ? null : show(change.row, this.#row)
    if (bound.filter !== null) return replayKept(bound, bound.filter, change, old, row, seq, admitted)
    const { order } = bound
    if (change.kind === 'insert') table.insert(row!, order, seq)
    else if (change.kind === 'update') table.update(old, change.oldIsFull, row!, order, seq)
    else table.remove(old!, order, seq, change.oldIsFull)
    if (row === null) commits?.remove(table, old!, order)
    else commits?.put(table, old, change.oldIsFull, row, order)
    return null
  }

  #boundFor(relation: Relation, applied: AppliedTable): BoundRelation {
    if (this.#replayed?.relation !== relation || this.#replayed.table !== applied.table)
      this.#replayed = bindRelation(relation, applied)
    return this.#replayed
  }
}

/** A change of a table that can't be written: kept if it is read anew. @throws {DivergedError} if it can't be understood. */
export function setAside(
  { log, relation, mapping, isStale }: BoundRelation,
  kind: KeptChange['kind'],
  old: TupleView | null,
  oldIsFull: boolean,
  row: TupleView | null,
): void {
  if (isStale) throw new DivergedError(mapping.name, 'a change came in a shape that it no longer has.')
  log?.add(kind, relation, old, oldIsFull, row)
}

function replayKept(
  bound: BoundRelation,
  filter: BoundFilter,
  { kind, oldIsFull }: KeptChange,
  old: TupleView | null,
  row: TupleView | null,
  seq: number,
  admitted: ReadonlySet<string>,
): Entering | null {
  const begun = (): number => seq
  if (kind === 'insert') return insertKept(bound, filter, row!, begun)
  if (kind === 'update') return updateKept(bound, filter, old, oldIsFull, row!, begun, admitted)
  removeKept(bound, old!, oldIsFull, begun)
  return null
}
