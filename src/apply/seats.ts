import { TupleView } from '../change/change.js'
import type { Relation } from '../change/relation.js'
import { assert, DivergedError } from '../errors.js'
import { relationOids } from '../mapping/relations.js'
import { type AppliedTable, type BoundRelation, bindRelation } from './binding.js'
import type { CommitLog } from './commit-log.js'
import { type BoundFilter, type Entering, insertKept, removeKept, updateKept } from './kept-rows.js'
import { type KeptChange, show, TableLog } from './table-log.js'
import { ThinnedError } from './truncated.js'

const NO_ORDER = new Int32Array(0)

/** A table that the changes of some relations go to, which may be replaced while the stream goes on: of itself, or of its partitions. */
interface Seat {
  applied: AppliedTable
  /** What the decoder hands back with each relation's changes, by OID, once it is announced. It keeps it, so it is changed in place. */
  readonly bounds: Map<number, BoundRelation>
  /** The changes that are set aside while the table is read anew; null if it is not. */
  log: TableLog | null
}

/** Where the changes of each relation go. */
export class Seats {
  /** By the tables' own OIDs. */
  readonly #seats = new Map<number, Seat>()
  /** By the OIDs of all relations that are these tables. */
  readonly #relations = new Map<number, Seat>()
  readonly #old = new TupleView()
  readonly #row = new TupleView()
  /** The shape in which changes were replayed last. */
  #replayed: BoundRelation | null = null
  readonly #onChanged: (oid: number, error: DivergedError) => void
  /** Those whose changes are set aside. */
  readonly #logs = new Set<TableLog>()

  /** `onChanged` is told of a table a relation of which no longer has what was mapped; it is to call `setAside`. */
  constructor(tables: readonly AppliedTable[], onChanged: (oid: number, error: DivergedError) => void) {
    for (const applied of tables) this.#take(applied)
    this.#onChanged = onChanged
  }

  #take(applied: AppliedTable): Seat {
    const seat: Seat = { applied, bounds: new Map(), log: null }
    this.#seats.set(applied.mapping.oid, seat)
    for (const oid of relationOids(applied.mapping)) this.#relations.set(oid, seat)
    return seat
  }

  /** Whether the relation's changes go anywhere. */
  has(oid: number): boolean {
    return this.#relations.has(oid)
  }

  /**
   * The tables that may look different once this relation is announced: the one whose it is, or, of one that nobody knows, all partitioned ones,
   * since it may be a new partition.
   */
  concernedBy({ oid }: Relation): number[] {
    const seat = this.#relations.get(oid)
    if (seat !== undefined) return [seat.applied.mapping.oid]
    return [...this.#seats.values()]
      .filter(({ applied }) => applied.mapping.partitions !== null)
      .map(({ applied }) => applied.mapping.oid)
  }

  /** The table whose relation has this name, `schema.table`; the name itself if there is none. */
  tableOf(name: string): string {
    for (const { mapping } of [...this.#seats.values()].map(({ applied }) => applied))
      if (mapping.partitions?.some(({ schema, table }) => `${schema}.${table}` === name)) return mapping.name
    return name
  }

  /** What to hand back with the relation's changes; null if nobody wants them. */
  announce(relation: Relation): BoundRelation | null {
    const seat = this.#relations.get(relation.oid)
    if (seat === undefined) return null
    seat.bounds.delete(relation.oid)
    const bound = this.#bind(relation, seat)
    seat.bounds.set(relation.oid, bound)
    return bound
  }

  #bind(relation: Relation, seat: Seat): BoundRelation {
    if (seat.log === null) {
      try {
        return bindRelation(relation, seat.applied)
      } catch (error) {
        if (!(error instanceof DivergedError)) throw error
        this.#onChanged(seat.applied.mapping.oid, error)
      }
    }
    const { mapping, table } = seat.applied
    assert(seat.log !== null, 'a relation that has changed is set aside')
    return { mapping, table, order: NO_ORDER, relation, filter: null, log: seat.log, isStale: false }
  }

  /** One more table is wanted; its changes are set aside. */
  add(closed: AppliedTable): void {
    this.#take(closed)
    this.setAside(closed.mapping.oid, closed)
  }

  /** The table is wanted no more. */
  drop(oid: number): void {
    const seat = this.#seats.get(oid)
    if (seat === undefined) return
    this.#seats.delete(oid)
    if (seat.log !== null) this.#logs.delete(seat.log)
    for (const relation of relationOids(seat.applied.mapping)) this.#leave(relation, seat)
  }

  /** The relation's changes are not this table's any more. The decoder keeps what it was bound to. */
  #leave(relation: number, seat: Seat): void {
    if (this.#relations.get(relation) === seat) this.#relations.delete(relation)
    const bound = seat.bounds.get(relation)
    if (bound !== undefined) bound.log = null
    seat.bounds.delete(relation)
  }

  /**
   * From now on the table's changes are kept, in order, and not applied; `closed` is a table that can't be read, and its relations are the table's
   * from now on. Once more: those kept are forgotten. Returns the relations that were not among the table's before.
   */
  setAside(oid: number, closed: AppliedTable): number[] {
    const seat = this.#seats.get(oid)!
    if (seat.log !== null) this.#logs.delete(seat.log)
    seat.log = new TableLog()
    this.#logs.add(seat.log)
    const joined = this.#follow(seat, closed)
    for (const bound of seat.bounds.values()) {
      bound.mapping = closed.mapping
      bound.table = closed.table
      bound.log = seat.log
    }
    return joined
  }

  /** Partitions come and go. */
  #follow(seat: Seat, applied: AppliedTable): number[] {
    const relations = relationOids(applied.mapping)
    for (const relation of relationOids(seat.applied.mapping))
      if (!relations.includes(relation)) this.#leave(relation, seat)
    const joined = relations.filter(relation => this.#relations.get(relation) !== seat)
    for (const relation of joined) this.#relations.set(relation, seat)
    seat.applied = applied
    return joined
  }

  /** Tells that the table no longer is what it was. */
  changed(error: DivergedError, oid: number): void {
    this.#onChanged(oid, error)
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

  /** The relations' changes go to this table from now on, which has all that were set aside. */
  seat(oid: number, applied: AppliedTable): void {
    const seat = this.#seats.get(oid)!
    if (seat.log !== null) this.#logs.delete(seat.log)
    seat.log = null
    this.#follow(seat, applied)
    for (const bound of seat.bounds.values()) rebind(bound, applied)
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
    const { table, mapping } = applied
    if (change.kind === 'thin') {
      if (table.isEmpty) return null
      throw new ThinnedError(mapping.name)
    }
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

function rebind(bound: BoundRelation, applied: AppliedTable): void {
  bound.log = null
  try {
    const { mapping, table, order, filter } = bindRelation(bound.relation, applied)
    Object.assign(bound, { mapping, table, order, filter })
  } catch (error) {
    if (!(error instanceof DivergedError)) throw error
    // It was announced before the table was changed, and will be again before the next change.
    bound.isStale = true
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
