import type { TupleView } from '../change/change.js'
import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import { widenXid, type Xid8 } from '../change/xid.js'
import type { GroupValue } from '../store/group-index.js'
import type { TableStore } from '../store/table.js'
import { TableChanges } from './table-changes.js'

/** Changes and bytes of which the log keeps all; beyond that, only which keys were changed, and at last only which tables. */
const CHANGES_MAX = 65_536
const BYTES_MAX = 32 * 2 ** 20
/** Transactions that the log holds at most; beyond that the oldest go, and fills wait for queries that see all of those. */
const ENTRIES_MAX = 65_536

/** One published transaction that has changed bounded tables. */
export interface LogEntry {
  /** Its place in the log: the first one is 1, the next one 2. */
  readonly number: number
  readonly xid: Xid8
  readonly end: Lsn
  readonly tables: ReadonlyMap<TableStore, TableChanges>
}

interface PendingEntry {
  readonly xid: Xid8
  readonly tables: Map<TableStore, TableChanges>
}

/** Keeps the entries after this one until it is released. */
export interface CommitHold {
  readonly after: number
}

/**
 * The recent commits on bounded tables, each until it is certain that every query sent from now on sees it.
 *
 * The stream may deliver a commit before any query can see it: as long as a synchronous standby is waited for, or for the instant between the
 * commit's record and its visibility. What a query does not see, but the visible state has, is in here.
 */
export class CommitLog {
  readonly #entries: LogEntry[] = []
  #first = 0
  #number = 0
  #confirmed = 0
  /** Entries before this one have been shortened. */
  #wholeFrom = 1
  #pending: PendingEntry | null = null
  #xidReference: Xid8
  readonly #limits: { changes: number; bytes: number }
  #changes = 0
  #bytes = 0
  /** The newest transaction that had to go though not every query sees it; 0 if there is none. */
  #forgotten = 0n
  /** What the oldest fill that is under way has asked to be kept. */
  #needed = Number.POSITIVE_INFINITY
  /** What others have asked to be kept. */
  readonly #holds = new Set<CommitHold>()

  /** `xidReference` is any recent transaction id. */
  constructor(xidReference: Xid8, limits = { changes: CHANGES_MAX, bytes: BYTES_MAX }) {
    this.#xidReference = xidReference
    this.#limits = limits
  }

  /** The newest entry's number; 0 if there was none. */
  get newest(): number {
    return this.#number
  }

  /** All entries up to this one are visible to every query that is sent from now on. */
  get confirmed(): number {
    return this.#confirmed
  }

  get size(): number {
    return this.#entries.length - this.#first
  }

  get bytes(): number {
    return this.#bytes
  }

  begin(xid: number): void {
    this.#pending = { xid: widenXid(xid, this.#xidReference), tables: new Map() }
  }

  put(table: TableStore, old: TupleView | null, oldIsFull: boolean, row: TupleView, order: Int32Array): void {
    const changes = this.#changesOf(table)
    if (changes === null) return
    const before = changes.bytes
    this.#changes += changes.put(old, oldIsFull, row, order)
    this.#grow(changes.bytes - before)
  }

  remove(table: TableStore, old: TupleView, order: Int32Array): void {
    const changes = this.#changesOf(table)
    if (changes === null) return
    const before = changes.bytes
    this.#changes += changes.remove(old, order)
    this.#grow(changes.bytes - before)
  }

  truncate(table: TableStore): void {
    const changes = this.#changesOf(table)
    if (changes === null) return
    const before = changes.bytes
    changes.truncate()
    this.#grow(changes.bytes - before)
  }

