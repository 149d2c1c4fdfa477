import type { Lsn } from '../change/lsn.js'
import type { TableStore } from '../store/table.js'

/** A row as the store held it: its values' bytes, copied. */
export interface PackedRow {
  readonly bytes: Buffer
  readonly ascii: boolean
}

/** One change of one table, or the notice that changes of it were not kept. */
export type FeedRecord =
  | { readonly kind: 'write'; readonly old: PackedRow | null; readonly next: PackedRow | null }
  | { readonly kind: 'truncate' }
  | { readonly kind: 'gap'; readonly reason: 'slow reader' | 'reload' }

export interface FeedEntry {
  /** The table's number in the feed. */
  readonly table: number
  /** Reads the rows: after a reload the table may have another shape. */
  readonly store: TableStore
  readonly record: FeedRecord
  readonly position: Lsn
  /** Whether it is the commit's last of this table. */
  readonly last: boolean
  /** Counts the feed's entries. */
  readonly number: number
}

/** What an entry takes besides its rows' bytes. */
const ENTRY_BYTES = 200

/** The recent changes of all tables that somebody follows, bounded by bytes: the oldest leave first. */
export class FeedRing {
  readonly #limitBytes: number
  readonly #onDropped: (entry: FeedEntry) => void
  /** The oldest entry is at `#head`; what is before it has left. */
  #entries: (FeedEntry | undefined)[] = []
  #head = 0
  #bytes = 0
  #next = 0

  /** `onDropped` is told of each entry that leaves for want of room. */
  constructor(limitBytes: number, onDropped: (entry: FeedEntry) => void) {
    this.#limitBytes = limitBytes
    this.#onDropped = onDropped
  }

  /** The number that the next entry gets. */
  get next(): number {
    return this.#next
  }

  /** The number of the oldest entry that is still here. */
  get oldest(): number {
    return this.#next - (this.#entries.length - this.#head)
  }

  get bytes(): number {
    return this.#bytes
  }

  push(entry: Omit<FeedEntry, 'number'>): void {
    this.#entries.push({ ...entry, number: this.#next++ })
    this.#bytes += recordBytes(entry.record)
    while (this.#bytes > this.#limitBytes) this.#dropOldest()
    if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head)
      this.#head = 0
    }
  }

  #dropOldest(): void {
    const oldest = this.#entries[this.#head]!
    this.#bytes -= recordBytes(oldest.record)
    this.#entries[this.#head++] = undefined
    this.#onDropped(oldest)
  }

  /** The entry with this number; undefined if it has left or has not come yet. */
  at(number: number): FeedEntry | undefined {
    const place = number - this.oldest + this.#head
    return number < this.oldest ? undefined : this.#entries[place]
  }

  clear(): void {
    this.#entries = []
    this.#head = 0
    this.#bytes = 0
  }
}

export function recordBytes(record: FeedRecord): number {
  if (record.kind !== 'write') return ENTRY_BYTES
  return ENTRY_BYTES + (record.old?.bytes.length ?? 0) + (record.next?.bytes.length ?? 0)
}
