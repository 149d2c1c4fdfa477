import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import type { Lsn } from '../../src/change/lsn.js'
import {
  type Cache,
  NotLocalError,
  SnapshotMissError,
  SnapshotNotAlignedError,
  SnapshotTooOldError,
  StrictSnapshotLimitError,
  type Table,
  TableReloadingError,
} from '../../src/index.js'
import type { Random } from '../random.js'
import type { ItemHistory } from './item-history.js'
import type { Claim } from './recorder.js'
import { boundedItems, GROUPS, type Item, KEYS } from './schema.js'
import { codeOf } from './writers.js'

/** Keys that never have a row are read too. */
const KEYS_READ = KEYS + 60

const READS = { key: 30, fresh: 6, code: 20, group: 12, snapshot: 14, strict: 3, evict: 10 }

/** While commits hang there is no strict snapshot: a reader does not wait for long. */
const STRICT_TIMEOUT_MS = 300

/** After each of those, so many reads of memory, which cost next to nothing, of what was asked for lately: what it knows is put to the test over and over. */
const LOCAL_READS = 12
const LOCAL = { local: 14, localCode: 6, localGroup: 4 }
/** After one that was refused. */
const REFUSED_PAUSE_MS = 2
/** Questions of each kind that a reader remembers. */
const REMEMBERED = 24

/** What the readers have to say for themselves. */
export class Tally {
  /** Reads of a snapshot that were answered. */
  accepted = 0
  /** Reads that were refused by name: what memory could not prove. */
  refused = 0
  readonly byKind: Record<string, number> = {}
  readonly #claims: Claim[] = []

  claim(kind: string, claim: Claim): void {
    this.byKind[kind] = (this.byKind[kind] ?? 0) + 1
    this.#claims.push(claim)
  }

  /** The claims made since the last time. */
  take(): Claim[] {
    return this.#claims.splice(0)
  }
}

/** Reads at random: by key, unique key and group, what is there and what is not. */
export class Reader {
  /** The commit from which the read under way may be answered. */
  since: Lsn
  readonly #cache: Cache
  readonly #table: Table<Item>
  readonly #random: Random
  readonly #tally: Tally
  /** What was answered lately. */
  readonly #lately = { keys: [] as number[], codes: [] as string[], groups: [] as number[] }

  constructor(cache: Cache, random: Random, tally: Tally) {
    this.#cache = cache
    this.#table = cache.table(boundedItems)
    this.#random = random
    this.#tally = tally
    this.since = this.#now()
  }

  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      this.since = this.#now()
      const { refused } = this.#tally
      if (await this.#one()) this.#readMemory()
      // A table that is being read anew refuses everything: those who write, and read it anew, are to have the machine then.
      if (this.#tally.refused > refused) await delay(REFUSED_PAUSE_MS)
      else await nextTurn()
    }
  }

