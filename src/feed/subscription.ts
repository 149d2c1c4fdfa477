import { LSN_ZERO, type Lsn } from '../change/lsn.js'
import { filtered, type RowFilter } from './filter.js'
import {
  type FeedEntry,
  type FeedRecord,
  type FeedTable,
  Fifo,
  type GapReason,
  type History,
} from './ring.js'

/** There may be something, but it takes more looking: the reader gives up its turn of the event loop, then looks again. */
export const MORE = Symbol('more')

/** Entries that one call of `read` looks at. */
const LOOKS_MAX = 512
/** Entries that a reader was told of and has not read; one that lets more come together is too slow. */
const OFFERED_MAX = 16_384

/**
 * One reader of one table's changes: a cursor. It looks at every entry, or is told of those that may concern it. Of what a filter leaves of a commit
 * it marks the last, so it sees the rest of the commit before it hands that over.
 */
export class Subscription<Live extends FeedTable = FeedTable> {
  readonly table: number
  /** Which rows of a generation's table are meant; null for all of them. */
  readonly compile: ((live: Live) => RowFilter) | null
  /** Called when there may be something new. */
  wake: () => void = () => undefined
  /** Why nothing more will come, once what is there has been read; null as long as something may. */
  failure: Error | null = null
  #history: History<Live>
  #filter: RowFilter | null
  /** The next entry to look at, below `#lookUntil`; from there on it waits to be told. */
  #at: number
  #lookUntil = Number.POSITIVE_INFINITY
  /** Entries up to this position are not meant. */
  #after: Lsn = LSN_ZERO
  readonly #offered = new Fifo<number>()
  #newestOffered = -1
  #isTooSlow = false
  /** A gap that comes before anything else. */
  #gap: GapReason | null = null
  /** What is next, if the rest of its commit has to be seen first. */
  #found: FeedEntry | null = null

  /** From the next entry on. `compile` may throw what makes a filter meaningless for the table. */
  constructor(table: number, history: History<Live>, compile: ((live: Live) => RowFilter) | null) {
    this.table = table
    this.compile = compile
    this.#history = history
    this.#filter = compile === null ? null : compile(history.live)
    this.#at = history.entries.next
  }

  /** The generation whose entries it reads. */
  get live(): Live {
    return this.#history.live
  }

  /** Where a look-up finds the changes that may concern it; null if it has to look at every one. */
  get equality(): RowFilter['equality'] {
    return this.#filter === null ? null : this.#filter.equality
  }

  /** Begins with the first change after `position`, or with a gap if not all of them are there. Null: with a gap. */
  since(position: Lsn | null): void {
    if (position === null || position < this.#history.heldFrom) this.#gap = 'history'
    else {
      this.#at = this.#history.firstAfter(position)
      this.#after = position
    }
  }

  /** What is at or before `position` is not meant, though it may come yet. */
  onlyAfter(position: Lsn): void {
    if (position > this.#after) this.#after = position
  }

  /** From the next entry on it is told of those that may concern it. */
  waitForOffers(): void {
    this.#lookUntil = this.#history.entries.next
  }

  /** Entry `number` may concern it. Without effect on one that looks at every entry anyway. */
  offer(number: number): void {
    if (number === this.#newestOffered || number < this.#lookUntil) return
    this.#newestOffered = number
    if (this.#offered.length < OFFERED_MAX) this.#offered.push(number)
    else this.#isTooSlow = true
    this.wake()
  }

  /** Another generation is read: what it has not read of the old one is part of the gap. Its positions may be those of another history, and lower. */
  reloaded(history: History<Live>): void {
    this.#history = history
    this.#after = LSN_ZERO
    this.#lookUntil = Number.POSITIVE_INFINITY
    this.#newestOffered = -1
    this.#gap = 'reload'
    if (this.compile !== null) this.#filter = this.compile(history.live)
  }

  /**
   * The next change that is meant, null if there is none yet, or MORE.
   *
   * A gap, or an entry that has left the ring unread, comes as a gap at what is newest: the reader reads everything again anyway, and what the
   * ring has more of would only tell it twice.
   */
  read(): FeedEntry | null | typeof MORE {
    if (this.#gap !== null) return this.#gapAtNewest(this.#gap)
    if (this.#isBehind()) return this.#gapAtNewest('slow reader')
    for (let looks = 0; looks < LOOKS_MAX; looks++) {
      const entry = this.#peek()
      const found = this.#found
      // A commit's entries come all at once, so the commit of what was found is over.
      if (entry === undefined || (found !== null && entry.position !== found.position))
        return found === null ? null : this.#last(found)
      if (entry.record.kind === 'gap') return this.#gapAtNewest(entry.record.reason)
      this.#skip()
      const record = entry.position > this.#after ? this.#meant(entry.record) : null
      if (record !== null) {
        const meant = record === entry.record ? entry : { ...entry, record }
        if (found === null && (entry.last || this.#filter === null)) return meant
        this.#found = meant
        if (found !== null) return found
      } else if (found !== null && entry.last) return this.#last(found)
    }
    return MORE
  }

  #last(found: FeedEntry): FeedEntry {
    this.#found = null
    return { ...found, last: true }
  }

  #meant(record: FeedRecord): FeedRecord | null {
    return this.#filter === null ? record : filtered(record, this.#filter, this.#history.live.table.format)
  }

  /** The next entry that may concern it. */
  #peek(): FeedEntry | undefined {
    const { entries } = this.#history
    return entries.at(this.#at < this.#lookUntil ? this.#at : (this.#offered.at(this.#offered.first) ?? -1))
  }

  #skip(): void {
    if (this.#at < this.#lookUntil) this.#at++
    else this.#offered.shift()
  }

  #isBehind(): boolean {
    const { first, next } = this.#history.entries
    if (this.#isTooSlow) return true
    if (this.#at < Math.min(this.#lookUntil, next)) return this.#at < first
    const offered = this.#offered.at(this.#offered.first)
    return offered !== undefined && offered < first
  }

  /** Goes on with what comes after the newest entry. */
  skip(): void {
    this.#gap = null
    this.#found = null
    this.#isTooSlow = false
    this.#offered.clear()
    this.#at = this.#history.entries.next
  }

  #gapAtNewest(reason: GapReason): FeedEntry {
    const { live } = this.#history
    this.skip()
    return { record: { kind: 'gap', reason }, position: live.store.position, last: true }
  }
}
