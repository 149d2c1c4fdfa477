import type { Random } from '../../random.js'
import { TABLES, type TableSpec } from '../schema.js'
import { Heap } from './heap.js'
import { Log, type Position } from './log.js'
import { Snapshot } from './snapshot.js'
import { type Committed, Transaction } from './transaction.js'
import { Truth } from './truth.js'
import { takeBack } from './writes.js'

export interface ModelOptions {
  readonly random: Random
  /** Of PostgreSQL. */
  readonly major: number
  readonly wallMs: () => number
}

const FIRST_NORMAL_XID = 3
const FIRST_XID = 1000
const COMMIT_RECORD_BYTES = 64
/** Writers of a commit, and how many of them exactly fill their page. */
const PAGE_END_CHANCE = 0.04

/**
 * A primary: tables, transactions, the log and what is visible to whom. A commit is three events, as in PostgreSQL: its record is written, the
 * record is flushed (and may be streamed), and its transaction becomes visible to new snapshots. In between it is in limbo.
 */
export class PostgresModel {
  readonly major: number
  readonly systemId: string
  readonly log: Log
  timeline = 1
  startedAt = '2026-01-01 00:00:00.000001+00'
  /** Commits whose records are in the log, in its order. */
  readonly committed: Committed[] = []
  /** Of each timeline, what was true on it. */
  readonly truths = new Map<number, Truth>()
  /** Where each earlier timeline was left. */
  readonly timelineEnds = new Map<number, Position>()
  /** Something was flushed, or became visible. */
  onMoved: () => void = () => undefined
  /** Whether a table is in the publication now. */
  isPublished: (oid: number) => boolean = () => false
  /** There is something to flush. */
  onWritten: () => void = () => undefined
  readonly #options: ModelOptions
  readonly #heaps = new Map<number, Heap>()
  readonly #running = new Map<number, Transaction>()
  /** Sessions that have read a table in a transaction that goes on, by the table. */
  readonly #readers = new Map<number, Set<object>>()
  /** Snapshots that are exported, or in use by a transaction. */
  readonly #held = new Map<object, Snapshot>()
  /** Rows whose older versions may go once nobody sees them. */
  #dueRows: { readonly heap: Heap; readonly key: string; readonly xid: number }[] = []
  #nextXid: number
  #newestEnded: number
  #nextFile = 90_001
  #number = 0

  constructor(options: ModelOptions) {
    const { random, major } = options
    this.#options = options
    this.major = major
    this.systemId = String(7_000_000_000_000_000_000n + BigInt(random.uint32()))
    // Near the ends of 32 bits, so that both kinds of numbers cross them in the middle of a history.
    this.log = new Log(0x1_0000_0000 * random.between(0, 2) + 0xffff_0000 - 8 * random.below(2000))
    const epoch = 0x1_0000_0000 * random.between(0, 3)
    this.#nextXid = random.chance(0.5) ? epoch + 0xffff_ffff - random.below(60) : epoch + FIRST_XID
    this.#newestEnded = this.#nextXid - 1
    this.truths.set(1, new Truth(TABLES))
    for (const spec of TABLES) this.#heaps.set(spec.oid, new Heap(spec))
  }

  get versionNumber(): number {
    return this.major * 10_000 + 20
  }

  get truth(): Truth {
    return this.truths.get(this.timeline)!
  }

  heap({ oid }: Pick<TableSpec, 'oid'>): Heap {
    return this.#heaps.get(oid)!
  }

  // Transactions.

