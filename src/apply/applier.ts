import type { ChangeBatch, ChangeSink, TupleView } from '../change/change.js'
import type { Lsn } from '../change/lsn.js'
import type { Relation } from '../change/relation.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import {
  asError,
  CacheError,
  DecodeError,
  type DivergedError,
  InternalError,
  MemoryLimitError,
} from '../errors.js'
import type { Logger } from '../observe.js'
import type { Runtime } from '../runtime.js'
import type { Store } from '../store/store.js'
import type { TableStore } from '../store/table.js'
import type { AppliedTable, BoundRelation } from './binding.js'
import type { CommitLog } from './commit-log.js'
import type { Fault } from './fault.js'
import { type AskEntering, FilteredWrites } from './filtered-writes.js'
import { Seats, setAside } from './seats.js'
import { ShapeHints, type ShapeQuestions } from './shape-hints.js'
import { Tidying } from './tidying.js'
import { Touches } from './touches.js'
import { ThinnedError, truncatedTables } from './truncated.js'

/** Changes applied between two looks at the clock. */
const CHANGES_PER_LOOK = 256
/** Rows tidied up for each such run: more than can become due, so that nothing piles up. */
const TIDIED_PER_LOOK = 2 * CHANGES_PER_LOOK

/** How many of the newest transactions are asked for after a restart of the server: it may have lost all that came after some point. */
const XIDS_KEPT = 8

export interface ApplierOptions extends ShapeQuestions {
  readonly store: Store
  readonly tables: readonly AppliedTable[]
  readonly runtime: Runtime
  /** The longest turn of the event loop, in milliseconds. */
  readonly sliceMs: number
  readonly logger: Logger
  /** Where the changes of bounded tables are kept for a while, whether they were applied or not. */
  readonly log?: CommitLog
  /** A commit has become visible, or (with `changed` false) the position has moved without one. */
  readonly onPosition: (position: Lsn, changed: boolean, commitTimeMs: number) => void
  /** A commit has come that changes none of the tables. */
  readonly onSilentCommit?: () => void
  /** The transaction in progress was taken back. */
  readonly onAborted: () => void
  /**
   * A row with this key may have come into a table with a filter, and transaction `xid` does not say all of it. Nothing more is applied until
   * this resolves. Without it the stream ends.
   */
  readonly onEntering?: AskEntering
  /** A table no longer has what was mapped, or lost rows that can't be told: `setAside` is to be called. Without it the stream ends. */
  readonly onChanged?: (oid: number, error: DivergedError) => void
}

/**
 * The only writer: applies transactions to the store in slices, unseen, and makes each visible at its commit.
 *
 * A table that outgrows its memory is given up and the rest goes on; anything else that goes wrong ends the stream.
 */
export class Applier implements ChangeSink<BoundRelation> {
  readonly #options: ApplierOptions
  readonly #store: Store
  #log: CommitLog | null
  readonly #seats: Seats
  readonly #hints: ShapeHints
  readonly #filtered: FilteredWrites
  /** Whether a transaction is in progress. */
  #isWithin = false
  /** The number of the transaction in progress, 0 until it has changed something. */
  #seq = 0
  /** The id of the transaction in progress. */
  #xid = 0
  /** Whether it has changed a table that is not read from memory any more. */
  #hasSetAside = false
  /** Where its commit begins, if the stream says. */
  #commitLsn: Lsn | null = null
  readonly #newest: number[] = []
  #fault: Fault | null = null
  readonly #tidying: Tidying