  #changesOf(table: TableStore): TableChanges | null {
    const pending = this.#pending
    if (pending === null || table.residency === null) return null
    let changes = pending.tables.get(table)
    if (changes === undefined) {
      changes = new TableChanges(table.format)
      pending.tables.set(table, changes)
      this.#grow(changes.bytes)
    }
    return changes
  }

  #grow(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes > this.#limits.bytes || this.#changes > this.#limits.changes) this.#shorten()
  }

  /** Forgets what was changed, and keeps which keys: first of the transaction in progress if it takes half of the room, else of the oldest. */
  #shorten(): void {
    const { changes, bytes } = this.#limits
    const isFull = (): boolean => this.#bytes > bytes || this.#changes > changes
    if (this.#pending !== null) {
      const own = [...this.#pending.tables.values()]
      const ownBytes = own.reduce((sum, table) => sum + table.bytes, 0)
      const ownChanges = own.reduce((sum, table) => sum + table.changes, 0)
      if (ownBytes * 2 > bytes || ownChanges * 2 > changes) this.#degrade(this.#pending.tables)
    }
    for (; this.#wholeFrom <= this.#number && isFull(); this.#wholeFrom++) {
      const entry = this.#entries[this.#first + this.#wholeFrom - this.#firstNumber]
      if (entry !== undefined) this.#degrade(entry.tables)
    }
    // Even the sets of keys are too many: which tables were changed has to do.
    for (let at = this.#first; at < this.#entries.length && isFull(); at++)
      this.#degrade(this.#entries[at]!.tables)
  }

  #degrade(tables: ReadonlyMap<TableStore, TableChanges>): void {
    for (const table of tables.values()) {
      this.#bytes -= table.bytes
      this.#changes -= table.changes
      table.degrade()
      this.#bytes += table.bytes
      this.#changes += table.changes
    }
  }

  /** The transaction in progress has been published. */
  commit(end: Lsn): void {
    const pending = this.#pending
    this.#pending = null
    if (pending === null || pending.tables.size === 0) return
    this.#number++
    this.#entries.push({ number: this.#number, end, ...pending })
    if (this.size <= ENTRIES_MAX) return
    const { xid, number } = this.#entries[this.#first]!
    if (number > this.#confirmed && xid > this.#forgotten) this.#forgotten = xid
    this.#drop()
  }

  /** The transaction in progress has been taken back, or changed nothing. */
  abort(): void {
    if (this.#pending === null) return
    for (const table of this.#pending.tables.values()) {
      this.#bytes -= table.bytes
      this.#changes -= table.changes
    }
    this.#pending = null
  }

  /** Whether the transaction in progress has changed this key, or may have. */
  pendingTouches(table: TableStore, key: Uint8Array): boolean {
    return this.#pending?.tables.get(table)?.touches(key) ?? false
  }

  /** Whether the transaction in progress has brought a row into this group, or may have. */
  pendingEnters(table: TableStore, value: GroupValue): boolean {
    return this.#pending?.tables.get(table)?.enters(value) ?? false
  }

  /** Whether the transaction in progress has changed the table. */
  pendingChanges(table: TableStore): boolean {
    return this.#pending?.tables.has(table) ?? false
  }

  /** A query's answer has arrived: what its snapshot sees, every later one sees. */
  confirm(snapshot: SqlSnapshot): void {
    if (snapshot.xmax > this.#xidReference) this.#xidReference = snapshot.xmax
    let at = this.#first + Math.max(0, this.#confirmed - this.#firstNumber + 1)
    for (; at < this.#entries.length && snapshot.sees(this.#entries[at]!.xid); at++)
      this.#confirmed = this.#entries[at]!.number
    this.#prune()
  }

  /** Every query that is sent from now on sees all that is in here. */
  confirmAll(): void {
    this.#confirmed = this.#number
    this.#forgotten = 0n
    this.#prune()
  }

  get #firstNumber(): number {
    return this.#number - this.size + 1
  }

  /** The oldest fill that is under way needs all entries after this one; Infinity if there is none. */
  keepAfter(number: number): void {
    this.#needed = number
    this.#prune()
  }

  /** A query is about to be sent: what it may not see is kept until the hold is released. */
  hold(): CommitHold {
    const hold = { after: this.#confirmed }
    this.#holds.add(hold)
    return hold
  }

  release(hold: CommitHold): void {
    this.#holds.delete(hold)
    this.#prune()
  }

  #prune(): void {
    let until = Math.min(this.#confirmed, this.#needed)
    for (const { after } of this.#holds) if (after < until) until = after
    while (this.size > 0 && this.#firstNumber <= until) this.#drop()
  }

  #drop(): void {
    for (const table of this.#entries[this.#first]!.tables.values()) {
      this.#bytes -= table.bytes
      this.#changes -= table.changes
    }
    this.#first++
    if (this.#first < 1024 && this.#first < this.#entries.length) return
    this.#entries.splice(0, this.#first)
    this.#first = 0
  }

  /** The published commits after this one, oldest first; null if one is missing that the snapshot may not see. */
  after(number: number, snapshot: SqlSnapshot): LogEntry[] | null {
    if (this.#forgotten >= snapshot.xmin) return null
    return this.#entries.slice(this.#first + Math.max(0, number + 1 - this.#firstNumber))
  }
}
