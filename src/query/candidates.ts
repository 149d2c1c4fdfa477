import type { TupleView } from '../change/change.js'
import type { TableMapping } from '../mapping/mapping.js'
import { NULL_KEY } from '../sql/encode.js'
import { type KeyText, keyTextOf } from '../sql/key-text.js'
import { type Address, NONE, type RowId } from '../store/address.js'
import type { HashEntries } from '../store/index/hash-entries.js'
import { Batch, Place, type SortedEntries } from '../store/index/sorted-entries.js'
import type { IndexKey } from '../store/index/stored-index.js'
import { KeyBuffer } from '../store/record.js'
import type { TableStore } from '../store/table.js'
import type { KeyRange } from './key-range.js'
import type { Found } from './found.js'
import type { IndexPlan, Plan, Walk } from './plan.js'
import type { Slot } from './slot.js'

/** Told of each row that a plan finds, which `view` shows; false to stop. */
export type Visit = (record: Address) => boolean

/** Index entries that are looked at together: where their rows lie in memory is then found for all of them at once. */
const BATCH_MAX = 64
/** The first ones: often there are no more. */
const BATCH_FIRST = 16

/** Goes through the rows of one table that a plan finds, as a reader of one state sees them. */
export class Candidates {
  /** The row that is visited, in the mapping's order. */
  readonly view: TupleView
  /** The keys of the index entries that are looked at, and where the one begins that led to the visited row. */
  batch = new Batch(BATCH_MAX, 1)
  keyStart = 0
  readonly #table: TableStore
  readonly #texts: readonly KeyText[]
  readonly #keyBuffer = new KeyBuffer()
  readonly #place = new Place()
  readonly #until = new Place()
  /** Those of the entries in `batch`. */
  readonly records = new Uint32Array(BATCH_MAX)
  #batches: Batch[] = []
  #ownKey = new Float64Array(1)
  /** The rows that were visited already, while several ways are gone of which each may find the same row; else null. */
  #seen: Set<RowId> | null = null

  constructor(mapping: TableMapping, table: TableStore, view: TupleView) {
    this.#table = table
    this.view = view
    this.#texts = mapping.key.map(column => keyTextOf(mapping.columns[column]!))
  }

  /** Visits each row once. False if `visit` has stopped it. */
  visit(plan: Plan, at: number, visit: Visit): boolean {
    switch (plan.kind) {
      case 'scan':
        return this.#scan(at, visit)
      case 'key':
        return this.#byKeys(plan.keys, at, visit)
      case 'index':
        return this.#ranges(plan, at, visit)
      case 'union':
        return this.#union(plan.of, at, visit)
    }
  }

