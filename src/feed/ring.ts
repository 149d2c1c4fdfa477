import type { Lsn } from '../change/lsn.js'
import type { PackedRow, ToldRow } from '../store/packed-row.js'
import type { Snapshot } from '../store/snapshot.js'
import type { TableStore } from '../store/table.js'

/** A row as the store held it, or what a change told of one that it did not hold. */
export type FeedRow = PackedRow & Partial<ToldRow>

export type GapReason = 'slow reader' | 'reload' | 'history'

/** One change of one table, or the notice that changes of it were not kept. */
export type FeedRecord =
  | { readonly kind: 'write'; readonly old: FeedRow | null; readonly next: FeedRow | null }
  | { readonly kind: 'truncate' }
  | { readonly kind: 'gap'; readonly reason: GapReason }

/** A table of one generation. */
export interface FeedTable {
  readonly table: TableStore
  readonly store: { readonly position: Lsn; snapshot(): Snapshot }
}

export interface FeedEntry {
  readonly record: FeedRecord
  readonly position: Lsn
  /** Whether it is the commit's last of this table. */
  readonly last: boolean
}

/** What an entry takes besides its rows' bytes. */
const ENTRY_BYTES = 200
/** Places that were left are kept until there are so many. */
const LEFT_MAX = 1024

/** A queue whose members are numbered in the order of their coming. */
export class Fifo<T> {
  /** The oldest is at `#head`; what is before it has left. */
  #members: (T | undefined)[] = []
  #head = 0
  #next = 0

  /** The number that the next member gets. */
  get next(): number {
    return this.#next
  }

  /** The number of the oldest member that is still here. */
  get first(): number {
    return this.#next - this.length
  }

  get length(): number {
    return this.#members.length - this.#head
  }

  push(member: T): void {
    this.#members.push(member)
    this.#next++
  }

  /** The member with this number; undefined if it has left or has not come yet. */
  at(number: number): T | undefined {
    const { first } = this
    return number < first ? undefined : this.#members[number - first + this.#head]
  }

  /** The oldest member, which leaves. */
  shift(): T | undefined {
    if (this.length === 0) return undefined
    const oldest = this.#members[this.#head]
    this.#members[this.#head++] = undefined
    if (this.#head > LEFT_MAX && this.#head * 2 > this.#members.length) {
      this.#members = this.#members.slice(this.#head)
      this.#head = 0
    }
    return oldest
  }

  clear(): void {
    this.#members = []
    this.#head = 0
  }
}

/** The recent changes of one table of one generation. */
export class History<Live extends FeedTable = FeedTable> {
  /** Reads the rows: of another generation, once the difference to that one has been told. */
  live: Live
  readonly entries = new Fifo<FeedEntry>()
  /** Everything after this position is here. */
  heldFrom: Lsn

  constructor(live: Live) {
    this.live = live
    this.heldFrom = live.store.position
  }

  /** The number of the first entry after `position`. */
  firstAfter(position: Lsn): number {
    let low = this.entries.first
    let high = this.entries.next
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.entries.at(middle)!.position <= position) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** What keeps the recent changes of all tables together within one bound of bytes: the oldest leave first. */
export class FeedRing {
  readonly #limitBytes: number
  /** Whose entry is the oldest, the next, and so on. */
  readonly #order = new Fifo<History>()
  #bytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  push(history: History, entry: FeedEntry): void {
    history.entries.push(entry)
    this.#order.push(history)
    this.#bytes += recordBytes(entry.record)
    while (this.#bytes > this.#limitBytes) this.#dropOldest()
  }

  #dropOldest(): void {
    const history = this.#order.shift()!
    const { record, position } = history.entries.shift()!
    history.heldFrom = position
    this.#bytes -= recordBytes(record)
  }

  clear(): void {
    this.#order.clear()
    this.#bytes = 0
  }
}

export function recordBytes(record: FeedRecord): number {
  if (record.kind !== 'write') return ENTRY_BYTES
  return ENTRY_BYTES + (record.old?.bytes.length ?? 0) + (record.next?.bytes.length ?? 0)
}
