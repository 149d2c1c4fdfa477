import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { Xid8 } from '../change/xid.js'
import { asError, CacheError, ConnectionError, DatabaseReadError } from '../errors.js'
import { type FillEvent, fillChannel } from '../observe.js'
import type { QueryConnection, TextRow, Timers } from '../runtime.js'
import type { CommitSeq } from '../store/address.js'
import type { PackedRow } from '../store/residency.js'
import type { TableStore } from '../store/table.js'
import type { AppliedTable } from './binding.js'
import type { CommitLog } from './commit-log.js'
import { type FillAnswer, FillBatch, FillLateError, KeyFill, type Patience } from './fill-batch.js'
import { idOf, type Merged, mergeCommits } from './fill-image.js'
import { FILL_RULES, type FillRules } from './fill-rules.js'
import { fillSql, readReply } from './fill-sql.js'

/** Keys that one query asks for. */
const BATCH_KEYS_MAX = 500
/** Keys that are asked for, or wait for their commit, at one time: one more is not begun. */
const KEYS_MAX = 20_000
/** How long a fill waits for its commit before the server is asked to flush its log. */
const NUDGE_AFTER_MS = 15
/** A key whose answer was of no use is asked for again after this long, so many times. */
const AGAIN_AFTER_MS = 20
const ATTEMPTS_MAX = 500
/** Snapshots whose position has not been reached, of which the newest transaction that all have finished is kept. */
const HORIZONS_MAX = 64

/** What fills of one table have done. */
export interface FillCounts {
  /** Queries that were answered. */
  queries: number
  /** Keys that were answered. */
  keys: number
  /** Rows among them. */
  rows: number
  /** Rows that needed no wait, since their last writer was shown to have been published. */
  fast: number
  /** Queries whose answer had to wait for the stream. */
  waits: number
  nudges: number
  /** Keys whose answer was not kept, since they were evicted meanwhile, or the generation ended. */
  cancelled: number
  /** Keys that had to be asked for again. */
  again: number
  /** Queries that failed. */
  failed: number
}

export interface FillerOptions {
  readonly log: CommitLog
  readonly timers: Timers
  /** How long an answer is held back for its commit, in milliseconds. */
  readonly waitMs: number
  /** Runs a query on a session of the primary's, when there is room for it. */
  readonly run: <T>(work: (session: QueryConnection) => Promise<T>, signal: AbortSignal) => Promise<T>
  readonly position: () => Lsn
  readonly visible: () => CommitSeq
  /** The server's start time, if it is known; another one means another server. */
  readonly startedAt: () => string | null
  readonly normalise: (insertPosition: Lsn) => Lsn
  /** Has the server flush its log. */
  readonly nudge: () => void
  /** The server may have been replaced. */
  readonly suspect: () => void
  /** What the slot's own snapshot saw: more than others do, as long as a commit waits for a standby. */
  readonly slotSnapshot: SqlSnapshot
  readonly rules?: FillRules
}

/**
 * Reads keys of bounded tables from PostgreSQL and makes them known: what a query saw, brought to the visible state by the recent commits that it
 * did not see, as soon as the visible state has come as far as what it saw. Then the key's state is that of the visible commit, as of all other
 * rows in memory.
 */
export class Filler {
  readonly #options: FillerOptions
  readonly #rules: FillRules
  readonly #log: CommitLog
  readonly #tables = new Map<TableStore, TableFills>()
  /** Queries that were sent, or whose answer waits. */
  readonly #sent = new Set<FillBatch>()
  #keys = 0
  /** All transactions before this one had ended when a query was made whose position has been reached: their commits are published. */
  #horizon = 0n as Xid8
  readonly #horizons: { readonly position: Lsn; readonly xmin: Xid8 }[] = []
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

  get keysUnderWay(): number {
    return this.#keys
  }

