import { TupleView } from '../change/change.js'
import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { RowFactory } from '../mapping/values.js'
import { type Address, NONE } from '../store/address.js'
import type { TableStore } from '../store/table.js'
import { ColumnTypes, compile, TRUE } from './predicate.js'
import { Projections } from './projection.js'
import type { CheckedQuery } from './query.js'
import type { Explanation } from './query-types.js'
import { selectSql } from './select-sql.js'
import { Sorter } from './sort.js'
import { type Condition, EVERY_ROW } from './where.js'

/** Row versions that one query looks at in memory, at most: beyond it PostgreSQL is asked, so that no query holds up the event loop. */
export const LOOKED_AT_MAX = 20_000

/** What the queries of one table in memory need: made once for each generation. */
export class Finder {
  readonly types: ColumnTypes
  readonly projections: Projections
  readonly #mapping: TableMapping
  readonly #table: TableStore
  readonly #rows: RowFactory
  readonly #view = new TupleView()
  /** Row versions that the query in progress has looked at. */
  #lookedAt = 0

  constructor(mapping: TableMapping, table: TableStore, rows: RowFactory) {
    this.#mapping = mapping
    this.#table = table
    this.#rows = rows
    this.types = new ColumnTypes(mapping)
    this.projections = new Projections(mapping)
  }

  /** Row versions that the last query has looked at. */
  get lookedAt(): number {
    return this.#lookedAt
  }

  /** The query's rows as of commit `at`. @throws {NotLocalError} @throws {QueryError} and whatever the table failed with. */
  findMany(query: CheckedQuery, at: number): object[] {
    const records = this.#find(query, at)
    if (query.columns !== null) {
      const projection = this.projections.of(query.columns)
      return records.map(record => {
        const ascii = this.#table.point(record, this.#view)
        return projection.row(this.#view, ascii)
      })
    }
    return records.map(record => this.#rows.read(this.#table.decode(record)))
  }

  /** How many rows the condition holds for as of commit `at`. Throws as `findMany` does. */
  count(where: Condition, at: number): number {
    this.#mustBeWhole()
    if (where === EVERY_ROW) return this.#table.sizeAt(at)
    const predicate = compile(where, this.types)
    let count = 0
    this.#scan(at, () => {
      if (predicate(this.#view) === TRUE) count++
      return true
    })
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
      return {
        local: false,
        reason,
        why: message,
        plan: null,
        index: null,
        rowsLookedAt: this.#lookedAt,
        sql,
      }
    }
    const why = 'All rows are in memory, and values compare there as in PostgreSQL.'
    return { local: true, reason: null, why, plan: 'scan', index: null, rowsLookedAt: this.#lookedAt, sql }
  }

  /** @throws {NotLocalError} if memory holds only a part of the table. @throws whatever the table failed with. */
  #mustBeWhole(): void {
    if (this.#table.failed !== null) throw this.#table.failed
    if (this.#table.residency !== null) throw onlyAPart(this.#mapping.name)
  }

  #find({ where, orderBy, skip, take = Number.POSITIVE_INFINITY }: CheckedQuery, at: number): Address[] {
    this.#mustBeWhole()
    const predicate = compile(where, this.types)
    const sorter = orderBy.length === 0 ? null : new Sorter(orderBy, this.types)
    const wanted = sorter === null ? skip + take : Number.POSITIVE_INFINITY
    const found: Address[] = []
    this.#scan(at, record => {
      if (found.length >= wanted) return false
      if (predicate(this.#view) !== TRUE) return true
      found.push(record)
      sorter?.add(this.#view)
      return true
    })
    if (sorter === null) return found.slice(skip)
    return sorter
      .order()
      .slice(skip, skip + take)
      .map(number => found[number]!)
  }

  /** Shows every row in `#view`, in no order, until `visit` is false. @throws {NotLocalError} if there are too many. */
  #scan(at: number, visit: (record: Address) => boolean): void {
    const table = this.#table
    this.#lookedAt = 0
    for (let row = 0; row < table.rowEnd; row++) {
      const record = table.recordAt(row, at)
      if (record === NONE) continue
      if (this.#lookedAt === LOOKED_AT_MAX) throw this.#tooMany()
      table.point(record, this.#view)
      if (!visit(record)) return
      this.#lookedAt++
    }
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
