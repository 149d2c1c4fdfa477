import type { Lsn } from '../change/lsn.js'
import { asError, type CacheError } from '../errors.js'
import type { Timers } from '../runtime.js'
import { type Address, NONE } from '../store/address.js'
import type { PackedRow } from '../store/packed-row.js'
import type { TableStore } from '../store/table.js'
import { Comparison } from './comparison.js'
import { COMPARED_ROWS_MAX } from './difference.js'
import { Dispatch } from './dispatch.js'
import type { RowFilter } from './filter.js'
import { type FeedEntry, type FeedRecord, FeedRing, type FeedTable, History, recordBytes } from './ring.js'
import { Subscription } from './subscription.js'

const SLOW: FeedRecord = { kind: 'gap', reason: 'slow reader' }

/** What `ChangeFeed` needs to know about a followed table. */
interface Followed<Live extends FeedTable> {
  history: History<Live>
  readonly subscribers: Set<Subscription<Live>>
  /** Those among them that look at every change. */
  readonly scanning: Set<Subscription<Live>>
  /** The way to all others. */
  readonly dispatch: Dispatch
  /** The table's changes by the transaction in progress. */
  pending: FeedRecord[]
  pendingBytes: number
  /** The transaction in progress has more changes than the ring can hold, or was joined in its middle. */
  pendingIncomplete: boolean
  /** Nobody reads it any more, and its changes are held for those who come back. */
  cancelEnd: (() => void) | null
  /** It was loaded anew, and what differs is being looked for. */
  comparison: Comparison | null
}

export interface FeedOptions<Live extends FeedTable = FeedTable> {
  /** Bytes of changes that are held, of all tables together. */
  readonly limitBytes: number
  /** How long a table's changes are held after its last reader has left. */
  readonly historyMs: number
  readonly timers: Pick<Timers, 'after' | 'yield'>
  /** Whether rows of one generation's table can be compared with those of another's. Without it they can't. */
  readonly areComparable?: (old: Live, next: Live) => boolean
}

/** How a table is followed. */
export interface Follow<Live extends FeedTable> {
  /** Its number in the feed. */
  readonly table: number
  readonly live: Live
  /** A transaction is being applied, and its beginning has gone by unseen. */
  readonly midTransaction: boolean
  /** Which rows of a generation's table are meant; without it, all. */
  readonly filter?: (live: Live) => RowFilter
  /** Begins with the first change after this position, or a gap; null: with a gap. Without it, with the next commit. */
  readonly since?: Lsn | null
}

/**
 * The tables' changes, commit by commit, for whoever follows them: one ring of bytes for all, a cursor for each. A table that nobody
 * follows costs nothing; a reader that is too slow finds its place gone and is told of a gap.
 */
export class ChangeFeed<Live extends FeedTable = FeedTable> {
  readonly #options: FeedOptions<Live>
  readonly #ring: FeedRing
  readonly #followed = new Map<number, Followed<Live>>()

  constructor(options: FeedOptions<Live>) {
    this.#options = options
    this.#ring = new FeedRing(options.limitBytes)
  }

  /** How many readers there are. */
  get subscribers(): number {
    let count = 0
    for (const { subscribers } of this.#followed.values()) count += subscribers.size
    return count
  }

  get bytes(): number {
    return this.#ring.bytes
  }

  /** Follows a table. @throws what makes the filter meaningless for it. */
  subscribe({ table, live, midTransaction, filter, since }: Follow<Live>): Subscription<Live> {
    const known = this.#followed.get(table)
    const history = known?.history ?? new History(live)
    const subscription = new Subscription(table, history, filter ?? null)
    if (since !== undefined) subscription.since(since)
    // What differs is told at a position that this reader knows already.
    else if (known?.comparison != null) subscription.onlyAfter(live.store.position)
    const followed = known ?? this.#follow(table, history, midTransaction)
    followed.cancelEnd?.()
    followed.cancelEnd = null
    followed.subscribers.add(subscription)
    route(followed, subscription)
    return subscription
  }

  #follow(table: number, history: History<Live>, midTransaction: boolean): Followed<Live> {
    const followed: Followed<Live> = {
      history,
      subscribers: new Set(),
      scanning: new Set(),
      dispatch: new Dispatch(),
      pending: [],
      pendingBytes: 0,
      pendingIncomplete: midTransaction,
      cancelEnd: null,
      comparison: null,
    }
    this.#followed.set(table, followed)
    this.#observe(followed)
    return followed
  }

