import { LSN_ZERO, type Lsn } from '../change/lsn.js'
import type { CacheError } from '../errors.js'
import { type Address, NONE } from '../store/address.js'
import type { TableStore } from '../store/table.js'
import { type FeedEntry, type FeedRecord, FeedRing, type PackedRow, recordBytes } from './ring.js'

const SLOW: FeedRecord = { kind: 'gap', reason: 'slow reader' }

/** What `ChangeFeed` needs to know about a followed table. */
interface Followed {
  store: TableStore
  readonly subscribers: Set<Subscription>
  /** The table's changes by the transaction in progress. */
  pending: FeedRecord[]
  pendingBytes: number
  /** The transaction in progress has more changes than the ring can hold, or was joined in its middle. */
  pendingIncomplete: boolean
  /** The number of its newest entry that has left the ring; -1 if none has. */
  lost: number
}

/** One reader of one table's changes. */
export interface Subscription {
  readonly table: number
  /** The number of the next entry to look at. */
  at: number
  /** Called when there may be something new. */
  wake: () => void
  /** Why nothing more will come, once what is there has been read; null as long as something may. */
  failure: CacheError | null
}

/**
 * The tables' changes, commit by commit, for whoever follows them: one ring of bytes for all, a cursor for each. A table that nobody
 * follows costs nothing; a reader that is too slow finds its place gone and is told of a gap.
 */
export class ChangeFeed {
  readonly #ring: FeedRing
  readonly #limitBytes: number
  readonly #followed = new Map<number, Followed>()
  /** Of the newest entry, whether it is still in the ring or not. */
  #position: Lsn = LSN_ZERO

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
    this.#ring = new FeedRing(limitBytes, ({ table, number }) => {
      const followed = this.#followed.get(table)
      if (followed !== undefined) followed.lost = number
    })
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

  /** Follows the table from the next commit on. `midTransaction`: one is being applied, and its beginning has gone by unseen. */
  subscribe(table: number, store: TableStore, midTransaction: boolean): Subscription {
    const followed = this.#followed.get(table) ?? this.#follow(table, store, midTransaction)
    const subscription: Subscription = { table, at: this.#ring.next, wake: () => undefined, failure: null }
    followed.subscribers.add(subscription)
    return subscription
  }

  #follow(table: number, store: TableStore, midTransaction: boolean): Followed {
    const followed: Followed = {
      store,
      subscribers: new Set(),
      pending: [],
      pendingBytes: 0,
      pendingIncomplete: midTransaction,
      lost: -1,
    }
    this.#followed.set(table, followed)
    this.#observe(followed)
    return followed
  }

  #observe(followed: Followed): void {
    const { store } = followed
    store.observer = {
      wrote: (old, next) =>
        this.#add(followed, { kind: 'write', old: pack(store, old), next: pack(store, next) }),
      truncated: () => this.#add(followed, { kind: 'truncate' }),
      failed: error => {
        // What is gone only for now comes back with a reload, and readers are told of that.
        if (error.transient) return
        // Half a transaction is no commit.
        forgetPending(followed)
        for (const subscription of followed.subscribers) subscription.failure = error
        wakeAll(followed)
      },
    }
  }

  #add(followed: Followed, record: FeedRecord): void {
    if (followed.pendingIncomplete) return
    followed.pendingBytes += recordBytes(record)
    if (followed.pendingBytes > this.#limitBytes) {
      followed.pendingIncomplete = true
      followed.pending = []
    } else followed.pending.push(record)
  }

  unsubscribe(subscription: Subscription): void {
    const followed = this.#followed.get(subscription.table)
    if (followed === undefined || !followed.subscribers.delete(subscription) || followed.subscribers.size > 0)
      return
    followed.store.observer = null
    this.#followed.delete(subscription.table)
    if (this.#followed.size === 0) this.#ring.clear()
  }

  /** The transaction in progress is visible now: its changes go to the readers, all at once. */
  published(position: Lsn): void {
    for (const [table, followed] of this.#followed) {
      const { store, pending, pendingIncomplete } = followed
      if (pendingIncomplete) this.#push({ table, store, record: SLOW, position, last: true })
      for (let i = 0; i < pending.length; i++)
        this.#push({ table, store, record: pending[i]!, position, last: i === pending.length - 1 })
      forgetPending(followed)
      if (pendingIncomplete || pending.length > 0) wakeAll(followed)
    }
  }

  /** The transaction in progress was taken back. */
  aborted(): void {
    for (const followed of this.#followed.values()) forgetPending(followed)
  }

  /**
   * Another generation's tables are visible now: readers are told that they missed something. `midTransaction`: one is being applied to
   * them, and its beginning has gone by unseen.
   */
  reloaded(storeOf: (table: number) => TableStore, position: Lsn, midTransaction: boolean): void {
    for (const [table, followed] of this.#followed) {
      followed.store.observer = null
      followed.store = storeOf(table)
      forgetPending(followed)
      followed.pendingIncomplete = midTransaction
      this.#observe(followed)
      const record = { kind: 'gap', reason: 'reload' } as const
      this.#push({ table, store: followed.store, record, position, last: true })
      wakeAll(followed)
    }
  }

  #push(entry: Omit<FeedEntry, 'number'>): void {
    this.#position = entry.position
    this.#ring.push(entry)
  }

  /**
   * The subscription's next entry, or null if there is none yet. A gap, or an entry that has left the ring unread, comes as a gap at what is newest:
   * the reader reads everything again anyway, and what the ring has more of would only tell it twice.
   */
  read(subscription: Subscription): FeedEntry | null {
    const { table } = subscription
    const followed = this.#followed.get(table)
    if (followed !== undefined && followed.lost >= subscription.at)
      return this.#gap(subscription, followed.store, SLOW)
    // Other tables' entries may have left meanwhile.
    subscription.at = Math.max(subscription.at, this.#ring.oldest)
    for (
      let entry = this.#ring.at(subscription.at);
      entry !== undefined;
      entry = this.#ring.at(subscription.at)
    ) {
      subscription.at++
      if (entry.table !== table) continue
      return entry.record.kind === 'gap' ? this.#gap(subscription, entry.store, entry.record) : entry
    }
    return null
  }

  #gap(subscription: Subscription, store: TableStore, record: FeedRecord): FeedEntry {
    const { table } = subscription
    const number = this.#ring.next - 1
    subscription.at = this.#ring.next
    return { table, store, record, position: this.#position, last: true, number }
  }
}

function wakeAll({ subscribers }: Followed): void {
  for (const { wake } of subscribers) wake()
}

function forgetPending(followed: Followed): void {
  followed.pending = []
  followed.pendingBytes = 0
  followed.pendingIncomplete = false
}

function pack(store: TableStore, record: Address): PackedRow | null {
  return record === NONE ? null : store.packed(record)
}
