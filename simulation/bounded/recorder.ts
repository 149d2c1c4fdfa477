import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { Lsn } from '../../src/change/lsn.js'
import { type Cache, openCache, type OpenCacheOptions, type TableChange } from '../../src/index.js'
import { type Item, wholeItems } from './schema.js'

/** A row, or that there was none, from one commit on. */
interface Version {
  readonly from: Lsn
  readonly row: Item | null
}

/** Ample for the changes of a second: a recorder that misses one is of no use. */
const FEED_BYTES = 256 * 1024 * 1024

/**
 * The history of every row, by the whole table's own change stream: what any read of any commit must have shown. It shares nothing with the cache
 * under test but the decoder.
 */
export class Recorder implements AsyncDisposable {
  readonly #cache: Cache
  readonly #reading: Promise<void>
  readonly #versions = new Map<number, Version[]>()
  readonly #holders = new Map<string, Set<number>>()
  #changes = 0

  static async open(options: Omit<OpenCacheOptions, 'entities'>): Promise<Recorder> {
    return new Recorder(await openCache({ ...options, entities: [wholeItems], feedBytes: FEED_BYTES }))
  }

  private constructor(cache: Cache) {
    this.#cache = cache
    const changes = cache.table(wholeItems).changes()
    using snapshot = cache.snapshot()
    for (const row of snapshot.table(wholeItems).local) this.#note(row.id, { from: snapshot.lsn, row })
    this.#reading = this.#read(changes, snapshot.lsn)
  }

  /** How many changes there were. */
  get changes(): number {
    return this.#changes
  }

  /** Every key that ever had a row. */
  get keys(): Iterable<number> {
    return this.#versions.keys()
  }

  /** The keys of all rows that ever had this code. */
  holders(code: string): Iterable<number> {
    return this.#holders.get(code) ?? []
  }

  /** Resolves when the history is known up to the token's commit. */
  async reached(token: string): Promise<void> {
    await this.#cache.waitFor(token, { timeoutMs: 60_000 })
    for (let seen = -1; seen !== this.#changes; await nextTurn()) seen = this.#changes
  }

  /** The row with this key as of the commit at or before `lsn`. */
  at(key: number, lsn: Lsn): Item | null {
    return this.#versions.get(key)?.findLast(({ from }) => from <= lsn)?.row ?? null
  }

  /** The positions, from `from` to `to`, at which one of these keys' rows became another, and `from` itself. */
  turns(keys: Iterable<number>, from: Lsn, to: Lsn): Lsn[] {
    const turns = new Set([from])
    for (const key of keys)
      for (const { from: turn } of this.#versions.get(key) ?? [])
        if (turn > from && turn <= to) turns.add(turn)
    return [...turns]
  }

  /** Forgets what no read can be about any more. */
  forgetBefore(lsn: Lsn): void {
    for (const versions of this.#versions.values()) {
      const keep = versions.findLastIndex(({ from }) => from <= lsn)
      if (keep > 0) versions.splice(0, keep)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cache.close()
    await this.#reading
  }

  async #read(changes: AsyncIterable<TableChange<Item>>, since: Lsn): Promise<void> {
    for await (const change of changes) {
      if (change.lsn <= since) continue
      this.#changes++
      if (change.kind === 'gap') throw new Error('The recorder was told of a gap: its history has a hole.')
      if (change.kind === 'truncate') {
        for (const key of this.#versions.keys()) this.#note(key, { from: change.lsn, row: null })
        continue
      }
      const { old, new: next, lsn: from } = change
      // Undefined for bounded tables alone: this one is whole.
      if (old != null && old.id !== next?.id) this.#note(old.id, { from, row: null })
      if (next !== null) this.#note(next.id, { from, row: next })
    }
  }

  #note(key: number, version: Version): void {
    const versions = this.#versions.get(key) ?? []
    this.#versions.set(key, versions)
    // A commit may change a row more than once: the last change is what it made of it.
    if (versions.at(-1)?.from === version.from) versions.pop()
    versions.push(version)
    if (version.row === null) return
    const { code } = version.row
    const holders = this.#holders.get(code) ?? new Set()
    this.#holders.set(code, holders.add(key))
  }
}

/** What was read, and between which commits (both included) the answer must have been true. */
export interface Claim {
  readonly read: string
  readonly answer: Item | readonly Item[] | null
  readonly from: Lsn
  readonly to: Lsn
  /** What the answer is as of one commit. */
  readonly truth: (recorder: Recorder, at: Lsn) => Item | readonly Item[] | null
  /** The keys that it may depend on. */
  readonly keys: (recorder: Recorder) => Iterable<number>
}

/** Whether the claim was true at one commit of its range. The recorder must have reached its end. */
export function isTrue(recorder: Recorder, { answer, from, to, truth, keys }: Claim): boolean {
  return recorder.turns(keys(recorder), from, to).some(at => isDeepStrictEqual(truth(recorder, at), answer))
}