  #observe(followed: Followed<Live>): void {
    const { table } = followed.history.live
    table.observer = {
      wrote: (old, next) =>
        this.#add(followed, { kind: 'write', old: pack(table, old), next: pack(table, next) }),
      told: (old, next) => this.#add(followed, { kind: 'write', old, next }),
      truncated: () => this.#add(followed, { kind: 'truncate' }),
      failed: error => {
        // What is gone only for now comes back with a reload, and readers are told of that.
        if (error.transient) return
        // Half a transaction is no commit.
        forgetPending(followed)
        fail(followed, error)
      },
    }
  }

  #add(followed: Followed<Live>, record: FeedRecord): void {
    if (followed.pendingIncomplete) return
    followed.pendingBytes += recordBytes(record)
    if (followed.pendingBytes > this.#options.limitBytes) {
      followed.pendingIncomplete = true
      followed.pending = []
    } else followed.pending.push(record)
  }

  unsubscribe(subscription: Subscription<Live>): void {
    const followed = this.#followed.get(subscription.table)
    if (followed === undefined || !followed.subscribers.delete(subscription)) return
    unroute(followed, subscription)
    if (followed.subscribers.size > 0) return
    const { historyMs, timers } = this.#options
    if (historyMs === 0) this.#forget(subscription.table, followed)
    else followed.cancelEnd = timers.after(historyMs, () => this.#forget(subscription.table, followed))
  }

  #forget(table: number, followed: Followed<Live>): void {
    endComparison(followed)
    followed.history.live.table.observer = null
    this.#followed.delete(table)
    if (this.#followed.size === 0) this.#ring.clear()
  }

  /** The transaction in progress is visible now: its changes go to the readers, all at once. */
  published(position: Lsn): void {
    for (const followed of this.#followed.values()) {
      const { pending, pendingIncomplete, comparison } = followed
      if (comparison?.hasBegun === false) {
        // What it changed of the table is part of the difference.
        forgetPending(followed)
        this.#compare(followed, comparison)
        continue
      }
      if (pendingIncomplete) this.#push(followed, SLOW, position, true)
      for (let i = 0; i < pending.length; i++)
        this.#push(followed, pending[i]!, position, i === pending.length - 1)
      if (pendingIncomplete || pending.length > 0)
        for (const subscription of followed.scanning) subscription.wake()
      forgetPending(followed)
    }
  }

  #push(followed: Followed<Live>, record: FeedRecord, position: Lsn, last: boolean): void {
    const { history, dispatch, subscribers, comparison } = followed
    if (comparison !== null) {
      comparison.hold(record, position, last)
      return
    }
    const number = history.entries.next
    this.#ring.push(history, { record, position, last })
    if (record.kind !== 'write') for (const subscription of subscribers) subscription.offer(number)
    else if (!dispatch.isEmpty) dispatch.offer(record, number, history.live.table.format)
  }

  /** The transaction in progress was taken back. */
  aborted(): void {
    for (const followed of this.#followed.values()) {
      forgetPending(followed)
      if (followed.comparison?.hasBegun === false) this.#compare(followed, followed.comparison)
    }
  }

  /**
   * Another generation's tables are visible now: readers are told what differs, or that they missed something. `midTransaction`: one is being applied to
   * them, and its beginning has gone by unseen. `isSameHistory`: positions go on where those of the last generation ended.
   */
  reloaded(liveOf: (table: number) => Live, midTransaction: boolean, isSameHistory = false): void {
    for (const [table, followed] of this.#followed) {
      const next = liveOf(table)
      if (!isSameHistory || !this.#mayCompare(followed, next)) this.#renew(followed, next, midTransaction)
      else this.#beginComparison(followed, next, midTransaction)
    }
  }

  #mayCompare({ history, comparison, subscribers }: Followed<Live>, next: Live): boolean {
    const tables = [history.live.table, next.table]
    return (
      comparison === null &&
      subscribers.size > 0 &&
      tables.every(({ failed, rowEnd }) => failed === null && rowEnd <= COMPARED_ROWS_MAX) &&
      this.#options.areComparable?.(history.live, next) === true
    )
  }

  #beginComparison(followed: Followed<Live>, next: Live, midTransaction: boolean): void {
    const { history } = followed
    history.live.table.observer = null
    forgetPending(followed)
    // The ring may hold as much again of what readers have not read yet.
    const comparison = new Comparison(history.live, this.#options.limitBytes / 2)
    followed.comparison = comparison
    history.live = next
    followed.pendingIncomplete = midTransaction
    this.#observe(followed)
    if (!midTransaction) this.#compare(followed, comparison)
  }

  #compare(followed: Followed<Live>, comparison: Comparison): void {
    comparison.run(followed.history.live, this.#options.timers).then(
      entries => this.#compared(followed, comparison, entries),
      // What a table that was given up meanwhile throws is told by itself.
      () => this.#compared(followed, comparison, null),
    )
  }

  #compared(followed: Followed<Live>, comparison: Comparison, entries: readonly FeedEntry[] | null): void {
    if (followed.comparison !== comparison) return
    const held = comparison.held
    const isGivenUp = entries === null || comparison.isGivenUp
    endComparison(followed)
    if (isGivenUp) {
      this.#startAnew(followed, followed.history.live)
      return
    }
    for (const { record, position, last } of [...entries, ...held])
      this.#push(followed, record, position, last)
    for (const subscription of followed.scanning) subscription.wake()
  }

  /** One table was closed, read anew, or given up; no transaction is being applied to it. */
  replaced(table: number, live: Live): void {
    const followed = this.#followed.get(table)
    if (followed === undefined) return
    const { failed } = live.table
    followed.history.live.table.observer = null
    forgetPending(followed)
    const wasCompared = endComparison(followed)
    if (wasCompared && failed !== null && failed.transient) this.#startAnew(followed, live)
    else if (failed === null) this.#renew(followed, live, false)
    else if (!failed.transient) fail(followed, failed)
  }

  #renew(followed: Followed<Live>, live: Live, midTransaction: boolean): void {
    endComparison(followed)
    followed.history.live.table.observer = null
    const { failed } = live.table
    if (failed !== null && !failed.transient) {
      forgetPending(followed)
      fail(followed, failed)
      return
    }
    forgetPending(followed)
    followed.pendingIncomplete = midTransaction
    this.#startAnew(followed, live)
    this.#observe(followed)
  }

  /** Readers get a gap, and go on with what comes. */
  #startAnew(followed: Followed<Live>, live: Live): void {
    for (const subscription of followed.subscribers) unroute(followed, subscription)
    followed.history = new History(live)
    for (const subscription of followed.subscribers) reload(followed, subscription)
  }

  /** Holds nothing any more for those who might come back. */
  close(): void {
    for (const [table, followed] of this.#followed) {
      followed.cancelEnd?.()
      endComparison(followed)
      if (followed.subscribers.size === 0) this.#forget(table, followed)
    }
  }
}

