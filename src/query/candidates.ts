import type { TupleView } from '../change/change.js'
import type { TableMapping } from '../mapping/mapping.js'
import { type KeyText, keyTextOf } from '../sql/key-text.js'
import { type Address, NONE } from '../store/address.js'
import { Place } from '../store/index/sorted-entries.js'
import { KeyBuffer } from '../store/record.js'
import type { TableStore } from '../store/table.js'
import type { IndexPlan, Plan, Range } from './plan.js'

/** Told of each row that a plan finds, which `view` shows; false to stop. */
export type Visit = (record: Address) => boolean

/** Goes through the rows of one table that a plan finds, as a reader of one state sees them. */
export class Candidates {
  /** The row that is visited, in the mapping's order. */
  readonly view: TupleView
  /** The index entry that led to it. */
  key = new Float64Array(1)
  readonly #table: TableStore
  readonly #texts: readonly KeyText[]
  readonly #keyBuffer = new KeyBuffer()
  readonly #place = new Place()
  readonly #until = new Place()
  #ownKey = new Float64Array(1)

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
        return plan.ranges.every(range => this.#range(plan, range, at, visit))
    }
  }

  #scan(at: number, visit: Visit): boolean {
    for (let row = 0; row < this.#table.rowEnd; row++) if (!this.#visitRow(row, at, visit)) return false
    return true
  }

  #byKeys(keys: readonly (readonly unknown[])[], at: number, visit: Visit): boolean {
    const seen = keys.length > 1 ? new Set<number>() : null
    for (const key of keys) {
      this.#spell(key)
      const row = this.#table.find(this.#keyBuffer)
      if (row < 0 || seen?.has(row)) continue
      seen?.add(row)
      if (!this.#visitRow(row, at, visit)) return false
    }
    return true
  }

  /** Whether each of these keys can be looked up: for some types equal values have different texts. */
  canSpell(keys: readonly (readonly unknown[])[]): boolean {
    return keys.every(key => key.every((value, part) => typeof this.#texts[part]!(value) === 'string'))
  }

  #spell(key: readonly unknown[]): void {
    this.#keyBuffer.clear()
    for (const [part, value] of key.entries()) this.#keyBuffer.append(this.#texts[part]!(value) as string)
  }

  #visitRow(row: number, at: number, visit: Visit): boolean {
    const record = this.#table.recordAt(row, at)
    if (record === NONE) return true
    this.#table.point(record, this.view)
    return visit(record)
  }

  /** How many entries the plan's ranges have. */
  countEntries({ index, ranges }: IndexPlan): number {
    let count = 0
    for (const range of ranges) {
      this.#seek(index.stored.entries, range)
      count += index.stored.entries.countBetween(this.#place, this.#until)
    }
    return count
  }

  #seek(entries: IndexPlan['index']['stored']['entries'], range: Range): void {
    entries.seek(range.low, range.lowParts, range.lowAfter, this.#place)
    entries.seek(range.high, range.highParts, range.highAfter, this.#until)
  }

  #range({ index: { stored }, walk }: IndexPlan, range: Range, at: number, visit: Visit): boolean {
    const { entries } = stored
    this.#fitKeys(entries.width)
    this.#seek(entries, range)
    // Without old versions every entry is its row's own.
    const settled = this.#table.isSettledAt(at)
    const place = walk?.descending ? this.#until : this.#place
    const until = walk?.descending ? this.#place : this.#until
    for (;;) {
      const row = walk?.descending
        ? entries.previous(place, until, this.key)
        : entries.next(place, until, this.key)
      if (row < 0) return true
      const record = this.#table.recordAt(row, at)
      if (record === NONE) continue
      this.#table.point(record, this.view)
      if (!settled && !this.#isEntryOf(stored.key)) continue
      if (!visit(record)) return false
    }
  }

  #fitKeys(width: number): void {
    if (this.key.length >= width) return
    this.key = new Float64Array(width)
    this.#ownKey = new Float64Array(width)
  }

  /** Whether the version that is seen has the entry's value, and not only an older or newer one of its row. */
  #isEntryOf(key: IndexPlan['index']['stored']['key']): boolean {
    key.write(this.view, this.#ownKey, this.#table.indexes.seed)
    for (let i = 0; i < key.width; i++) if (this.#ownKey[i] !== this.key[i]) return false
    return true
  }
}
