import type { Snapshot } from '../store/snapshot.js'
import { isFillable } from './answer.js'
import { fillInSnapshot, fillQueryInSnapshot } from './fill.js'
import type { LiveTable } from './live.js'
import type { CheckedQuery } from './query.js'
import type { Condition } from './where.js'

/** What answers a snapshot's question that memory can't: as of the snapshot's commit, or not at all. */
export interface BeyondMemory {
  /** Whether it may answer where memory has refused with this error. */
  answers(error: unknown): boolean
  /** The row with this key, or null. */
  findUnique(live: LiveTable, key: unknown, signal: AbortSignal | undefined): Promise<object | null>
  findMany(live: LiveTable, query: CheckedQuery, signal: AbortSignal | undefined): Promise<object[]>
  /** Without it, what memory can't count is not counted. */
  count?(live: LiveTable, where: Condition, signal: AbortSignal | undefined): Promise<number>
}

/** Reads what a bounded table does not know into memory, where it is shown to have been the same at the snapshot's commit. */
export class Fills implements BeyondMemory {
  readonly #snapshot: Snapshot

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot
  }

  answers(error: unknown): boolean {
    return isFillable(error)
  }

  findUnique(live: LiveTable, key: unknown, signal: AbortSignal | undefined): Promise<object | null> {
    return fillInSnapshot(live, this.#snapshot, key, signal)
  }

  findMany(live: LiveTable, query: CheckedQuery, signal: AbortSignal | undefined): Promise<object[]> {
    return fillQueryInSnapshot(live, this.#snapshot, query, signal)
  }
}