  #union(plans: readonly Plan[], at: number, visit: Visit): boolean {
    this.#seen = new Set()
    try {
      return plans.every(plan => this.visit(plan, at, visit))
    } finally {
      this.#seen = null
    }
  }

  /** Whether the row was visited before on another way. */
  #isAgain(row: RowId): boolean {
    const seen = this.#seen
    if (seen === null) return false
    if (seen.has(row)) return true
    seen.add(row)
    return false
  }

  #ranges(plan: IndexPlan, at: number, visit: Visit): boolean {
    const { stored } = plan.index
    const { list } = plan.ranges
    for (let i = 0; i < list.length; i++) {
      const range = list[i]!
      const goesOn =
        stored.hashed === null
          ? this.#range(plan, range, at, visit)
          : this.#equal(plan, stored.hashed, range, at, visit)
      if (!goesOn) return false
    }
    return true
  }

  #scan(at: number, visit: Visit): boolean {
    for (let row = 0; row < this.#table.rowEnd; row++) if (!this.#visitRow(row, at, visit)) return false
    return true
  }

  #byKeys(keys: readonly (readonly Slot[])[], at: number, visit: Visit): boolean {
    if (keys.length === 1) return this.#byKey(keys[0]!, at, visit)
    const outer = this.#seen
    this.#seen ??= new Set()
    try {
      return keys.every(key => this.#byKey(key, at, visit))
    } finally {
      this.#seen = outer
    }
  }

  #byKey(key: readonly Slot[], at: number, visit: Visit): boolean {
    this.#spell(key)
    const row = this.#table.find(this.#keyBuffer)
    return row < 0 || this.#isAgain(row) || this.#visitRow(row, at, visit)
  }

  /** Whether each of these keys can be looked up: for some types equal values have different texts. */
  canSpell(keys: readonly (readonly Slot[])[]): boolean {
    return keys.every(key => key.every(({ given }, part) => typeof this.#texts[part]!(given) === 'string'))
  }

  #spell(key: readonly Slot[]): void {
    this.#keyBuffer.clear()
    for (let part = 0; part < key.length; part++)
      this.#keyBuffer.append(this.#texts[part]!(key[part]!.given) as string)
  }

  #visitRow(row: number, at: number, visit: Visit): boolean {
    const record = this.#table.recordAt(row, at)
    if (record === NONE) return true
    this.#table.point(record, this.view)
    return visit(record)
  }

  /** How many entries the plan's ranges have. */
  countEntries({ index, ranges }: IndexPlan): number {
    const { sorted: entries } = index.stored
    let count = 0
    for (let i = 0; i < ranges.list.length; i++) {
      this.#seek(entries, ranges.list[i]!)
      count += entries.countBetween(this.#place, this.#until)
    }
    return count
  }

  /**
   * Adds the records of all entries of the plan's ranges to `found`, until that has `wanted` ones: without looking at the rows. So only where every
   * entry is known to be one that is wanted, of a row with one version. False if the keys do not tell the rows' order, which is wanted.
   */
  takeEntries({ index, ranges, walk }: IndexPlan, inOrder: boolean, wanted: number, found: Found): boolean {
    const { sorted: entries } = index.stored
    this.#fitKeys(entries.width)
    const { batch } = this
    for (let i = 0; i < ranges.list.length; i++) {
      this.#seek(entries, ranges.list[i]!)
      for (;;) {
        const count = this.#nextBatch(entries, walk?.descending === true, wanted - found.count)
        if (count === 0) break
        if (inOrder && !areExact(batch.keys, count, entries.width, walk!)) return false
        found.reserve(count)
        this.#table.headsOf(batch.rows, count, found.records, found.count)
        found.count += count
      }
    }
    return true
  }

  #seek(entries: SortedEntries, range: KeyRange): void {
    entries.seek(range.low, range.lowParts, range.lowAfter, this.#place)
    entries.seekFrom(this.#place, range.high, range.highParts, range.highAfter, this.#until)
  }

  #nextBatch(entries: SortedEntries, descending: boolean, most: number): number {
    return descending
      ? entries.previous(this.#until, this.#place, most, this.batch)
      : entries.next(this.#place, this.#until, most, this.batch)
  }

  /** The rows of one hash. */
  #equal(plan: IndexPlan, entries: HashEntries, range: KeyRange, at: number, visit: Visit): boolean {
    const { key } = plan.index.stored
    const heads = this.#headsIn(entries, range, at)
    if (heads >= 0) return this.#visitRecords(key, heads, true, visit)
    this.#fitKeys(1)
    const count = entries.few(range.low[0]!, this.batch)
    return count < 0
      ? this.#range(plan, range, at, visit)
      : this.#rows(key, count, at, this.#table.isSettledAt(at), visit)
  }

  /** Leaves the records of the rows of one hash in `records`, and returns how many. -1 if they do not stand in the entries, or there are other versions. */
  #headsIn(entries: HashEntries, range: KeyRange, at: number): number {
    if (!entries.hasHeads || !this.#table.isSettledAt(at)) return -1
    this.#fitKeys(1)
    return entries.fewHeads(range.low[0]!, this.batch, this.records)
  }

  /**
   * For a plan that looks up one value of a unique key: leaves the records that may have it in `records`, and returns how many. -1 for other plans, and if
   * rows have to be visited to know. Hot: once per look-up.
   */
  headsOf(plan: Plan, at: number): number {
    if (plan.kind !== 'index') return -1
    const { list } = plan.ranges
    const { hashed } = plan.index.stored
    return hashed === null || list.length !== 1 ? -1 : this.#headsIn(hashed, list[0]!, at)
  }

  #range({ index: { stored }, walk }: IndexPlan, range: KeyRange, at: number, visit: Visit): boolean {
    const { sorted: entries, key } = stored
    this.#fitKeys(entries.width)
    this.#seek(entries, range)
    const settled = this.#table.isSettledAt(at)
    for (let most = BATCH_FIRST; ; most = BATCH_MAX) {
      const count = this.#nextBatch(entries, walk?.descending === true, most)
      if (count === 0) return true
      if (!this.#rows(key, count, at, settled, visit)) return false
    }
  }

  /** Visits the rows of the entries in `batch`. `settled`: there are no old versions, so every entry is its row's own. */
  #rows(key: IndexKey, count: number, at: number, settled: boolean, visit: Visit): boolean {
    this.#table.recordsOf(this.batch.rows, count, at, this.records)
    return this.#visitRecords(key, count, settled, visit)
  }

  /** As `#rows`, of which the records are known. */
  #visitRecords(key: IndexKey, count: number, settled: boolean, visit: Visit): boolean {
    const { records } = this
    const { rows } = this.batch
    for (let i = 0; i < count; i++) {
      const record = records[i]!
      if (record === NONE) continue
      this.#table.point(record, this.view)
      this.keyStart = i * key.width
      if (!settled && !this.#isEntryOf(key)) continue
      if (this.#isAgain(rows[i]!)) continue
      if (!visit(record)) return false
    }
    return true
  }

  #fitKeys(width: number): void {
    this.batch = this.#batches[width] ??= new Batch(BATCH_MAX, width)
    if (this.#ownKey.length < width) this.#ownKey = new Float64Array(width)
  }

  /** Whether the version that is seen has the entry's value, and not only an older or newer one of its row. */
  #isEntryOf(key: IndexKey): boolean {
    key.write(this.view, this.#ownKey, this.#table.indexes.seed)
    const { keys } = this.batch
    for (let i = 0; i < key.width; i++) if (this.#ownKey[i] !== keys[this.keyStart + i]) return false
    return true
  }
}

function areExact(keys: Float64Array, count: number, width: number, walk: Walk): boolean {
  for (let i = 0; i < count; i++) if (exactParts(keys, i * width, walk) < walk.parts) return false
  return true
}

/** How many of the numbers that order the rows stand for one value each, in the key that begins at `start`: up to the first that does not. */
export function exactParts(keys: Float64Array, start: number, { exactBelow, parts }: Walk): number {
  for (let i = 0; i < parts; i++) {
    const below = exactBelow[i]!
    const part = keys[start + i]!
    if (below !== Number.POSITIVE_INFINITY && part !== NULL_KEY && Math.abs(part) >= below) return i
  }
  return parts
}