/** Readers get no more of the table than what they have not read yet, and then this error. */
function fail<Live extends FeedTable>({ subscribers }: Followed<Live>, error: CacheError): void {
  for (const subscription of subscribers) {
    subscription.failure = error
    subscription.wake()
  }
}

/** Has the reader woken by the changes that may concern it. */
function route<Live extends FeedTable>(
  { dispatch, scanning }: Followed<Live>,
  subscription: Subscription<Live>,
): void {
  const { equality } = subscription
  if (equality === null) scanning.add(subscription)
  else {
    subscription.waitForOffers()
    dispatch.add(subscription, equality.column, equality.texts)
  }
}

function unroute<Live extends FeedTable>(
  { dispatch, scanning }: Followed<Live>,
  subscription: Subscription<Live>,
): void {
  const { equality } = subscription
  if (equality === null) scanning.delete(subscription)
  else dispatch.remove(subscription, equality.column, equality.texts)
}

function reload<Live extends FeedTable>(followed: Followed<Live>, subscription: Subscription<Live>): void {
  try {
    subscription.reloaded(followed.history)
  } catch (error) {
    // The table has another shape now, for which the filter has no meaning.
    subscription.failure = asError(error)
  }
  route(followed, subscription)
  subscription.wake()
}

/** Whether there was one; what it held is forgotten. */
function endComparison<Live extends FeedTable>(followed: Followed<Live>): boolean {
  const { comparison } = followed
  followed.comparison = null
  comparison?.end()
  return comparison !== null
}

function forgetPending<Live extends FeedTable>(followed: Followed<Live>): void {
  followed.pending = []
  followed.pendingBytes = 0
  followed.pendingIncomplete = false
}

function pack(table: TableStore, record: Address): PackedRow | null {
  return record === NONE ? null : table.packed(record)
}
