import type { Cache, KeyValue, TableChange } from '../../src/index.js'
import type { Random } from '../random.js'
import {
  type Declarations,
  isRefusal,
  MismatchError,
  type Oracle,
  type Place,
  placeOf,
  textOf,
} from './oracle.js'
import type { Scheduler } from './scheduler.js'
import { accounts, keyOfRow, type Row, type TableSpec, type Texts } from './schema.js'

export interface FollowerContext {
  readonly cache: Cache
  readonly scheduler: Scheduler
  readonly random: Random
  readonly oracle: Oracle
  readonly declarations: Declarations
  /** How often everything, or a table, was loaded anew so far. */
  readonly loads: () => number
  readonly onFailure: (error: Error) => void
}

/** Which of a table's rows a follower asks for. */
export interface Meant {
  readonly where: Readonly<Record<string, KeyValue>>
  readonly has: (texts: Texts) => boolean
}

/** Who was refused comes back after so long. */
const AGAIN_MS = 20
/** How long who leaves stays away, at most, and how often it leaves after a commit. */
const AWAY_MS = 60
const LEAVE_CHANCE = 0.05

type Change = TableChange<Row>

/**
 * Follows a table's changes, and pieces the table together from them: after each commit it was told of, it has to be what it was at that commit,
 * nothing of it twice and nothing left out.
 */
export class Follower {
  readonly spec: TableSpec
  readonly #context: FollowerContext
  readonly #meant: Meant | null
  /** Whether it leaves now and then, and comes back with the token of the last commit it was told of. */
  readonly #leaves: boolean
  /** The rows, as told; null while they are not known: they are read when that is possible. */
  #rows: Map<string, Row> | null = null
  /** The last commit that was told whole, or that was read. */
  #told: Place = { timeline: 0, lsn: 0 }
  /** Its token, with which the changes may be gone on with. */
  #token: string | null = null
  /** The commit that is being told. */
  #open: Place | null = null
  /** Loads that have excused that commits were left out. */
  #loads = 0
  #isStopped = false
  #isReading = false
  commits = 0
  gaps = 0
  resumed = 0

