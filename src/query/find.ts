import { TupleView } from '../change/change.js'
import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { RowFactory } from '../mapping/values.js'
import { NULL_KEY } from '../sql/encode.js'
import type { Address } from '../store/address.js'
import type { TableStore } from '../store/table.js'
import { Candidates } from './candidates.js'
import { type Plan, planOf, type Walk } from './plan.js'
import { ColumnTypes, compile, type Predicate, TRUE } from './predicate.js'
import { Projections } from './projection.js'
import type { CheckedQuery } from './query.js'
import type { Explanation } from './query-types.js'
import { selectSql } from './select-sql.js'
import { Sorter } from './sort.js'
import { addIndexes, type TableIndex } from './table-index.js'
import { type Condition, EVERY_ROW } from './where.js'

/** Row versions that one query looks at in memory, at most: beyond it PostgreSQL is asked, so that no query holds up the event loop. */
export const LOOKED_AT_MAX = 20_000

/** What the queries of one table in memory need: made once for each generation, before the table has rows. */
export class Finder {
  readonly types: ColumnTypes
  readonly projections: Projections
  /** The declared indexes, as far as their values can be compared here. */
  readonly indexes: readonly TableIndex[]
  readonly #mapping: TableMapping
  readonly #table: TableStore
  readonly #rows: RowFactory
  readonly #view = new TupleView()
  readonly #candidates: Candidates
  /** Row versions that the query in progress has looked at. */
  #lookedAt = 0

  constructor(mapping: TableMapping, table: TableStore, rows: RowFactory) {
    this.#mapping = mapping
    this.#table = table
    this.#rows = rows
    this.types = new ColumnTypes(mapping)
    this.projections = new Projections(mapping)
    // What is known of a part of a table is not known by its indexes.
    const declared = table.residency === null ? mapping.indexes : []
    this.indexes = declared.flatMap(columns => addIndexes(columns, this.types, table.indexes))
    this.#candidates = new Candidates(mapping, table, this.#view)
  }

