import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import { asError, CacheError, DatabaseReadError, TableReloadingError } from '../errors.js'
import type { TextRow } from '../runtime.js'
import type { GroupIndex, GroupValue } from '../store/group-index.js'
import type { PackedRow } from '../store/packed-row.js'
import type { TableStore } from '../store/table.js'
import type { AppliedTable } from './binding.js'
import type { CommitLog } from './commit-log.js'
import { ASK_AGAIN, type FillBatch, type Merged } from './fill-batch.js'
import { idOf } from './fill-image.js'
import { FILL_RULES, type FillRules } from './fill-rules.js'
import type { FillerOptions } from './filler-options.js'
import { askIn, onStandby, tellOfFill } from './fill-query.js'
import { readReply } from './fill-sql.js'
import { GroupBatch } from './group-batch.js'
import { Horizon } from './horizon.js'
import { KeyBatch } from './key-batch.js'
import { type FillCounts, TableFills } from './table-fills.js'
import {
  type FillAnswer,
  FillLateError,
  type Patience,
  type Wanted,
  WantedGroup,
  WantedKey,
} from './wanted.js'

/** Keys and groups that are asked for, or wait for their commit, at one time: one more is not begun. */
const WANTED_MAX = 20_000
/** How long a fill waits for its commit before the server is asked to flush its log. */
const NUDGE_AFTER_MS = 15
/** What had an answer of no use is asked for again after this long, so many times. */
const AGAIN_AFTER_MS = 20
const ATTEMPTS_MAX = 500

/**
 * Reads keys and groups of bounded tables from PostgreSQL and makes them known: what a query saw, brought to the visible state by the recent commits
 * that it did not see, as soon as the visible state has come as far as what it saw. Then they are of the visible commit, as all other rows in
 * memory are.
 */
export class Filler {
  readonly #options: FillerOptions
  readonly #rules: FillRules
  readonly #log: CommitLog
  readonly #tables = new Map<TableStore, TableFills>()
  /** Queries that were sent, or whose answer waits. */
  readonly #sent = new Set<FillBatch>()
  readonly #horizon = new Horizon()
  #underWay = 0
  /** Whether an ordinary snapshot was shown to see all that the slot's saw. */
  #isSettled = false
  #ended: Error | null = null

  constructor(options: FillerOptions) {
    this.#options = options
    this.#rules = options.rules ?? FILL_RULES
    this.#log = options.log
  }

  countsOf(table: AppliedTable): FillCounts {
    return this.#fillsOf(table).counts
  }

  /** Keys and groups that are asked for, or wait for their commit. */
  get underWay(): number {
    return this.#underWay
  }

