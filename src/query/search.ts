import { TupleView } from '../change/change.js'
import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { type Address, NONE } from '../store/address.js'
import type { TableStore } from '../store/table.js'
import { Candidates, exactParts, type Visit } from './candidates.js'
import { Found } from './found.js'
import type { IndexPlan, Walk } from './plan.js'
import { type ColumnTypes, TRUE } from './predicate.js'
import type { Prepared } from './prepared.js'
import type { Slot } from './slot.js'
import { Sorter } from './sort.js'

/** Row versions that one query looks at in memory, at most: beyond it PostgreSQL is asked, so that no query holds up the event loop. */
export const LOOKED_AT_MAX = 20_000

/** Finds the records that a prepared query means, in its order. */
export class Search {
  /** Row versions, or index entries instead of them, that the last query has looked at. */
  lookedAt = 0
  readonly #mapping: TableMapping
  readonly #table: TableStore
  readonly #types: ColumnTypes
  /** The row that was looked at last, in the mapping's order. */
  readonly view = new TupleView()
  readonly #candidates: Candidates
  // What the query in progress does with a row; kept here, so that no query has to make functions.
  #predicate: Prepared['predicate'] = null
  #sink: Visit = () => false
  #found = new Found()
  #wanted = 0
  #count = 0
  #any: Address = NONE

  constructor(mapping: TableMapping, table: TableStore, types: ColumnTypes) {
    this.#mapping = mapping
    this.#table = table
    this.#types = types
    this.#candidates = new Candidates(mapping, table, this.view)
  }

  /** Whether each of these keys can be looked up. */
  canSpell(keys: readonly (readonly Slot[])[]): boolean {
    return this.#candidates.canSpell(keys)
  }

  /** Leaves the first `wanted` records in `found`. @throws {NotLocalError} */
  find(prepared: Prepared, wanted: number, at: number, found: Found): void {
    found.clear()
    this.lookedAt = 0
    const { plan, orderBy } = prepared
    const inOrder = orderBy.length > 0
    if (wanted === 0) return
    if (plan.kind === 'index' && (!inOrder || plan.walk !== null)) {
      const isByEntries = this.#areEntriesEnough(plan, at) && (!inOrder || plan.walk!.whole)
      if (isByEntries && this.#takeEntries(plan, inOrder, wanted, found)) return
      if (inOrder) {
        this.#walk(prepared, plan.walk!, wanted, at, found)
        return
      }
    }
    if (inOrder) this.#sort(prepared, wanted, at, found)
    else {
      this.#found = found
      this.#wanted = wanted
      this.#visit(prepared, at, this.#collect)
    }
    this.#types.mustBeSound(prepared.doubtful)
  }

  /** Some row that is meant, which `view` shows then; NONE if there is none. @throws {NotLocalError} */
  any(prepared: Prepared, at: number): Address {
    this.lookedAt = 0
    this.#any = NONE
    const heads = this.#candidates.headsOf(prepared.plan, at)
    if (heads < 0) this.#visit(prepared, at, this.#stop)
    else this.#anyOf(heads, prepared.predicate)
    this.#types.mustBeSound(prepared.doubtful)
    return this.#any
  }

  #anyOf(count: number, predicate: Prepared['predicate']): void {
    const { records } = this.#candidates
    for (let i = 0; i < count; i++) {
      const record = records[i]!
      this.#table.point(record, this.view)
      this.lookedAt++
      if (predicate !== null && predicate(this.view) !== TRUE) continue
      this.#any = record
      return
    }
  }

  /** How many rows are meant. @throws {NotLocalError} */
  count(prepared: Prepared, at: number): number {
    this.lookedAt = 0
    const { plan, predicate } = prepared
    if (predicate === null) return this.#table.sizeAt(at)
    if (plan.kind === 'index' && this.#areEntriesEnough(plan, at)) return this.#candidates.countEntries(plan)
    this.#count = 0
    this.#visit(prepared, at, this.#tally)
    this.#types.mustBeSound(prepared.doubtful)
    return this.#count
  }

  /** Whether the plan's entries are exactly the rows that are meant. */
  #areEntriesEnough({ decides, ranges }: IndexPlan, at: number): boolean {
    return decides && ranges.exact && this.#table.isSettledAt(at)
  }