  /** Whether the key is asked for now. */
  isUnderWay(table: AppliedTable, key: Buffer): boolean {
    return this.#fillsOf(table).byKey.has(idOf(key))
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
   * The state of this key, which is known from then on. `fresh` answers as soon as the query does, with what is at least as new as both
   * PostgreSQL and memory; else the answer is the visible state's.
   *
   * @throws {FillLateError} if that can't be had in time. Rejects with what the query rejects with, or the signal's reason when it aborts.
   */
  fill(table: AppliedTable, key: Buffer, fresh: boolean, signal?: AbortSignal): Promise<FillAnswer> {
    if (signal?.aborted) return Promise.reject(asError(signal.reason))
    if (this.#ended !== null) return Promise.reject(this.#ended)
    const fills = this.#fillsOf(table)
    const id = idOf(key)
    const known = fills.byKey.get(id)
    // A query that was sent before the call may have seen less than a fresh read is to see.
    const isShared = known !== undefined && !(fresh && known.batch?.isSent)
    if (!isShared && this.#keys >= KEYS_MAX) return Promise.reject(new FillLateError())
    const fill = isShared ? known : this.#enlist(table, new KeyFill(id, key))
    return fill.wait(fresh, signal, () => this.#leave(fill), this.#waitLimit(fill))
  }

  /** For whoever comes when the answer is there already, and only its commit is waited for. */
  #waitLimit({ batch, attempts }: KeyFill): Patience | null {
    return attempts > 0 || (batch !== null && batch.reply !== null) ? this.#options : null
  }

  /** A key has been forgotten on purpose: what is under way for it is not kept. */
  evicted(table: AppliedTable, key: Buffer): void {
    const fill = this.#fillsOf(table).byKey.get(idOf(key))
    if (fill !== undefined) fill.isCancelled = true
  }

  /** A query's answer has arrived: what its snapshot sees, all later ones see. */
  confirm(snapshot: SqlSnapshot, position: Lsn): void {
    this.#log.confirm(snapshot)
    this.#isSettled ||= snapshot.includes(this.#options.slotSnapshot)
    if (snapshot.xmin <= this.#horizon || this.#horizons.length >= HORIZONS_MAX) return
    this.#horizons.push({ position, xmin: snapshot.xmin })
    this.#moveHorizon()
  }

  #moveHorizon(): void {
    const reached = this.#options.position()
    for (let i = this.#horizons.length - 1; i >= 0; i--) {
      const { position, xmin } = this.#horizons[i]!
      if (position > reached) continue
      if (xmin > this.#horizon) this.#horizon = xmin
      this.#horizons.splice(i, 1)
    }
  }

  /** The visible state has come further, or the transaction in progress has been taken back: what waited for that is made known. */
  moved(): void {
    if (this.#horizons.length > 0) this.#moveHorizon()
    for (const batch of this.#sent) if (batch.reply !== null) this.#install(batch)
  }

  /**
   * The stream goes on after a cut. A server that was restarted meanwhile may use transaction ids again that were never written to its log; all that was
   * published, on the other hand, was written, and is visible.
   */
  resume(isSameServer: boolean): void {
    this.#ended = null
    if (isSameServer) return
    this.#horizon = 0n as Xid8
    this.#horizons.length = 0
    this.#log.confirmAll()
  }

  /** Nothing will be made known any more, unless the stream is resumed. Whoever waits asks PostgreSQL itself. */
  end(): void {
    this.#ended = new FillLateError()
    for (const { byKey, counts, collecting } of this.#tables.values()) {
      collecting?.abort(this.#ended)
      for (const fill of byKey.values()) {
        counts.cancelled++
        fill.reject(this.#ended)
      }
      byKey.clear()
    }
    for (const batch of this.#sent) batch.abort(this.#ended)
    this.#sent.clear()
    this.#keys = 0
    this.#log.keepAfter(Number.POSITIVE_INFINITY)
  }

  #enlist(table: AppliedTable, fill: KeyFill): KeyFill {
    const fills = this.#fillsOf(table)
    fills.byKey.set(fill.id, fill)
    this.#keys++
    this.#join(table, fills, fill)
    return fill
  }

  #join(table: AppliedTable, fills: TableFills, fill: KeyFill): void {
    let batch = fills.collecting
    if (batch === null) {
      batch = new FillBatch(table)
      fills.collecting = batch
      const sending = batch
      this.#options.timers.microtask(() => {
        if (fills.collecting === sending) this.#send(fills, sending)
      })
    }
    batch.add(fill)
    if (batch.keys.size >= BATCH_KEYS_MAX) this.#send(fills, batch)
  }

  #send(fills: TableFills, batch: FillBatch): void {
    fills.collecting = null
    if (this.#ended !== null || batch.keys.size === 0) return
    batch.logAfter = this.#rules.logFrom === 'confirmed' ? this.#log.confirmed : this.#log.newest
    batch.isSent = true
    this.#sent.add(batch)
    this.#keepLog()
    const { mapping, table } = batch.table
    const { sql, parameters } = fillSql(
      mapping,
      table.format,
      [...batch.keys.values()].map(({ key }) => key),
    )
    this.#options
      .run(session => this.#query(session, sql, parameters), batch.signal)
      .then(answer => this.#replied(fills, batch, answer))
      .catch((error: unknown) => this.#failed(fills, batch, asError(error)))
  }

  async #query(session: QueryConnection, sql: string, parameters: readonly string[]): Promise<TextRow[]> {
    if (this.#rules.isolation === 'read committed') return session.query(sql, parameters)
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    try {
      // The snapshot is taken here, before the statement has its locks.
      await session.query('SELECT 1')
      return await session.query(sql, parameters)
    } finally {
      await session.query('ROLLBACK')
    }
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
    if (fillChannel.hasSubscribers)
      fillChannel.publish({
        table: mapping.name,
        keys: batch.keys.size,
        rows: reply.rows.size,
      } satisfies FillEvent)
    this.confirm(reply.snapshot, reply.position)
    if (!this.#isSettled) {
      for (const fill of batch.keys.values()) this.#again(fills, batch, fill, AGAIN_AFTER_MS)
      this.#finish(batch)
      return
    }
    batch.reply = reply
    this.#install(batch)
    if (batch.keys.size === 0) return
    fills.counts.waits++
    for (const fill of batch.keys.values()) fill.limit(this.#options)
    batch.cancelNudge = this.#options.timers.after(NUDGE_AFTER_MS, () => {
      if (reply.position <= this.#options.position()) return
      fills.counts.nudges++
      this.#options.nudge()
    })
  }

  #failed(fills: TableFills, batch: FillBatch, cause: Error): void {
    if (!this.#sent.has(batch)) return
    fills.counts.failed++
    const isNamed = cause instanceof CacheError || cause instanceof FillLateError
    const error = isNamed ? cause : new DatabaseReadError(batch.table.mapping.name, { cause })
    for (const fill of batch.keys.values()) {
      this.#forget(fills, fill)
      fill.reject(error)
    }
    batch.keys.clear()
    this.#finish(batch)
  }

  /** Makes known what may be. */
  #install(batch: FillBatch): void {
    const { table } = batch
    const reply = batch.reply!
    const fills = this.#fillsOf(table)
    const isReached = !this.#rules.wait || this.#options.position() >= reply.position
    if (!isReached && !batch.wantsFresh && batch.horizonTried === this.#horizon) return
    batch.horizonTried = this.#horizon
    const entries = this.#log.after(batch.logAfter, reply.snapshot)
    const merged =
      entries === null
        ? null
        : mergeCommits(batch.image(), table.table, this.#rules.merge ? entries : [], entry =>
            this.#rules.sees(reply, entry),
          )
    for (const fill of batch.keys.values()) {
      const state = merged?.get(fill.id) ?? { kind: 'ask again' as const }
      if (state.kind === 'known') this.#answerFresh(fills, fill, state.row, reply.position)
      const found = reply.rows.get(fill.id)
      const isFast = found !== undefined && found.xmin < this.#horizon
      if (!isReached && !isFast) continue
      // The transaction in progress is not visible yet, and has passed this key already.
      if (this.#log.pendingTouches(table.table, fill.key)) continue
      if (state.kind === 'known') this.#makeKnown(fills, batch, fill, state.row, isFast && !isReached)
      else this.#askAgain(fills, batch, fill, state)
    }
    if (batch.keys.size === 0) this.#finish(batch)
  }

  #answerFresh(fills: TableFills, fill: KeyFill, row: PackedRow | null, position: Lsn): void {
    if (!fill.wantsFresh) return
    fills.counts.keys++
    if (row !== null) fills.counts.rows++
    const reached = this.#options.position()
    const since = Number.POSITIVE_INFINITY
    fill.resolveFresh({ row, seq: null, since, position: position > reached ? position : reached })
  }

  #makeKnown(fills: TableFills, batch: FillBatch, fill: KeyFill, row: PackedRow | null, fast: boolean): void {
    const residency = batch.table.table.residency!
    const since = residency.sameSince(fill.key)
    let state = row
    if (fill.isCancelled) fills.counts.cancelled++
    else {
      const installed = residency.install(fill.key, row)
      if (installed === 'pending') return
      if (installed === 'known') state = residency.known(fill.key) ?? null
    }
    fills.counts.keys++
    if (row !== null) fills.counts.rows++
    if (fast) fills.counts.fast++
    batch.keys.delete(fill.id)
    this.#forget(fills, fill)
    fill.resolve({ row: state, seq: this.#options.visible(), since, position: this.#options.position() })
  }

  #askAgain(
    fills: TableFills,
    batch: FillBatch,
    fill: KeyFill,
    state: Exclude<Merged, { kind: 'known' }>,
  ): void {
    // Where the row came from is asked for with it, so that both are of one snapshot.
    if (state.kind === 'incomplete' && state.base !== fill.id)
      fill.companions.set(state.base, Buffer.from(state.base, 'latin1'))
    this.#again(fills, batch, fill, AGAIN_AFTER_MS)
  }

  #again(fills: TableFills, batch: FillBatch, fill: KeyFill, delayMs: number): void {
    batch.keys.delete(fill.id)
    fills.counts.again++
    fill.batch = null
    if (++fill.attempts > ATTEMPTS_MAX || !fill.isWanted) {
      this.#forget(fills, fill)
      fill.reject(new FillLateError())
      return
    }
    fill.limit(this.#options)
    this.#options.timers.after(delayMs, () => {
      if (fills.byKey.get(fill.id) !== fill) return
      this.#join(batch.table, fills, fill)
      for (const [id, key] of fill.companions)
        if (!fills.byKey.has(id)) this.#enlist(batch.table, new KeyFill(id, key))
    })
  }

  /** One of those who waited for this key does so no longer. */
  #leave(fill: KeyFill): void {
    const { batch } = fill
    // A query that nobody waits for any more is of no use; its answer, once there, is.
    if (batch === null || !batch.isSent || batch.reply !== null) return
    for (const other of batch.keys.values()) if (other.isWanted) return
    batch.abort(new FillLateError())
  }

  #forget(fills: TableFills, fill: KeyFill): void {
    this.#keys--
    if (fills.byKey.get(fill.id) === fill) fills.byKey.delete(fill.id)
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

class TableFills {
  readonly byKey = new Map<string, KeyFill>()
  /** The keys that will be asked for when this synchronous run has ended. */
  collecting: FillBatch | null = null
  readonly counts: FillCounts = {
    queries: 0,
    keys: 0,
    rows: 0,
    fast: 0,
    waits: 0,
    nudges: 0,
    cancelled: 0,
    again: 0,
    failed: 0,
  }
}

function onStandby(): ConnectionError {
  return new ConnectionError(
    'refused',
    'The connection has reached a standby (pg_is_in_recovery()): what it sees can not be joined to the change stream of the primary. ' +
      'Give the address of the primary, or target_session_attrs=primary.',
    true,
  )
}