  /** All at one commit. What is known no more is not asked again until it has been asked for. */
  #readMemory(): void {
    const now = this.#now()
    const { keys, codes, groups } = this.#lately
    for (let left = LOCAL_READS; left > 0; left--) {
      const kind = this.#random.weighted(LOCAL)
      if (kind === 'local') this.#ask(keys, id => this.#local(id, now))
      else if (kind === 'localCode') this.#ask(codes, code => this.#localCode(code, now))
      else this.#ask(groups, grp => this.#localGroup(grp, now))
    }
  }

  #ask<T>(lately: T[], read: (question: T) => boolean): void {
    if (lately.length === 0) return
    const question = this.#random.pick(lately)
    if (!read(question)) lately.splice(lately.indexOf(question), 1)
  }

  /** False if it only made room. */
  async #one(): Promise<boolean> {
    const kind = this.#random.weighted(READS)
    if (kind === 'evict') this.#table.evict(this.#key())
    else await this[kind]()
    return kind !== 'evict'
  }

  /** The newest visible commit. */
  #now(): Lsn {
    using snapshot = this.#cache.snapshot()
    return snapshot.lsn
  }

  #key(): number {
    return this.#random.between(1, KEYS_READ)
  }

  async key(): Promise<void> {
    const id = this.#key()
    const from = this.since
    const answer = await this.#known(this.#table.findUnique({ where: { id } }))
    if (answer === undefined) return
    const now = this.#now()
    this.#tally.claim('key', { ...keyClaim('findUnique', id), answer, from, to: now })
    // What was filled is now covered, and stands for one known commit.
    this.#local(id, now)
    remember(this.#lately.keys, id)
  }

  /** At least as new as the database was: its commit may not be visible yet. */
  async fresh(): Promise<void> {
    const id = this.#key()
    const from = this.since
    const answer = await this.#known(this.#table.findUnique({ where: { id }, consistency: 'fresh' }))
    if (answer === undefined) return
    const token = await this.#cache.token()
    await this.#cache.waitFor(token, { timeoutMs: 60_000 })
    this.#tally.claim('fresh', { ...keyClaim('findUnique, fresh', id), answer, from, to: this.#now() })
  }

  async code(): Promise<void> {
    const code = codeOf(this.#random)
    const from = this.since
    const answer = await this.#known(this.#table.findUnique({ where: { code } }))
    if (answer === undefined) return
    this.#tally.claim('code', { ...codeClaim('findUnique', code), answer, from, to: this.#now() })
    remember(this.#lately.codes, code)
  }

  async group(): Promise<void> {
    const grp = this.#random.below(GROUPS + 1)
    const from = this.since
    const answer = await this.#known(this.#table.findMany({ where: { grp } }))
    if (answer === undefined) return
    this.#tally.claim('group', {
      ...groupClaim('findMany', grp),
      answer: byKey(answer),
      from,
      to: this.#now(),
    })
    remember(this.#lately.groups, grp)
  }

  /** Undefined if it was refused: what can't be shown in time is not guessed. */
  async #known<T>(read: Promise<T>): Promise<T | undefined> {
    try {
      return await read
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#tally.refused++
      return undefined
    }
  }

  #local(id: number, now: Lsn): boolean {
    const answer = this.#proven(() => this.#table.local.get(id) ?? null)
    if (answer === undefined) return false
    this.#tally.claim('local', { ...keyClaim('local.get', id), answer, from: now, to: now })
    return true
  }

  #localCode(code: string, now: Lsn): boolean {
    const answer = this.#proven(() => this.#table.local.get({ code }) ?? null)
    if (answer === undefined) return false
    this.#tally.claim('localCode', { ...codeClaim('local.get', code), answer, from: now, to: now })
    return true
  }

  #localGroup(grp: number, now: Lsn): boolean {
    const answer = this.#proven(() => byKey(this.#table.local.findMany({ where: { grp } })))
    if (answer === undefined) return false
    this.#tally.claim('localGroup', { ...groupClaim('local.findMany', grp), answer, from: now, to: now })
    return true
  }

  /** Undefined if memory can't prove it. */
  #proven<T>(read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#tally.refused++
      return undefined
    }
  }

  /** A few reads of one commit, with time in between for it to become an old one. */
  async snapshot(): Promise<void> {
    using snapshot = this.#cache.snapshot()
    const table = snapshot.table(boundedItems)
    const at = { from: snapshot.lsn, to: snapshot.lsn }
    for (let left = this.#random.between(1, 4); left > 0; left--) {
      try {
        if (this.#random.chance(0.3)) {
          const grp = this.#random.below(GROUPS + 1)
          const answer = byKey(await table.findMany({ where: { grp } }))
          this.#tally.claim('snapshot', { ...groupClaim('snapshot findMany', grp), answer, ...at })
        } else {
          const id = this.#key()
          const answer = await table.findUnique({ where: { id } })
          this.#tally.claim('snapshot', { ...keyClaim('snapshot findUnique', id), answer, ...at })
        }
        this.#tally.accepted++
      } catch (error) {
        if (!isRefusal(error)) throw error
        this.#tally.refused++
        if (error instanceof SnapshotTooOldError) return
      }
      await nextTurn()
    }
  }

  /** What memory holds and what it does not, as of one commit. */
  async strict(): Promise<void> {
    try {
      await using snapshot = await this.#cache.strictSnapshot({ timeoutMs: STRICT_TIMEOUT_MS })
      const table = snapshot.table(boundedItems)
      const at = { from: snapshot.lsn, to: snapshot.lsn }
      const [id, code, grp] = [this.#key(), codeOf(this.#random), this.#random.below(GROUPS + 1)]
      const found = await table.findUnique({ where: { id } })
      this.#tally.claim('strict', { ...keyClaim('strict findUnique', id), answer: found, ...at })
      const coded = await table.findUnique({ where: { code } })
      this.#tally.claim('strict', { ...codeClaim('strict findUnique', code), answer: coded, ...at })
      const group = byKey(await table.findMany({ where: { grp } }))
      this.#tally.claim('strict', { ...groupClaim('strict findMany', grp), answer: group, ...at })
      this.#tally.accepted += 3
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#tally.refused++
    }
  }
}

function remember<T>(lately: T[], question: T): void {
  lately.push(question)
  if (lately.length > REMEMBERED) lately.shift()
}

/** What can't be shown to be true is refused by one of these names. */
function isRefusal(error: unknown): boolean {
  return (
    error instanceof NotLocalError ||
    error instanceof SnapshotMissError ||
    error instanceof SnapshotTooOldError ||
    error instanceof SnapshotNotAlignedError ||
    error instanceof StrictSnapshotLimitError ||
    error instanceof TableReloadingError
  )
}

type Question = Pick<Claim, 'read' | 'truth' | 'keys'>

function keyClaim(read: string, id: number): Question {
  return { read: `${read} of key ${id}`, truth: (history, at) => history.at(id, at), keys: () => [id] }
}

function codeClaim(read: string, code: string): Question {
  const keys = (history: ItemHistory): Iterable<number> => history.holders(code)
  return {
    read: `${read} of code ${code}`,
    keys,
    truth: (history, at) => rowsAt(history, keys(history), at).find(row => row.code === code) ?? null,
  }
}

function groupClaim(read: string, grp: number): Question {
  const keys = (history: ItemHistory): Iterable<number> => history.members(grp)
  return {
    read: `${read} of group ${grp}`,
    keys,
    truth: (history, at) => byKey(rowsAt(history, keys(history), at).filter(row => row.grp === grp)),
  }
}

function rowsAt(history: ItemHistory, keys: Iterable<number>, at: Lsn): Item[] {
  return [...keys].flatMap(key => history.at(key, at) ?? [])
}

function byKey(rows: readonly Item[]): Item[] {
  return rows.toSorted((a, b) => a.id - b.id)
}