  begin(): Transaction {
    const transaction = new Transaction(this.#newXid(), this.log.insert)
    this.#running.set(transaction.xid, transaction)
    this.onWritten()
    return transaction
  }

  newSubXid(): number {
    return this.#newXid()
  }

  /** Of each 2^32, the lowest stand for rows that everybody sees: they are never given out. */
  #newXid(): number {
    while (this.#nextXid % 0x1_0000_0000 < FIRST_NORMAL_XID) this.#nextXid++
    return this.#nextXid++
  }

  newFile(): number {
    return this.#nextFile++
  }

  /** Whether this very transaction is known here: it may have been lost with a server, and its id given out again. */
  has(transaction: Transaction): boolean {
    return this.#running.get(transaction.xid) === transaction
  }

  /** Neither rolled back nor visible to everybody yet. */
  isRunning(xid: number): boolean {
    return this.#running.has(xid)
  }

  get runningTransactions(): IterableIterator<Transaction> {
    return this.#running.values()
  }

  /** Somebody has the table for itself. */
  isLockedAgainst({ oid }: TableSpec, own: Transaction | null): boolean {
    for (const other of this.#running.values()) if (other !== own && other.exclusive.has(oid)) return true
    return false
  }

  /** Somebody else writes or reads the table. */
  isUsed({ oid }: TableSpec, own: Transaction | null): boolean {
    if ((this.#readers.get(oid)?.size ?? 0) > 0) return true
    for (const other of this.#running.values()) if (other !== own && other.written.has(oid)) return true
    return false
  }

  rollBack(transaction: Transaction): void {
    takeBack(transaction, 0)
    this.#end(transaction)
  }

  /** Writes the commit record: from now on the transaction is true, though not visible to anybody. */
  commit(transaction: Transaction): Committed {
    const { random, wallMs } = this.#options
    const isWhole = random.chance(PAGE_END_CHANCE)
    transaction.commitAt = this.log.write(isWhole ? this.log.roomInPage : COMMIT_RECORD_BYTES)
    transaction.end = this.log.end
    const committed: Committed = {
      number: this.#number++,
      xid: transaction.xid,
      firstAt: transaction.firstAt,
      commitAt: transaction.commitAt,
      end: transaction.end,
      changes: transaction.changes,
      timeMicros: BigInt(Math.floor(wallMs() * 1000)),
    }
    this.committed.push(committed)
    this.onWritten()
    this.truth.commit(transaction.end, transaction.xid, transaction.changes)
    return committed
  }

  /** New snapshots see it, and its locks are gone. */
  makeVisible(transaction: Transaction): void {
    this.#end(transaction)
  }

  /** Whether the log, as far as it is remembered, has this commit. */
  wasCommitted(xid: number): boolean {
    return this.committed.some(each => each.xid === xid)
  }

  /** Writes the log to disk, so that it may be streamed. */
  flush(position?: Position): void {
    const before = this.log.flushed
    this.log.flush(position)
    if (this.log.flushed > before) this.onMoved()
  }

  #end({ xid }: Transaction): void {
    if (!this.#running.delete(xid)) return
    this.#newestEnded = Math.max(this.#newestEnded, xid)
    this.#prune()
    this.onMoved()
  }

  // Snapshots.

  snapshot(): Snapshot {
    const running = new Set(this.#running.keys())
    const xmax = this.#newestEnded + 1
    let xmin = xmax
    for (const xid of running) if (xid < xmin) xmin = xid
    for (const xid of running) if (xid >= xmax) running.delete(xid)
    return new Snapshot(xmin, xmax, running)
  }

  /** What a slot sees that begins at the end of the log: every commit whose record is there, also those in limbo. */
  slotSnapshot(): Snapshot {
    // Of those in limbo, the newest id need not be the last one's in the log.
    let xmax = this.#newestEnded + 1
    for (const { xid, isCommitted } of this.#running.values()) if (isCommitted && xid >= xmax) xmax = xid + 1
    const running = new Set<number>()
    for (const { xid, isCommitted } of this.#running.values())
      if (!isCommitted && xid < xmax) running.add(xid)
    let xmin = xmax
    for (const xid of running) if (xid < xmin) xmin = xid
    return new Snapshot(xmin, xmax, running)
  }

  hold(holder: object, snapshot: Snapshot): void {
    this.#held.set(holder, snapshot)
  }

  letGo(holder: object): void {
    this.#held.delete(holder)
    for (const readers of this.#readers.values()) readers.delete(holder)
    this.#prune()
  }

  /** A session reads the table, and goes on to until its transaction ends. */
  reads(holder: object, { oid }: TableSpec): void {
    const readers = this.#readers.get(oid) ?? new Set()
    this.#readers.set(oid, readers.add(holder))
  }

  /** A row has a new version, by this transaction. */
  touched(heap: Heap, key: string, xid: number): void {
    this.#dueRows.push({ heap, key, xid })
  }

  /** Cuts what no snapshot can see any more. */
  #prune(): void {
    if (this.#held.size > 0) return
    this.#dueRows = this.#dueRows.filter(due => {
      if (this.#running.has(due.xid)) return true
      const newest = due.heap.rows.get(due.key)
      if (newest === undefined) return false
      let version = newest
      while (this.#running.has(version.xid) && version.older !== null) version = version.older
      version.older = null
      if (version === newest && newest.texts === null && !this.#running.has(newest.xid))
        due.heap.rows.delete(due.key)
      return false
    })
  }

  // Crashes.

  /**
   * What is left after a crash: the log up to `position`, and prepared transactions. With `timeline`, a standby that had received so much is
   * promoted: it writes a history of its own from there on.
   */
  restart(position: Position, startedAt: string, timeline = this.timeline): void {
    const prepared = [...this.#running.values()].filter(
      ({ isPrepared, isCommitted }) => isPrepared && !isCommitted,
    )
    const old = this.truth
    const kept = old.until(position, TABLES)
    const isPromoted = timeline !== this.timeline
    if (isPromoted) this.timelineEnds.set(this.timeline, position)
    else this.truths.delete(this.timeline)
    this.timeline = timeline
    this.truths.set(timeline, kept)
    this.startedAt = startedAt
    this.log.cut(position)
    while ((this.committed.at(-1)?.end ?? 0) > position) this.committed.pop()
    const newest = this.committed.reduce((max, { xid }) => Math.max(max, xid), 0)
    this.#running.clear()
    this.#readers.clear()
    this.#held.clear()
    this.#dueRows = []
    // Ids that were never written to the log are given out again.
    const used = Math.max(newest, FIRST_XID, ...prepared.map(({ xid }) => xid))
    this.#nextXid = used + 1
    this.#newestEnded = used
    for (const spec of TABLES) {
      const heap = this.heap(spec)
      heap.reset(kept.rows(spec, position))
      // TRUNCATE of a transaction that is lost is lost with it.
      const { files } = heap
      while (files.length > 1 && files.at(-1)!.xid > newest) files.pop()
      heap.file = files.at(-1)!.file
    }
    if (!isPromoted) for (const transaction of prepared) this.#redo(transaction)
  }

  /** A prepared transaction survives: its rows are locked, and waiting for its end. */
  #redo(transaction: Transaction): void {
    const { xid } = transaction
    transaction.undo.length = 0
    this.#running.set(xid, transaction)
    for (const change of transaction.changes) {
      const { spec } = change
      if (spec === null) continue
      const heap = this.heap(spec)
      const push = (key: string, texts: Change['new']): void => {
        const older = heap.rows.get(key) ?? null
        heap.rows.set(key, { xid, rowXid: xid, texts, older })
        this.touched(heap, key, xid)
        transaction.undo.push(() => {
          if (older === null) heap.rows.delete(key)
          else heap.rows.set(key, older)
        })
      }
      if (change.old !== null && (change.new === null || heap.key(change.old) !== heap.key(change.new)))
        push(heap.key(change.old), null)
      if (change.new !== null) push(heap.key(change.new), change.new)
    }
  }
}

type Change = Committed['changes'][number]
