import { LRUCache } from 'lru-cache'
import type { GroupIndex } from '../store/group-index.js'
import type { FillBatch } from './fill-batch.js'
import type { Wanted } from './wanted.js'

/** Groups that were found to be too large, at most; and so many reads of such a one ask PostgreSQL before it is tried again. */
const LARGE_MAX = 1_024
const LARGE_READS = 64

/** What fills of one table have done. */
export interface FillCounts {
  /** Queries that were answered. */
  queries: number
  /** Keys and groups that were answered. */
  keys: number
  /** Rows of theirs. */
  rows: number
  /** Keys that needed no wait, since their row's last writer was shown to have been published. */
  fast: number
  /** Queries whose answer had to wait for the stream. */
  waits: number
  nudges: number
  /** Keys whose answer was not kept, since they were evicted meanwhile, or the generation ended. */
  cancelled: number
  /** Keys and groups that had to be asked for again. */
  again: number
  /** Groups that were too large to be kept. */
  tooLarge: number
  /** Queries that failed. */
  failed: number
}

/** What is asked for of one table. */
export class TableFills {
  /** By id. */
  readonly wanted = new Map<string, Wanted>()
  /** What is to be asked for again. A fresh read may have taken its place in `wanted`. */
  readonly again = new Set<Wanted>()
  /** What will be asked for when this synchronous run has ended: keys under null, and groups under their index. */
  readonly collecting = new Map<GroupIndex | null, FillBatch>()
  readonly counts: FillCounts = {
    queries: 0,
    keys: 0,
    rows: 0,
    fast: 0,
    waits: 0,
    nudges: 0,
    cancelled: 0,
    again: 0,
    tooLarge: 0,
    failed: 0,
  }
  readonly #large = new LRUCache<string, number>({ max: LARGE_MAX })

  /** Nothing of it is asked for any more. Returns what was. */
  takeAll(): Set<Wanted> {
    const all = new Set([...this.wanted.values(), ...this.again])
    this.collecting.clear()
    this.wanted.clear()
    this.again.clear()
    return all
  }

  noteLarge(group: string): void {
    this.counts.tooLarge++
    this.#large.set(group, LARGE_READS)
  }

  /** Whether the group was too large when it was last read, not many reads ago. */
  isLarge(group: string): boolean {
    const left = this.#large.get(group)
    if (left === undefined) return false
    if (left > 1) this.#large.set(group, left - 1)
    else this.#large.delete(group)
    return true
  }
}