  constructor(context: FollowerContext, spec: TableSpec, meant: Meant | null, leaves: boolean) {
    this.#context = context
    this.spec = spec
    this.#meant = meant
    this.#leaves = leaves
    this.#begin()
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Whether what it was told makes up what is there at `place`. */
  isAt(place: Place): boolean {
    if (this.#rows === null || this.#open !== null) return false
    return this.#context.oracle.isTold(this.spec, this.#rows, place, texts => this.#has(texts))
  }

  #has(texts: Texts): boolean {
    return this.#meant === null || this.#meant.has(texts)
  }

  #begin(): void {
    if (this.#isStopped) return
    this.#follow()
      .catch((error: unknown) => {
        if (isRefusal(error)) {
          // What has come to an end by an error has told why, and not what else there was.
          this.#rows = null
          this.#token = null
          return AGAIN_MS
        }
        this.#context.onFailure(error instanceof Error ? error : new Error(String(error)))
        return null
      })
      .then(delayMs => {
        if (typeof delayMs === 'number') this.#context.scheduler.after(delayMs, () => this.#begin())
      })
      .catch((error: unknown) => this.#context.onFailure(error as Error))
  }

  /** Until it leaves; resolves with when it comes back, or null if the cache is closed. */
  async #follow(): Promise<number | null> {
    const { cache, declarations, random } = this.#context
    const table = cache.table(declarations.get(this.spec)!)
    const since = this.#token
    const changes = table.changes({
      ...(this.#meant === null ? {} : { where: this.#meant.where }),
      ...(since === null ? {} : { since }),
    })
    if (since === null) this.#rows = null
    else this.resumed++
    // Whoever begins reads what is there; what is told from then on comes after it.
    if (this.#rows === null) this.#read()
    for await (const change of changes) {
      if (this.#isStopped) return null
      this.#take(change)
      if (this.#leaves && this.#open === null && this.#token !== null && random.chance(LEAVE_CHANCE))
        return random.below(AWAY_MS)
    }
    return null
  }

  /** What is there now, if it can be read. */
  #read(): void {
    const { cache, declarations, loads, oracle } = this.#context
    if (oracle.doubts.has(this.spec)) {
      this.#readLater()
      return
    }
    const rows = new Map<string, Row>()
    try {
      for (const row of cache.table(declarations.get(this.spec)!).local)
        if (this.#isMeant(row)) rows.set(keyOfRow(this.spec, row), row)
      this.#told = placeOf(cache.position)
    } catch (error) {
      if (!isRefusal(error)) throw error
      this.#readLater()
      return
    }
    this.#rows = rows
    this.#open = null
    this.#token = cache.position
    this.#loads = loads()
  }

  #readLater(): void {
    if (this.#isReading) return
    this.#isReading = true
    this.#context.scheduler.after(AGAIN_MS, () => {
      this.#isReading = false
      if (this.#rows === null && !this.#isStopped) this.#read()
    })
  }

  #isMeant(row: Row): boolean {
    if (this.#meant === null) return true
    return Object.entries(this.#meant.where).every(([name, value]) => row[name] === value)
  }

  #take(change: Change): void {
    const place = placeOf(change.position)
    if (change.kind === 'gap') {
      this.gaps++
      this.#rows = null
      this.#open = null
      this.#read()
      return
    }
    // What it was not told of will be told when it is found out; until then nothing fits.
    if (this.#context.oracle.doubts.has(this.spec)) {
      this.#rows = null
      this.#open = null
      this.#readLater()
      return
    }
    if (this.#rows === null || isUpTo(place, this.#told)) {
      if (this.#open === null) return
      throw new MismatchError(
        `${this.spec.name}: a change at ${textOf(place)} was told after ${textOf(this.#told)}.`,
      )
    }
    if (this.#open !== null && (place.lsn !== this.#open.lsn || place.timeline !== this.#open.timeline))
      throw new MismatchError(
        `${this.spec.name}: part of the commit at ${textOf(this.#open)} was told, and then ${textOf(place)}.`,
      )
    if (!isUpTo(place, placeOf(this.#context.cache.position)))
      throw new MismatchError(
        `${this.spec.name}: the commit at ${textOf(place)} was told before it was visible.`,
      )
    this.#open = place
    if (change.kind === 'truncate') this.#rows.clear()
    else this.#apply(this.#rows, change, place)
    if (change.last) this.#complete(this.#rows, place, change.position)
  }

  #apply(rows: Map<string, Row>, { old, new: next }: Extract<Change, { old: unknown }>, place: Place): void {
    if (old === undefined || next === undefined)
      throw new MismatchError(
        `${this.spec.name} at ${textOf(place)}: the table is whole, and a row is not known.`,
      )
    if (old !== null) {
      const key = keyOfRow(this.spec, old)
      this.#context.oracle.checkOld(this.spec, rows.get(key), old, place)
      rows.delete(key)
    }
    if (next === null) return
    const key = keyOfRow(this.spec, next)
    if (rows.has(key))
      throw new MismatchError(
        `${this.spec.name} at ${textOf(place)}: a new row has the key of another one, ${JSON.stringify(next)}.`,
      )
    rows.set(key, next)
  }

  #complete(rows: ReadonlyMap<string, Row>, place: Place, token: string): void {
    const { oracle } = this.#context
    if (this.#meant === null && place.timeline === this.#told.timeline) this.#expectAll(place)
    oracle.checkTold(this.spec, rows, place, texts => this.#has(texts))
    this.#told = place
    this.#token = token
    this.#open = null
    this.commits++
  }

  /** Each commit is told by itself; only what differs after a load is told as one. */
  #expectAll(place: Place): void {
    const missed = this.#context.oracle.touching(this.spec, this.#told, place.lsn)
    if (missed === 0) return
    const loads = this.#context.loads()
    if (loads === this.#loads)
      throw new MismatchError(
        `${this.spec.name}: ${missed} commits between ${textOf(this.#told)} and ${textOf(place)} were not told.`,
      )
    this.#loads = loads
  }
}

function isUpTo(one: Place, other: Place): boolean {
  return one.timeline < other.timeline || (one.timeline === other.timeline && one.lsn <= other.lsn)
}

/** The column `active` of accounts. */
const ACTIVE: Meant = { where: { active: true }, has: texts => texts[3] === 't' }

/** One that follows each table that is held whole, one that leaves and comes back, and one that wants some of the rows. */
export function followersOf(tables: readonly TableSpec[], context: FollowerContext): Follower[] {
  return tables
    .filter(({ maxRows }) => maxRows === null)
    .flatMap(spec => [
      new Follower(context, spec, null, false),
      new Follower(context, spec, null, true),
      ...(spec === accounts ? [new Follower(context, spec, ACTIVE, false)] : []),
    ])
}