  #takeEntries(plan: IndexPlan, inOrder: boolean, wanted: number, found: Found): boolean {
    if (this.#candidates.takeEntries(plan, inOrder, Math.min(wanted, LOOKED_AT_MAX + 1), found)) {
      if (found.count > LOOKED_AT_MAX) throw this.#tooMany()
      this.lookedAt = found.count
      return true
    }
    found.clear()
    return false
  }

  #sort(prepared: Prepared, wanted: number, at: number, found: Found): void {
    const sorter = new Sorter(prepared.orderBy, this.#types)
    const unsorted: Address[] = []
    this.#visit(prepared, at, record => {
      unsorted.push(record)
      sorter.add(this.view)
      return true
    })
    const order = sorter.order()
    const count = Math.min(wanted, order.length)
    for (let i = 0; i < count; i++) found.push(unsorted[order[i]!]!)
  }

  /** Rows that come in the order of their index keys: those whose keys tell nothing more of their order are sorted among themselves. */
  #walk(prepared: Prepared, walk: Walk, wanted: number, at: number, found: Found): void {
    const candidates = this.#candidates
    const sorter = new Sorter(prepared.orderBy, this.#types)
    let run: Address[] = []
    let sorted = 0
    const sortRun = (): void => {
      if (run.length === 0) return
      for (const number of sorter.order(sorted)) found.push(run[number - sorted]!)
      sorted += run.length
      run = []
    }
    // The numbers that the rows of a run share: behind one that several values share, the index's order is not the wanted one.
    const last = new Float64Array(walk.parts).fill(Number.NaN)
    let shared = walk.parts
    this.#visit(prepared, at, record => {
      const { keys } = candidates.batch
      const { keyStart } = candidates
      if (!startsWith(keys, keyStart, last, shared)) {
        sortRun()
        if (found.count >= wanted) return false
        for (let i = 0; i < last.length; i++) last[i] = keys[keyStart + i]!
        shared = Math.min(walk.parts, exactParts(keys, keyStart, walk) + 1)
      }
      if (walk.whole && exactParts(keys, keyStart, walk) === walk.parts) {
        found.push(record)
        return found.count < wanted
      }
      run.push(record)
      sorter.add(this.view)
      return true
    })
    sortRun()
    found.count = Math.min(found.count, wanted)
    this.#types.mustBeSound(prepared.doubtful)
  }

  readonly #collect: Visit = record => {
    this.#found.push(record)
    return this.#found.count < this.#wanted
  }

  readonly #stop: Visit = record => {
    this.#any = record
    return false
  }

  readonly #tally: Visit = () => {
    this.#count++
    return true
  }

  /** Visits the rows that the plan finds and the predicate holds for, until `sink` is false. @throws {NotLocalError} if too many have to be looked at. */
  #visit({ plan, predicate }: Prepared, at: number, sink: Visit): void {
    this.#predicate = predicate
    this.#sink = sink
    this.#candidates.visit(plan, at, this.#look)
  }

  readonly #look: Visit = record => {
    if (this.lookedAt === LOOKED_AT_MAX) throw this.#tooMany()
    this.lookedAt++
    const predicate = this.#predicate
    return (predicate !== null && predicate(this.view) !== TRUE) || this.#sink(record)
  }

  #tooMany(): NotLocalError {
    return new NotLocalError(
      this.#mapping.name,
      'scan limit',
      `more than ${LOOKED_AT_MAX} rows would have to be looked at. Declare an index for it, or use the asynchronous reads, which ask PostgreSQL.`,
    )
  }
}

function startsWith(keys: Float64Array, start: number, wanted: Float64Array, parts: number): boolean {
  for (let i = 0; i < parts; i++) if (keys[start + i] !== wanted[i]) return false
  return true
}
