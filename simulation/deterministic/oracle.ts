import { isDeepStrictEqual } from 'node:util'
import { type Cache, CacheError, type Snapshot } from '../../src/index.js'
import type { Coverage } from './coverage.js'
import type { Doubts } from './doubts.js'
import {
  type Declaration,
  jsValue,
  keyOf,
  keyOfRow,
  propertiesOf,
  type Row,
  type TableSpec,
  type Texts,
} from './schema.js'
import type { Position } from './server/log.js'
import type { PostgresModel } from './server/model.js'
import { ServerError } from './server/server-error.js'
import type { Change } from './server/transaction.js'
import type { Truth } from './server/truth.js'
import type { Acknowledged } from './writers.js'

/** The cache has shown what was never true, or did not do what it has to. */
export class MismatchError extends Error {}

/** The same, of what was to happen at last: nothing that was shown is wrong, but something never comes. */
export class LivenessError extends MismatchError {}

/** A commit of the primary's, as a token names it. */
export interface Place {
  readonly timeline: number
  readonly lsn: Position
}

export type Declarations = ReadonlyMap<TableSpec, Declaration>

/** Of each table, and of each commit, so many of the newest changes are remembered. */
const RECENT_CHANGES = 12

/** Clocks are looked at in turn: a read may be as much older than its bound as two looks are apart. */
const CLOCK_TOLERANCE_MS = 1

/** Holds what is read against what was true. */
export class Oracle {
  readonly #model: PostgresModel
  readonly #coverage: Coverage
  readonly #declarations: Declarations
  #newest: Place = { timeline: 0, lsn: 0 }
  /** Commits whose writers were told, in that order; the first `#due` of them are older than the bound. */
  readonly #acknowledged: Acknowledged[] = []
  #due = 0
  readonly #mustHave = new Map<number, Position>()
  readonly #recent = new Map<TableSpec, string[]>()

  constructor(
    model: PostgresModel,
    coverage: Coverage,
    declarations: Declarations,
    readonly doubts: Doubts,
  ) {
    this.#model = model
    this.#coverage = coverage
    this.#declarations = declarations
  }

  /** How far the server is. */
  get newestCommit(): Place {
    const { timeline, truth } = this.#model
    return { timeline, lsn: truth.newest }
  }

  /** Where memory was seen to be last. */
  get newest(): Place {
    return this.#newest
  }

  acknowledged(commit: Acknowledged): void {
    this.#acknowledged.push(commit)
  }

  /** What a server that was failed over has lost is nobody's claim any more. */
  lostAfter(timeline: number, position: Position): void {
    const kept = this.#acknowledged.filter(each => each.timeline !== timeline || each.end <= position)
    this.#acknowledged.length = 0
    this.#acknowledged.push(...kept)
    this.#due = 0
    this.#mustHave.clear()
  }

  /** Where memory is. It never goes back. */
  place(cache: Cache): Place {
    const place = placeOf(cache.position)
    const newest = this.#newest
    if (place.timeline < newest.timeline || (place.timeline === newest.timeline && place.lsn < newest.lsn))
      throw new MismatchError(`Memory has gone back: from ${textOf(newest)} to ${textOf(place)}.`)
    this.#newest = place
    return place
  }