  /** The query's rows as of commit `at`. @throws {NotLocalError} @throws {QueryError} and whatever the table failed with. */
  findMany(query: CheckedQuery, at: number): object[] {
    const records = this.#find(query, at)
    if (query.columns === null) return records.map(record => this.#rows.read(this.#table.decode(record)))
    const projection = this.projections.of(query.columns)
    return records.map(record => {
      const ascii = this.#table.point(record, this.#view)
      return projection.row(this.#view, ascii)
    })
  }

  /** How many rows the condition holds for as of commit `at`. Throws as `findMany` does. */
  count(where: Condition, at: number): number {
    this.#mustBeWhole()
    if (where === EVERY_ROW) return this.#table.sizeAt(at)
    this.types.begin()
    const predicate = compile(where, this.types)
    const plan = this.#plan({ where, orderBy: [], take: undefined })
    if (plan.kind === 'index' && plan.exact && this.#table.isSettledAt(at))
      return this.#candidates.countEntries(plan)
    let count = 0
    this.#visit(plan, at, predicate, () => {
      count++
      return true
    })
    this.types.finish()
    return count
  }

  /** How `findMany` answers the query as of commit `at`: it is answered once to find out. @throws {QueryError} */
  explain(query: CheckedQuery, at: number): Explanation {
    const { sql } = selectSql(this.#mapping, query)
    try {
      this.#find(query, at)
    } catch (error) {
      if (!(error instanceof NotLocalError)) throw error
      const { reason, message } = error
      const rowsLookedAt = reason === 'scan limit' ? this.#lookedAt : 0
      return { local: false, reason, why: message, plan: null, index: null, rowsLookedAt, sql }
    }
    const plan = this.#plan(query)
    const index =
      plan.kind === 'index' ? plan.index.columns.map(column => this.#mapping.columns[column]!.property) : null
    const why = 'Memory has the whole table, and values compare there as in PostgreSQL.'
    const kind = plan.kind === 'index' && plan.walk !== null ? 'ordered index' : plan.kind
    return { local: true, reason: null, why, plan: kind, index, rowsLookedAt: this.#lookedAt, sql }
  }

  /** @throws {NotLocalError} if memory holds only a part of the table. @throws whatever the table failed with. */
  #mustBeWhole(): void {
    if (this.#table.failed !== null) throw this.#table.failed
    if (this.#table.residency !== null) throw onlyAPart(this.#mapping.name)
  }

  #plan(query: Pick<CheckedQuery, 'where' | 'orderBy' | 'take'>): Plan {
    const plan = planOf(query, this.#mapping.key, this.indexes, this.types)
    if (plan.kind !== 'key' || this.#candidates.canSpell(plan.keys)) return plan
    return planOf(query, null, this.indexes, this.types)
  }

  #find(query: CheckedQuery, at: number): Address[] {
    this.#mustBeWhole()
    this.types.begin()
    const found = this.#inOrder(query, at)
    this.types.finish()
    return found
  }

  #inOrder(query: CheckedQuery, at: number): Address[] {
    const { where, orderBy, skip, take = Number.POSITIVE_INFINITY } = query
    const predicate = compile(where, this.types)
    const sorter = orderBy.length === 0 ? null : new Sorter(orderBy, this.types)
    const plan = this.#plan(query)
    if (take === 0) return []
    if (sorter === null) return this.#unordered(plan, at, predicate, skip + take).slice(skip)
    if (plan.kind === 'index' && plan.walk !== null)
      return this.#walk(plan, plan.walk, at, predicate, sorter, skip + take).slice(skip)
    const found: Address[] = []
    this.#visit(plan, at, predicate, record => {
      found.push(record)
      sorter.add(this.#view)
      return true
    })
    return sorter
      .order()
      .slice(skip, skip + take)
      .map(number => found[number]!)
  }

  #unordered(plan: Plan, at: number, predicate: Predicate, wanted: number): Address[] {
    const found: Address[] = []
    this.#visit(plan, at, predicate, record => found.push(record) < wanted)
    return found
  }

  /** Rows that come in the order of their index keys: those whose keys tell nothing more of their order are sorted among themselves. */
  #walk(plan: Plan, walk: Walk, at: number, predicate: Predicate, sorter: Sorter, wanted: number): Address[] {
    const found: Address[] = []
    const ordered: Address[] = []
    const sortRun = (): void => {
      const run = found.length - ordered.length
      if (run === 1) ordered.push(found.at(-1)!)
      else if (run > 1) for (const number of sorter.order(ordered.length)) ordered.push(found[number]!)
    }
    const last = new Float64Array(walk.parts).fill(Number.NaN)
    this.#visit(plan, at, predicate, record => {
      if (!startsWith(this.#candidates.key, last)) {
        sortRun()
        if (ordered.length >= wanted) return false
        last.set(this.#candidates.key.subarray(0, walk.parts))
      }
      found.push(record)
      sorter.add(this.#view)
      if (walk.whole && isExact(last, walk)) sortRun()
      return ordered.length < wanted
    })
    sortRun()
    return ordered.slice(0, wanted)
  }

  /** Visits the rows that the plan finds and the predicate holds for, until `visit` is false. @throws {NotLocalError} if too many have to be looked at. */
  #visit(plan: Plan, at: number, predicate: Predicate, visit: (record: Address) => boolean): void {
    this.#lookedAt = 0
    this.#candidates.visit(plan, at, record => {
      if (this.#lookedAt === LOOKED_AT_MAX) throw this.#tooMany()
      this.#lookedAt++
      return predicate(this.#view) !== TRUE || visit(record)
    })
  }

  #tooMany(): NotLocalError {
    return new NotLocalError(
      this.#mapping.name,
      'scan limit',
      `more than ${LOOKED_AT_MAX} rows would have to be looked at. Declare an index for it, or use the asynchronous reads, which ask PostgreSQL.`,
    )
  }
}

/** The error of a question about all rows of a table of which memory holds a part. */
export function onlyAPart(table: string): NotLocalError {
  return new NotLocalError(
    table,
    'table',
    'only a part of it is in memory, so nothing can be said of all of its rows.',
  )
}

function startsWith(key: Float64Array, start: Float64Array): boolean {
  for (let i = 0; i < start.length; i++) if (key[i] !== start[i]) return false
  return true
}

/** Whether rows with this key are equal in what they are sorted by. */
function isExact(key: Float64Array, { exactBelow }: Walk): boolean {
  for (let i = 0; i < key.length; i++) {
    const below = exactBelow[i]!
    if (below !== Number.POSITIVE_INFINITY && key[i] !== NULL_KEY && Math.abs(key[i]!) >= below) return false
  }
  return true
}
