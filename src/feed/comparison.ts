import type { Lsn } from '../change/lsn.js'
import type { Timers } from '../runtime.js'
import type { Snapshot } from '../store/snapshot.js'
import { Difference } from './difference.js'
import { type FeedEntry, type FeedRecord, type FeedTable, recordBytes } from './ring.js'

/** Rows that are looked at between two turns of the event loop: about a millisecond. */
const ROWS_PER_TURN = 1_024

/**
 * The comparison of a followed table with itself loaded anew. Until it is done its readers get nothing: first comes what differs, then what was committed
 * meanwhile, which is held here.
 */
export class Comparison {
  readonly #limitBytes: number
  readonly #old: FeedTable
  readonly #before: Snapshot
  #after: Snapshot | null = null
  #held: FeedEntry[] = []
  #heldBytes = 0
  #isOver = false

  /** Holds the state that the readers of `old` have been told of. */
  constructor(old: FeedTable, limitBytes: number) {
    this.#old = old
    this.#limitBytes = limitBytes
    this.#before = old.store.snapshot()
  }

  /** Whether it has begun: else it waits for the end of a transaction that the new table was taken over in the middle of. */
  get hasBegun(): boolean {
    return this.#after !== null
  }

  /** Whether more was committed meanwhile than is held, or it was ended. */
  get isGivenUp(): boolean {
    return this.#isOver || this.#heldBytes > this.#limitBytes
  }

  /** What was committed since it began. */
  get held(): readonly FeedEntry[] {
    return this.#held
  }

  /** Holds back a change until the difference is told. */
  hold(record: FeedRecord, position: Lsn, last: boolean): void {
    this.#heldBytes += recordBytes(record)
    if (this.isGivenUp) this.#held = []
    else this.#held.push({ record, position, last })
  }

  /**
   * What differs between the state held and the one that is visible now in `next`, as the changes of one commit; null if that can't be told: it is too
   * much, or it was ended meanwhile, or the two have the same position.
   */
  async run(next: FeedTable, timers: Pick<Timers, 'yield'>): Promise<readonly FeedEntry[] | null> {
    this.#after = next.store.snapshot()
    const { position, seq } = this.#after
    const before = { table: this.#old.table, at: this.#before.seq }
    const difference = new Difference(before, { table: next.table, at: seq }, this.#limitBytes)
    while (!this.isGivenUp && difference.look(ROWS_PER_TURN)) await timers.yield()
    if (this.isGivenUp || difference.isGivenUp) return null
    const { records } = difference
    if (records.length > 0 && position <= this.#before.position) return null
    return records.map((record, i) => ({ record, position, last: i === records.length - 1 }))
  }

  /** Lets go of the states. Idempotent. */
  end(): void {
    this.#isOver = true
    this.#held = []
    this.#before.release()
    this.#after?.release()
  }
}
