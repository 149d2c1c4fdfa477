import { LSN_ZERO, type Lsn } from '../change/lsn.js'
import { assert, type CacheError } from '../errors.js'
import type { CommitSeq } from './address.js'
import { MemoryAccount, MemoryBudget } from './memory.js'
import { Readers } from './readers.js'
import { RecentCommits } from './recent-commits.js'
import { Snapshot } from './snapshot.js'
import { type TableLayout, TableStore } from './table.js'
import { Trail } from './trail.js'

export interface StoreOptions {
  /** Bytes that all tables together may take. */
  readonly limitBytes: number
  /** Bytes that one table may take. */
  readonly tableLimitBytes: number
  /** Chosen by chance, so that nobody can prepare keys that collide. */
  readonly hashSeed: number
}

/**
 * All tables in memory, and which commit of them is visible.
 *
 * One writer applies a transaction under the next sequence number, in as many steps as it likes; `publish` makes all of it
 * visible at once, by moving one number.
 */
export class Store {
  readonly readers = new Readers()
  readonly tables: TableStore[] = []
  /** Commits that queries may not show yet. */
  readonly recent = new RecentCommits()
  readonly #budget: MemoryBudget
  readonly #options: StoreOptions
  #position: Lsn = LSN_ZERO
  /** The number of the transaction in progress; 0 between transactions. */
  #pending: CommitSeq = 0
  #aborting: CommitSeq = 0
  readonly #trails = new Set<Trail>()
  #onReleased: () => void = () => undefined
  #onOverfull: () => boolean = () => false

  constructor(options: StoreOptions) {
    this.#options = options
    this.#budget = new MemoryBudget(options.limitBytes)
  }

  /** Where the visible state ends in the log: everything before this position is in it. */
  get position(): Lsn {
    return this.#position
  }

  get bytes(): number {
    return this.#budget.usedBytes
  }

  get visible(): CommitSeq {
    return this.readers.visible
  }

  /** Whether a transaction is being applied. */
  get writing(): boolean {
    return this.#pending !== 0
  }

  addTable(layout: TableLayout): TableStore {
    const table = this.makeTable(layout)
    this.tables.push(table)
    return table
  }

  /** A table that is no part of the store until it is adopted: it is filled meanwhile, and nobody reads it. */
  makeTable(layout: TableLayout): TableStore {
    const memory = new MemoryAccount(layout.name, this.#options.tableLimitBytes, this.#budget)
    return new TableStore(layout, memory, this.readers, this.#options.hashSeed)
  }

  /** Makes the table part of the store, with what was written to it by the transaction in progress, which is no commit of the server's. */
  adopt(table: TableStore): void {
    this.tables.push(table)
    this.#publish()
    for (const trail of this.#trails) trail.break()
  }

  /** Gives the table up; every read of it gets this error from now on. */
  remove(table: TableStore, error: CacheError): void {
    const place = this.tables.indexOf(table)
    if (place >= 0) this.tables.splice(place, 1)
    table.fail(error)
  }

  /** The number under which the next transaction is written. */
  begin(): CommitSeq {
    assert(this.#pending === 0 && this.#aborting === 0, 'one transaction is applied at a time')
    this.#pending = this.readers.visible + 1
    return this.#pending
  }

  /** Makes the transaction in progress visible: all of it, at once. The watermark moves last. `xid` is what the stream calls it. */
  publish(position: Lsn, xid?: number): void {
    assert(position > this.#position, 'positions of published commits ascend')
    if (xid !== undefined) {
      const changed = this.tables.filter(table => table.isChanged(this.#pending))
      this.recent.add(xid, changed)
    }
    this.#publish(position)
    if (this.#trails.size > 0) this.#addToTrails(xid)
  }

  #addToTrails(xid: number | undefined): void {
    for (const trail of this.#trails)
      if (xid === undefined) trail.break()
      else trail.add(xid, this.snapshot())
  }

  /** Keeps the visible state readable, and each that becomes visible from now on. To be released soon. */
  trail(): Trail {
    const trail: Trail = new Trail(this.snapshot(), () => this.#trails.delete(trail))
    this.#trails.add(trail)
    return trail
  }

  #publish(position: Lsn = this.#position): void {
    const seq = this.#pending
    assert(seq !== 0, 'a transaction is published')
    for (const table of this.tables) table.publish(seq)
    this.#pending = 0
    this.#position = position
    this.readers.visible = seq
  }

  /** Nothing up to `position` concerns the tables here, except what has been published. */
  advance(position: Lsn): void {
    if (position > this.#position) this.#position = position
  }

  /** Takes back the transaction in progress, about `rows` rows a call; true while there are more. */
  abort(rows: number): boolean {
    if (this.#pending !== 0) {
      this.#aborting = this.#pending
      this.#pending = 0
    }
    if (this.#aborting === 0) return false
    for (const table of this.tables) if (table.abort(this.#aborting, rows)) return true
    this.#aborting = 0
    return false
  }

  /** The visible state, kept readable until it is released. */
  snapshot(): Snapshot {
    return new Snapshot(this.readers.pin(this.#pending), this.#position, seq => {
      this.readers.unpin(seq)
      for (const table of this.tables) table.released()
      this.#onReleased()
    })
  }

  /** Calls back whenever a snapshot is released, since there may be old versions to prune then. */
  onReleased(callback: () => void): void {
    this.#onReleased = callback
  }

  /** Calls back when snapshots hold more of bounded tables than is allowed: the oldest should go. False if there is none that could. */
  onOverfull(callback: () => boolean): void {
    this.#onOverfull = callback
  }

  /** Tidies up about `rows` rows of each table; true while there is more to do now. */
  maintain(rows: number): boolean {
    let more = false
    for (const table of this.tables) if (table.maintain(rows)) more = true
    if (more || this.#pending !== 0 || !this.tables.some(({ residency }) => residency?.overfull)) return more
    return this.#onOverfull()
  }

  /** Gives all memory back; every read gets this error from now on. */
  fail(error: CacheError): void {
    for (const table of this.tables) table.fail(error)
  }
}