  /** A read with this bound was allowed now: what was acknowledged before has to be in it. */
  checkAge({ timeline, lsn }: Place, nowMs: number, maxStalenessMs: number): void {
    while (this.#due < this.#acknowledged.length) {
      const commit = this.#acknowledged[this.#due]!
      if (commit.atMs >= nowMs - maxStalenessMs - CLOCK_TOLERANCE_MS) break
      this.#mustHave.set(commit.timeline, Math.max(this.#mustHave.get(commit.timeline) ?? 0, commit.end))
      this.#due++
    }
    for (const [of, end] of this.#mustHave)
      if (of > timeline || (of === timeline && end > lsn))
        throw new MismatchError(
          `A read was allowed at ${textOf({ timeline, lsn })}, though a commit at ${textOf({ timeline: of, lsn: end })} was acknowledged more than ${maxStalenessMs} ms before.`,
        )
  }

  /** What was altered in silence has to be found out before the age of what is read is more than its bound. */
  checkDoubt(spec: TableSpec, nowMs: number, maxStalenessMs: number): void {
    const sinceMs = this.doubts.sinceMs(spec)
    if (sinceMs === undefined || nowMs - sinceMs <= maxStalenessMs + CLOCK_TOLERANCE_MS) return
    throw new MismatchError(
      `${spec.name} is read ${nowMs - sinceMs} ms after it left the publication, though it may be ${maxStalenessMs} ms old.`,
    )
  }

  truth({ timeline }: Place): Truth | undefined {
    return this.#model.truths.get(timeline)
  }

  /** One row, as of exactly this commit. */
  checkRow(spec: TableSpec, key: string, found: Row | null | undefined, place: Place): void {
    this.#coverage.comparisons++
    const expected = this.truth(place)!.row(spec, key, place.lsn)
    if (isSame(spec, expected, found ?? null)) return
    throw new MismatchError(
      `${spec.name} ${JSON.stringify(propertiesOf(spec, key))} at ${textOf(place)}: expected ${show(spec, expected)}, found ${JSON.stringify(found ?? null)}.`,
    )
  }

  /** A row that was asked for while commits came: it must have been so at one of them. */
  checkBetween(spec: TableSpec, key: string, found: Row | null, from: Place, to: Place): void {
    if (from.timeline !== to.timeline) return
    this.#coverage.comparisons++
    const truth = this.truth(to)!
    const turns = truth.turns(from.lsn, to.lsn)
    if (turns.some(at => isSame(spec, truth.row(spec, key, at), found))) return
    throw new MismatchError(
      `${spec.name} ${JSON.stringify(propertiesOf(spec, key))} was ${JSON.stringify(found)} at no commit between ${textOf(from)} and ${textOf(to)}: at the last one it was ${show(spec, truth.row(spec, key, to.lsn))}.`,
    )
  }

  /** Every row of a whole table, and no other. */
  checkTable(spec: TableSpec, from: Cache | Snapshot, place: Place): void {
    const truth = this.truth(place)!
    const found = new Map<string, Row>()
    for (const row of from.table(this.#declarations.get(spec)!).local) found.set(keyOfRow(spec, row), row)
    let expected = 0
    for (const [key] of truth.rows(spec, place.lsn)) {
      expected++
      this.checkRow(spec, key, found.get(key), place)
    }
    if (found.size === expected) return
    const extra = [...found.keys()].find(key => truth.row(spec, key, place.lsn) === null)
    throw new MismatchError(
      `${spec.name} at ${textOf(place)} has ${found.size} rows instead of ${expected}: ${JSON.stringify(found.get(extra!))} should not be there.`,
    )
  }

  /** Of a bounded table, every row that memory knows, or knows to be absent. */
  checkKnown(spec: TableSpec, from: Cache, place: Place): void {
    const { local } = from.table(this.#declarations.get(spec)!)
    for (const key of this.truth(place)!.keys(spec)) {
      let found: Row | undefined
      try {
        found = local.get(propertiesOf(spec, key))
      } catch (error) {
        if (!isRefusal(error)) throw error
        continue
      }
      this.checkRow(spec, key, found, place)
    }
  }

  /** A commit has changed these rows. */
  committed(changes: readonly Change[]): void {
    for (const { spec, old, new: now } of changes.slice(-RECENT_CHANGES)) {
      if (spec === null) continue
      const recent = this.#recent.get(spec) ?? []
      this.#recent.set(spec, recent)
      for (const texts of [old, now]) if (texts !== null) recent.push(keyOf(spec, texts))
      recent.splice(0, recent.length - RECENT_CHANGES)
    }
  }

  /** Keys that were changed last. */
  recentKeys(spec: TableSpec): readonly string[] {
    return this.#recent.get(spec) ?? []
  }

  /** What a follower of the table's changes has after the commit at `place`: the rows that are meant, as they were then, and no other. */
  checkTold(
    spec: TableSpec,
    told: ReadonlyMap<string, Row>,
    place: Place,
    isMeant: (texts: Texts) => boolean,
  ): void {
    let expected = 0
    for (const [key, texts] of this.truth(place)!.rows(spec, place.lsn)) {
      if (!isMeant(texts)) continue
      expected++
      this.checkRow(spec, key, told.get(key), place)
    }
    if (told.size === expected) return
    throw new MismatchError(
      `The changes of ${spec.name} up to ${textOf(place)} leave ${told.size} rows instead of ${expected}.`,
    )
  }

  /** Whether the same holds, at a commit that nobody was told of as such. */
  isTold(
    spec: TableSpec,
    told: ReadonlyMap<string, Row>,
    place: Place,
    isMeant: (texts: Texts) => boolean,
  ): boolean {
    let expected = 0
    for (const [key, texts] of this.truth(place)!.rows(spec, place.lsn)) {
      if (!isMeant(texts)) continue
      expected++
      if (!isSame(spec, texts, told.get(key) ?? null)) return false
    }
    return told.size === expected
  }

  /** The row before a change is the one that was told before. */
  checkOld(spec: TableSpec, before: Row | undefined, old: Row, place: Place): void {
    this.#coverage.comparisons++
    if (isDeepStrictEqual(before, old)) return
    throw new MismatchError(
      `${spec.name} at ${textOf(place)}: a change's old row is ${JSON.stringify(old)}, and before it ${JSON.stringify(before ?? null)} was told.`,
    )
  }

  /** How many commits after `from`, and before `to` on the same timeline, have changed the table. */
  touching(spec: TableSpec, from: Place, to: Position): number {
    return this.truth(from)!.touching(spec, from.lsn, to)
  }

  /** A sum over several tables that no commit changes. */
  checkBalance(specs: readonly TableSpec[], from: Cache | Snapshot, expected: number): void {
    let sum = 0
    for (const spec of specs)
      for (const row of from.table(this.#declarations.get(spec)!).local)
        sum += row[spec.columns[spec.balance]!.name] as number
    this.#coverage.comparisons++
    if (sum !== expected)
      throw new MismatchError(
        `The sum over ${specs.map(({ name }) => name).join(' and ')} is ${sum} instead of ${expected}.`,
      )
  }
}

/** `1.<system>.<timeline>.<position>`, in base 36. */
export function placeOf(token: string): Place {
  const [, , timeline, position] = token.split('.')
  return { timeline: Number.parseInt(timeline!, 36), lsn: Number.parseInt(position!, 36) }
}

export function textOf({ timeline, lsn }: Place): string {
  return `${timeline}:${lsn.toString(16).toUpperCase()}`
}

/** The row that is expected has the columns in their order and nothing else. */
function isSame(spec: TableSpec, expected: Texts | null, found: Row | null): boolean {
  if (expected === null || found === null) return expected === null && found === null
  const { columns } = spec
  const names = Object.keys(found)
  return (
    names.length === columns.length &&
    columns.every(
      ({ name, type }, at) =>
        // All types that are simulated are primitives.
        names[at] === name && Object.is(found[name], jsValue(type, expected[at]!)),
    )
  )
}

function show(spec: TableSpec, texts: Texts | null): string {
  if (texts === null) return 'no row'
  return JSON.stringify(
    Object.fromEntries(spec.columns.map(({ name, type }, at) => [name, jsValue(type, texts[at]!)])),
  )
}

/** What the cache, or PostgreSQL itself, says by name; and nothing that neither expected. */
export function isRefusal(error: unknown): error is CacheError | ServerError {
  if (error instanceof ServerError) return true
  return error instanceof CacheError && error.code !== 'CACHE_INTERNAL' && error.code !== 'CACHE_DECODE'
}
