import { LRUCache } from 'lru-cache'
import type { CommitSeq } from './address.js'
import { type GroupValue, hashOfGroup } from './group-index.js'
import type { Readers } from './readers.js'
import type { Bounds } from './recency.js'

/** Groups with rows, and as many without any, that a table knows at most, and the bytes that they take; each apart, so that no amount of the latter drives one of the former out. */
const GROUPS_MAX = 65_536
const BYTES_MAX = 16 * 2 ** 20
/** Groups take at most this share of a table's bytes, those with rows and those without. */
const SHARE = 8
/** What a group costs besides its id. An estimate. */
const GROUP_BYTES = 256

/** Groups that only open snapshots know, at most: beyond it the oldest are forgotten, and those snapshots miss them. */
const PAST_MAX = 1_024

/** A group, all rows of which are known to readers of the states from `from` on and before `until`. */
interface Known {
  readonly value: GroupValue
  readonly hash: number
  readonly from: CommitSeq
  until: CommitSeq
}

/**
 * Which groups of rows a bounded table has whole, and for which states. The rows themselves are versions in their chains; this is but the
 * knowledge that none is missing.
 */
export class GroupCoverage {
  /** Groups that were forgotten for want of room. */
  evicted = 0
  readonly #readers: Readers
  readonly #present: LRUCache<string, Known>
  readonly #empty: LRUCache<string, Known>
  /** How many groups have each hash: most changes concern none of them. */
  readonly #hashes = new Map<number, number>()
  /** Groups that are no longer known, but were when a snapshot was taken. */
  #past: Known[] = []
  /** Groups that the transaction in progress has ended. */
  readonly #ending: Known[] = []
  /** A commit that may have taken a row out of any group, though nobody could tell: of the newest one that a snapshot does not see. */
  #uncertainFrom: CommitSeq = 0

  constructor({ maxRows, maxBytes }: Bounds, readers: Readers) {
    this.#readers = readers
    const list = (): LRUCache<string, Known> =>
      new LRUCache<string, Known>({
        max: Math.min(GROUPS_MAX, maxRows ?? GROUPS_MAX),
        maxSize: maxBytes === null ? BYTES_MAX : Math.max(GROUP_BYTES, Math.floor(maxBytes / SHARE)),
        sizeCalculation: (_, id) => GROUP_BYTES + id.length,
        disposeAfter: (group, _, reason) => {
          if (reason !== 'evict') return
          this.evicted++
          this.#gone(group)
        },
      })
    this.#present = list()
    this.#empty = list()
  }

  /** Groups with rows that are known whole; roughly: one that has lost its last row counts here until it is read. */
  get groups(): number {
    return this.#present.size
  }

  /** Values that no row has. */
  get emptyGroups(): number {
    return this.#empty.size
  }

  get isEmpty(): boolean {
    return this.#hashes.size === 0
  }

  #find(id: string): Known | undefined {
    return this.#present.peek(id) ?? this.#empty.peek(id)
  }

  /** Whether all rows of the group are known to a reader of state `at`. */
  covers(id: string, at: CommitSeq): boolean {
    const group = this.#find(id)
    if (group !== undefined && isKnownAt(group, at)) return true
    return this.#past.some(past => past.value.id === id && isKnownAt(past, at))
  }

  /** Whether a group with this hash may be known to the transaction in progress. Hot: once per change. */
  mayCover(hash: number): boolean {
    return this.#hashes.has(hash)
  }

  /** Whether the transaction in progress has the whole group before it. */
  coversPending(id: string): boolean {
    return this.#find(id)?.until === Number.POSITIVE_INFINITY
  }

  /** The value of a group that is known. */
  valueOf(id: string): GroupValue | undefined {
    return this.#find(id)?.value
  }

  /** All rows of the group are known from now on, and to readers from state `from` on. */
  cover(value: GroupValue, from: CommitSeq, isEmpty: boolean): void {
    this.forget(value.id)
    const hash = hashOfGroup(value)
    this.#hashes.set(hash, (this.#hashes.get(hash) ?? 0) + 1)
    const known: Known = { value, hash, from, until: Number.POSITIVE_INFINITY }
    const list = isEmpty ? this.#empty : this.#present
    list.set(value.id, known)
    if (!list.has(value.id)) this.#release(hash)
  }

  /** The group was read. */
  used(id: string, isEmpty: boolean): void {
    const [list, other] = isEmpty ? [this.#empty, this.#present] : [this.#present, this.#empty]
    if (list.get(id) !== undefined) return
    const group = other.peek(id)
    if (group === undefined) return
    other.delete(id)
    list.set(id, group)
    if (!list.has(id)) this.#release(group.hash)
  }

  /** A row of the group leaves memory now. False if the group was not known. */
  forget(id: string): boolean {
    const group = this.#find(id)
    if (group === undefined) return false
    this.#present.delete(id)
    this.#empty.delete(id)
    this.#gone(group)
    return true
  }

  /** Snapshots that are open keep what they see of the rows, and so they may know the group. */
  #gone(group: Known): void {
    this.#release(group.hash)
    group.until = Math.min(group.until, this.#readers.newestPin + 1)
    if (!this.#readers.pinnedIn(group.from, group.until)) return
    this.#past.push(group)
    if (this.#past.length > PAST_MAX) this.#past.shift()
  }

  #release(hash: number): void {
    const left = (this.#hashes.get(hash) ?? 1) - 1
    if (left === 0) this.#hashes.delete(hash)
    else this.#hashes.set(hash, left)
  }

  /** The transaction in progress makes the group unknown. */
  endPending(id: string, seq: CommitSeq): void {
    const group = this.#find(id)
    if (group === undefined || group.until !== Number.POSITIVE_INFINITY) return
    group.until = seq
    this.#ending.push(group)
  }

  /** It makes all groups unknown. */
  endAllPending(seq: CommitSeq): void {
    for (const list of [this.#present, this.#empty]) for (const id of list.keys()) this.endPending(id, seq)
  }

  publish(): void {
    for (const group of this.#ending.splice(0))
      if (this.#find(group.value.id) === group) this.forget(group.value.id)
  }

  aborted(): void {
    for (const group of this.#ending.splice(0))
      if (this.#find(group.value.id) === group) group.until = Number.POSITIVE_INFINITY
  }

  /** A change of commit `seq` to an unknown row: a snapshot can't tell in which groups it was before. */
  uncertain(seq: CommitSeq): void {
    this.#uncertainFrom = seq
  }

  /** The state from which no unknown row has left any group, where each unknown row was the same from `unchangedSince` on, or was changed by a commit after that. */
  since(unchangedSince: CommitSeq): CommitSeq {
    return Math.min(this.#readers.visible, Math.max(unchangedSince, this.#uncertainFrom))
  }

  /** A snapshot was released: what it alone could see of rows may go. */
  released(): void {
    if (this.#past.length === 0) return
    const { newestPin } = this.#readers
    this.#past = this.#past.filter(group => {
      group.until = Math.min(group.until, newestPin + 1)
      return this.#readers.pinnedIn(group.from, group.until)
    })
  }

  clear(): void {
    this.#present.clear()
    this.#empty.clear()
    this.#hashes.clear()
    this.#past = []
    this.#ending.length = 0
  }
}

function isKnownAt({ from, until }: Known, at: CommitSeq): boolean {
  return at >= from && at < until
}