  constructor(options: ApplierOptions) {
    this.#options = options
    this.#store = options.store
    this.#log = options.log ?? null
    this.#seats = new Seats(options.tables, (oid, error) => {
      if (options.onChanged === undefined) throw error
      options.onChanged(oid, error)
    })
    this.#filtered = new FilteredWrites(this.#begun, options.onEntering)
    this.#hints = new ShapeHints(this.#seats, options)
    this.#tidying = new Tidying(options.store, options.runtime, options.sliceMs, TIDIED_PER_LOOK)
    this.#store.onReleased(() => this.#tidying.begin())
  }

  /**
   * Applies all of `batch`, in turns of at most about `sliceMs`.
   *
   * @throws {DivergedError} if it contradicts the store. @throws {DecodeError} from the batch. @throws {InternalError}
   */
  async apply(batch: ChangeBatch<BoundRelation>): Promise<void> {
    const { clock, timers } = this.#options.runtime
    let sliceEnds = clock.monotonicMs() + this.#options.sliceMs
    while (this.#deliver(batch) || this.held) {
      if (this.held) await this.#ask()
      this.#store.maintain(TIDIED_PER_LOOK)
      if (clock.monotonicMs() < sliceEnds) continue
      await timers.yield()
      sliceEnds = clock.monotonicMs() + this.#options.sliceMs
    }
    if (this.#store.maintain(TIDIED_PER_LOOK)) this.#tidying.begin()
  }

  #deliver(batch: ChangeBatch<BoundRelation>): boolean {
    try {
      return batch.deliver(this, CHANGES_PER_LOOK)
    } catch (error) {
      if (error instanceof DecodeError) this.#fault = this.#faultOf(error.table ?? null)
      else if (!(error instanceof CacheError) || error instanceof InternalError)
        this.#fault ??= this.#faultOf(null)
      throw error
    }
  }

  #faultOf(relation: string | null): Fault {
    const table = relation === null ? null : this.#seats.tableOf(relation)
    return { table, position: this.#commitLsn ?? this.#store.position }
  }

  /** What brought the last failed call of `apply` about, if it was what the stream holds; null if it was not. */
  get fault(): Fault | null {
    return this.#fault
  }

  async #ask(): Promise<void> {
    if (this.#filtered.isWaiting)
      await this.#filtered.enter(this.#xid, (bound, error) => this.#giveUp(bound, error))
    await this.#hints.ask(this.#xid)
  }

  /** Takes note of the keys of a whole table that are changed from now on, until the table's `touches` is null again. One at a time. */
  touch(table: TableStore): Touches {
    const touches = new Touches(table.format, this.#isWithin ? this.#xid : null)
    table.touches = touches
    return touches
  }

  /** Whether the last transaction has come to its end, and the next one has not begun: it may have changed nothing but what is set aside. */
  get isBetween(): boolean {
    return !this.#isWithin
  }

  /** Nothing more is to be delivered until the server has been asked. */
  get held(): boolean {
    return this.#filtered.isWaiting || this.#hints.isWaiting
  }

  /** Changes of bounded tables are kept here as well; from the next transaction on. */
  keep(log: CommitLog): void {
    this.#log = log
  }

  /** The relation's changes are kept from now on, until `adopt`; `closed` can't be read. */
  add(closed: AppliedTable): void {
    this.#seats.add(closed)
  }

  /** Nothing of the relation is wanted any more. */
  drop(oid: number): void {
    this.#seats.drop(oid)
  }

  /**
   * From now on the table's changes are kept and not applied, until `adopt`; `closed` can't be read. Returns the relations that were not the table's
   * before: the decoder is to ask about them once more.
   */
  setAside(oid: number, closed: AppliedTable): number[] {
    return this.#seats.setAside(oid, closed)
  }

  /** The table is not going to be read anew: what was set aside for that, and what comes, is dropped. */
  forget(oid: number): void {
    this.#seats.forget(oid)
  }

  /**
   * Makes a table that was read anew under `snapshot` part of the store, as one commit, with the changes that the query did not see. Between two
   * transactions, at a position that every transaction that it saw is before.
   *
   * @throws {DivergedError} if they contradict it. @throws {MemoryLimitError}
   */
  async adopt(oid: number, applied: AppliedTable, snapshot: SqlSnapshot): Promise<void> {
    const { clock, timers } = this.#options.runtime
    const kept = this.#seats.kept(oid)
    const { admitted } = this.#filtered
    const seq = this.#store.begin()
    try {
      let sliceEnds = clock.monotonicMs() + this.#options.sliceMs
      let count = 0
      for (const { xid, changes } of kept) {
        if (snapshot.sees(snapshot.widen(xid))) continue
        // What the query did not see, others may not see yet.
        this.#store.recent.add(xid, [applied.table])
        this.#log?.begin(xid)
        this.#filtered.reset()
        for (const change of changes) {
          const entering = this.#seats.replay(change, applied, seq, this.#log, admitted)
          if (entering !== null) await this.#filtered.enterAnew(applied, entering, xid, seq)
          if (++count % CHANGES_PER_LOOK !== 0 || clock.monotonicMs() < sliceEnds) continue
          await timers.yield()
          sliceEnds = clock.monotonicMs() + this.#options.sliceMs
        }
        this.#log?.commit(this.#store.position)
      }
    } catch (error) {
      this.#log?.abort()
      while (this.#store.abort(CHANGES_PER_LOOK));
      throw error
    }
    this.#seats.seat(oid, applied)
    this.#store.adopt(applied.table)
  }

  /** Takes back the transaction in progress, in slices: its stream was cut off and will send it again from its beginning. */
  async cutOff(): Promise<void> {
    this.#isWithin = false
    this.#seq = 0
    this.#log?.abort()
    this.#hints.reset()
    this.#filtered.reset()
    this.#seats.aborted()
    while (this.#store.abort(CHANGES_PER_LOOK)) await this.#options.runtime.timers.yield()
    this.#options.onAborted()
  }

  /** Ends the tidying that goes on between batches; the next stream resumes it. */
  stop(): void {
    this.#tidying.stop()
  }

  /** A stream begins, or goes on where the last one was cut off. */
  start(): void {
    this.#fault = null
    this.#tidying.start()
  }

  /** The ids, of 32 bits, of the newest transactions that were made visible; a few. */
  get newestXids(): readonly number[] {
    return this.#newest
  }

  begin(xid: number, commitLsn: Lsn | null = null): void {
    this.#isWithin = true
    this.#seq = 0
    this.#xid = xid
    this.#hasSetAside = false
    this.#commitLsn = commitLsn
    this.#hints.begin()
    this.#filtered.reset()
    this.#log?.begin(xid)
  }

  relation(relation: Relation): BoundRelation | null {
    const bound = this.#seats.announce(relation)
    this.#hints.announced(relation)
    return bound
  }

  // Hot: once per change. Guarded by benchmarks/apply.ts.
  insert(bound: BoundRelation, row: TupleView): void {
    const { table } = bound
    if (table.failed !== null) return this.#setAside(bound, 'insert', null, false, row)
    table.touches?.changed(null, row, bound.order, this.#xid)
    try {
      if (bound.filter !== null) return this.#filtered.insert(bound, bound.filter, row)
      table.insert(row, bound.order, this.#begun())
      this.#log?.put(table, null, false, row, bound.order)
    } catch (error) {
      this.#giveUp(bound, error)
    }
  }

  update(bound: BoundRelation, old: TupleView | null, oldIsFull: boolean, row: TupleView): void {
    const { table } = bound
    if (table.failed !== null) return this.#setAside(bound, 'update', old, oldIsFull, row)
    table.touches?.changed(old, row, bound.order, this.#xid)
    try {
      if (bound.filter !== null) return this.#filtered.update(bound, bound.filter, old, oldIsFull, row)
      table.update(old, oldIsFull, row, bound.order, this.#begun())
      this.#log?.put(table, old, oldIsFull, row, bound.order)
    } catch (error) {
      this.#giveUp(bound, error)
    }
  }

  delete(bound: BoundRelation, old: TupleView, oldIsFull: boolean): void {
    const { table } = bound
    if (table.failed !== null) return this.#setAside(bound, 'delete', old, oldIsFull, null)
    table.touches?.changed(old, null, bound.order, this.#xid)
    try {
      if (bound.filter !== null) return this.#filtered.remove(bound, old, oldIsFull)
      table.remove(old, bound.order, this.#begun(), oldIsFull)
      this.#log?.remove(table, old, bound.order)
    } catch (error) {
      this.#giveUp(bound, error)
    }
  }

  truncate(bounds: readonly BoundRelation[]): void {
    const { emptied, thinned } = truncatedTables(bounds)
    for (const bound of emptied) {
      const { table } = bound
      if (table.failed !== null) {
        this.#setAside(bound, 'truncate', null, false, null)
        continue
      }
      table.touches?.emptied(this.#xid)
      table.truncate(this.#begun())
      this.#log?.truncate(table)
    }
    for (const bound of thinned) this.#thin(bound)
  }

  #setAside(...change: Parameters<typeof setAside>): void {
    this.#hasSetAside = true
    setAside(...change)
  }

  /** Partitions were truncated, whose rows can't be told from the others': the table is read anew, unless there are none. */
  #thin(bound: BoundRelation): void {
    const { mapping, table } = bound
    if (table.failed !== null) this.#setAside(bound, 'thin', null, false, null)
    else if (!table.isEmpty) this.#seats.changed(new ThinnedError(mapping.name), mapping.oid)
  }

  message(prefix: string, content: Uint8Array, transactional: boolean): void {
    this.#hints.message(prefix, content, transactional)
  }

  commit(endLsn: Lsn, commitTimeMs: number): void {
    this.#isWithin = false
    if (endLsn > this.#store.position) this.#seats.committed(this.#xid)
    else this.#seats.aborted()
    if (this.#seq === 0) {
      this.#log?.abort()
      // Whoever asks PostgreSQL for that table must not be shown less than the position says.
      if (this.#hasSetAside && endLsn > this.#store.position) this.#store.recent.add(this.#xid, [])
      this.progress(endLsn)
      if (!this.#filtered.leftOut) this.#options.onSilentCommit?.()
      return
    }
    this.#seq = 0
    if (endLsn <= this.#store.position) {
      // Delivered once more, as after a server crash that moved the slot back.
      this.#log?.abort()
      while (this.#store.abort(CHANGES_PER_LOOK));
      this.#options.onAborted()
      return
    }
    this.#store.publish(endLsn, this.#xid)
    if (this.#newest.length === XIDS_KEPT) this.#newest.shift()
    this.#newest.push(this.#xid)
    this.#log?.commit(endLsn)
    this.#options.onPosition(endLsn, true, commitTimeMs)
  }

  progress(lsn: Lsn): void {
    if (lsn <= this.#store.position) return
    this.#store.advance(lsn)
    this.#options.onPosition(lsn, false, 0)
  }

  readonly #begun = (): number => {
    if (this.#seq === 0) this.#seq = this.#store.begin()
    return this.#seq
  }

  #giveUp({ table, mapping }: BoundRelation, error: unknown): void {
    if (!(error instanceof MemoryLimitError)) {
      this.#fault = this.#faultOf(mapping.name)
      throw error instanceof CacheError ? error : notApplied(mapping.name, asError(error))
    }
    table.fail(error)
    this.#options.logger.error(error.message)
  }
}

function notApplied(table: string, cause: Error): InternalError {
  return new InternalError(`A change of table ${table} could not be applied: ${cause.name}.`, { cause })
}