  #fillsOf({ table }: { readonly table: TableStore }): TableFills {
    let fills = this.#tables.get(table)
    if (fills === undefined) {
      fills = new TableFills()
      this.#tables.set(table, fills)
    }
    return fills
  }

  /**
   * The row of this key, which is known from then on. `fresh` answers as soon as the query does, with what is at least as new as both
   * PostgreSQL and memory; else the answer is the visible state's.
   *
   * @throws {FillLateError} if that can't be had in time. Rejects with what the query rejects with, or the signal's reason when it aborts.
   */
  fill(table: AppliedTable, key: Buffer, fresh: boolean, signal?: AbortSignal): Promise<FillAnswer> {
    const id = idOf(key)
    return this.#want(table, id, () => new WantedKey(id, key), fresh, signal)
  }

  /** All rows with this value of an index, as `fill`. @throws {FillLateError} also if there are too many of them. */
  fillGroup(
    table: AppliedTable,
    value: GroupValue,
    fresh: boolean,
    signal?: AbortSignal,
  ): Promise<FillAnswer> {
    if (this.#fillsOf(table).isLarge(value.id)) return Promise.reject(new FillLateError())
    return this.#want(table, value.id, () => new WantedGroup(value), fresh, signal)
  }

  #want(
    table: AppliedTable,
    id: string,
    make: () => Wanted,
    fresh: boolean,
    signal: AbortSignal | undefined,
  ): Promise<FillAnswer> {
    if (signal?.aborted) return Promise.reject(asError(signal.reason))
    if (this.#ended !== null) return Promise.reject(this.#ended)
    const known = this.#fillsOf(table).wanted.get(id)
    // A query that was sent before the call may have seen less than a fresh read is to see.
    const isShared = known !== undefined && !(fresh && known.batch?.isSent)
    if (!isShared && this.#underWay >= WANTED_MAX) return Promise.reject(new FillLateError())
    const wanted = isShared ? known : this.#enlist(table, make())
    return wanted.wait(fresh, signal, () => this.#leave(wanted), this.#patience(wanted))
  }

  /** For whoever comes when the answer is there already, and only its commit is waited for. */
  #patience({ batch, attempts }: Wanted): Patience | null {
    return attempts > 0 || (batch !== null && batch.reply !== null) ? this.#options : null
  }

  /** A key or group has been forgotten on purpose: what is under way for it is not kept. */
  evicted(table: AppliedTable, evicted: Buffer | GroupValue): void {
    const id = 'id' in evicted ? evicted.id : idOf(evicted)
    const wanted = this.#fillsOf(table).wanted.get(id)
    if (wanted !== undefined) wanted.isCancelled = true
  }

  /** A query's answer has arrived: what its snapshot sees, all later ones see. */
  confirm(snapshot: SqlSnapshot, position: Lsn): void {
    this.#log.confirm(snapshot)
    this.#isSettled ||= snapshot.includes(this.#options.slotSnapshot)
    this.#horizon.note(snapshot, position, this.#options.position())
  }

  /** The visible state has come further, or the transaction in progress has been taken back: what waited for that is made known. */
  moved(): void {
    this.#horizon.move(this.#options.position())
    for (const batch of this.#sent) if (batch.reply !== null) this.#install(batch)
  }

  /**
   * The stream goes on after a cut. A server that was restarted meanwhile may use transaction ids again that were never written to its log; all that was
   * published, on the other hand, was written, and is visible.
   */
  resume(isSameServer: boolean): void {
    this.#ended = null
    if (isSameServer) return
    this.#horizon.forget()
    this.#log.confirmAll()
  }

  /** The table is given up: nothing of it will be made known any more. Whoever waits asks PostgreSQL itself. */
  drop(table: TableStore): void {
    const fills = this.#tables.get(table)
    if (fills === undefined) return
    this.#tables.delete(table)
    const error = new FillLateError()
    const wanted = fills.takeAll()
    for (const batch of this.#sent) {
      if (batch.table.table !== table) continue
      for (const each of batch.wanted.values()) wanted.add(each)
      batch.abort(error)
      this.#finish(batch)
    }
    this.#underWay -= wanted.size
    for (const each of wanted) each.reject(error)
  }

  /** Nothing will be made known any more, unless the stream is resumed. Whoever waits asks PostgreSQL itself. */
  end(): void {
    this.#ended = new FillLateError()
    for (const fills of this.#tables.values()) {
      for (const batch of fills.collecting.values()) batch.abort(this.#ended)
      fills.counts.cancelled += fills.wanted.size
      for (const each of fills.takeAll()) each.reject(this.#ended)
    }
    for (const batch of this.#sent) {
      batch.abort(this.#ended)
      for (const each of batch.wanted.values()) each.reject(this.#ended)
    }
    this.#sent.clear()
    this.#underWay = 0
    this.#log.keepAfter(Number.POSITIVE_INFINITY)
  }

  #enlist(table: AppliedTable, wanted: Wanted): Wanted {
    const fills = this.#fillsOf(table)
    fills.wanted.set(wanted.id, wanted)
    this.#underWay++
    this.#join(table, fills, wanted)
    return wanted
  }

  #join(table: AppliedTable, fills: TableFills, wanted: Wanted): void {
    const index = wanted instanceof WantedGroup ? wanted.value.index : null
    let batch = fills.collecting.get(index)
    if (batch === undefined) {
      batch = this.#makeBatch(table, index)
      fills.collecting.set(index, batch)
      const sending = batch
      this.#options.timers.microtask(() => {
        if (fills.collecting.get(index) === sending) this.#send(fills, index, sending)
      })
    }
    batch.add(wanted)
    if (batch.isFull) this.#send(fills, index, batch)
  }

  #makeBatch(table: AppliedTable, index: GroupIndex | null): FillBatch {
    return index === null ? new KeyBatch(table, this.#rules) : new GroupBatch(table, this.#rules, index)
  }

  #send(fills: TableFills, index: GroupIndex | null, batch: FillBatch): void {
    fills.collecting.delete(index)
    if (this.#ended !== null || batch.wanted.size === 0) return
    batch.logAfter = this.#rules.logFrom === 'confirmed' ? this.#log.confirmed : this.#log.newest
    batch.isSent = true
    this.#sent.add(batch)
    this.#keepLog()
    const statement = batch.statement()
    this.#options
      .run(session => askIn(session, statement, this.#rules), batch.signal)
      .then(answer => this.#replied(fills, batch, answer))
      .catch((error: unknown) => this.#failed(fills, batch, asError(error)))
  }

  #replied(fills: TableFills, batch: FillBatch, answer: readonly TextRow[]): void {
    if (!this.#sent.has(batch)) return
    const { mapping, table } = batch.table
    const read = readReply(mapping, table.format, answer)
    if (read.inRecovery) throw onStandby()
    const startedAt = this.#options.startedAt()
    if (startedAt !== null && read.startedAt !== startedAt) {
      this.#options.suspect()
      throw new FillLateError('The server was restarted or replaced by another one.')
    }
    const reply = { ...read, position: this.#options.normalise(read.position) }
    fills.counts.queries++
    tellOfFill(mapping.name, batch.wanted.size, reply.rows.size)
    this.confirm(reply.snapshot, reply.position)
    if (!this.#isSettled) {
      for (const wanted of batch.wanted.values()) this.#again(fills, batch, wanted)
      this.#finish(batch)
      return
    }
    batch.reply = reply
    this.#install(batch)
    if (batch.wanted.size > 0) this.#await(fills, batch, reply.position)
  }

  /** The visible state has not come as far yet as what the query saw. */
  #await(fills: TableFills, batch: FillBatch, position: Lsn): void {
    fills.counts.waits++
    for (const wanted of batch.wanted.values()) wanted.limit(this.#options)
    batch.cancelNudge = this.#options.timers.after(NUDGE_AFTER_MS, () => {
      if (position <= this.#options.position()) return
      fills.counts.nudges++
      this.#options.nudge()
    })
  }

  #failed(fills: TableFills, batch: FillBatch, cause: Error): void {
    if (!this.#sent.has(batch)) return
    fills.counts.failed++
    // So that it is noticed at once.
    if (cause instanceof TableReloadingError) this.#options.suspect()
    const isNamed = cause instanceof CacheError || cause instanceof FillLateError
    const error = isNamed ? cause : new DatabaseReadError(batch.table.mapping.name, { cause })
    for (const wanted of batch.wanted.values()) {
      this.#forget(fills, wanted)
      wanted.reject(error)
    }
    batch.wanted.clear()
    this.#finish(batch)
  }

  /** Makes known what may be. */
  #install(batch: FillBatch): void {
    const { table } = batch.table
    // It was given up in the middle of a commit, of which nothing is in the log from there on.
    if (table.failed !== null) {
      this.drop(table)
      return
    }
    const reply = batch.reply!
    const fills = this.#fillsOf(batch.table)
    const isReached = !this.#rules.wait || this.#options.position() >= reply.position
    const horizon = this.#horizon.xid
    if (!isReached && !batch.wantsFresh && batch.horizonTried === horizon) return
    batch.horizonTried = horizon
    const entries = this.#log.after(batch.logAfter, reply.snapshot)
    const merged = entries === null ? null : batch.merge(this.#rules.merge ? entries : [])
    for (const wanted of batch.wanted.values()) {
      const state = merged?.(wanted.id) ?? ASK_AGAIN
      if (state.kind === 'known') this.#answerFresh(fills, wanted, state.rows, reply.position)
      const isFast = batch.isFast(wanted, horizon)
      if (!isReached && !isFast) continue
      const rows = state.kind === 'known' ? state.rows : []
      if (batch.isPending(wanted, rows, this.#log)) continue
      if (state.kind === 'known') this.#makeKnown(fills, batch, wanted, rows, isFast && !isReached)
      else this.#giveUp(fills, batch, wanted, state)
    }
    if (batch.wanted.size === 0) this.#finish(batch)
  }

  #answerFresh(fills: TableFills, wanted: Wanted, rows: readonly PackedRow[], position: Lsn): void {
    if (!wanted.wantsFresh) return
    fills.counts.keys++
    fills.counts.rows += rows.length
    const reached = this.#options.position()
    const since = Number.POSITIVE_INFINITY
    wanted.resolveFresh({ rows, seq: null, since, position: position > reached ? position : reached })
  }

  #makeKnown(
    fills: TableFills,
    batch: FillBatch,
    wanted: Wanted,
    rows: readonly PackedRow[],
    fast: boolean,
  ): void {
    const kept = wanted.isCancelled ? batch.passOn(wanted, rows) : batch.install(wanted, rows)
    if (kept === null) return
    if (wanted.isCancelled) fills.counts.cancelled++
    fills.counts.keys++
    fills.counts.rows += rows.length
    if (fast) fills.counts.fast++
    batch.wanted.delete(wanted.id)
    this.#forget(fills, wanted)
    wanted.resolve({ ...kept, seq: this.#options.visible(), position: this.#options.position() })
  }

  /** What the query saw is of no use. */
  #giveUp(
    fills: TableFills,
    batch: FillBatch,
    wanted: Wanted,
    state: Exclude<Merged, { kind: 'known' }>,
  ): void {
    if (state.kind === 'too large') {
      fills.noteLarge(wanted.id)
      batch.wanted.delete(wanted.id)
      this.#forget(fills, wanted)
      wanted.reject(new FillLateError())
      return
    }
    // Where the row came from is asked for with it, so that both are of one snapshot.
    if (state.kind === 'incomplete' && state.base !== wanted.id)
      wanted.companions.set(state.base, Buffer.from(state.base, 'latin1'))
    this.#again(fills, batch, wanted)
  }

  #again(fills: TableFills, batch: FillBatch, wanted: Wanted): void {
    batch.wanted.delete(wanted.id)
    fills.counts.again++
    wanted.batch = null
    if (++wanted.attempts > ATTEMPTS_MAX || !wanted.isWanted) {
      this.#forget(fills, wanted)
      wanted.reject(new FillLateError())
      return
    }
    wanted.limit(this.#options)
    fills.again.add(wanted)
    this.#options.timers.after(AGAIN_AFTER_MS, () => {
      if (!fills.again.delete(wanted)) return
      if (fills.wanted.get(wanted.id) !== wanted) {
        this.#forget(fills, wanted)
        wanted.reject(new FillLateError())
        return
      }
      this.#join(batch.table, fills, wanted)
      if (wanted instanceof WantedKey) this.#enlistCompanions(batch.table, fills, wanted)
    })
  }

  /** A group's query asks for them itself. */
  #enlistCompanions(table: AppliedTable, fills: TableFills, { companions }: WantedKey): void {
    for (const [id, key] of companions) if (!fills.wanted.has(id)) this.#enlist(table, new WantedKey(id, key))
  }

  /** One of those who waited for this does so no longer. */
  #leave({ batch }: Wanted): void {
    // A query that nobody waits for any more is of no use; its answer, once there, is.
    if (batch === null || !batch.isSent || batch.reply !== null) return
    for (const other of batch.wanted.values()) if (other.isWanted) return
    batch.abort(new FillLateError())
  }

  #forget(fills: TableFills, wanted: Wanted): void {
    this.#underWay--
    if (fills.wanted.get(wanted.id) === wanted) fills.wanted.delete(wanted.id)
  }

  #finish(batch: FillBatch): void {
    batch.cancelNudge?.()
    this.#sent.delete(batch)
    this.#keepLog()
  }

  #keepLog(): void {
    let oldest = Number.POSITIVE_INFINITY
    for (const { logAfter } of this.#sent) if (logAfter < oldest) oldest = logAfter
    this.#log.keepAfter(oldest)
  }
}
