import { TupleView } from '../change/change.js'
import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { RowFactory } from '../mapping/values.js'
import type { TableStore } from '../store/table.js'
import { Found } from './found.js'
import { planOf } from './plan.js'
import { ColumnTypes, compile } from './predicate.js'
import type { Prepared } from './prepared.js'
import { type Projection, Projections } from './projection.js'
import { type CheckedQuery, readCount, readFindFirst, readFindMany } from './query.js'
import type { Explanation } from './query-types.js'
import { LOOKED_AT_MAX, Search } from './search.js'
import { selectSql } from './select-sql.js'
import { plainCopy, type QuestionKind, Shapes } from './shapes.js'
import { Slots } from './slot.js'
import { addIndexes, type TableIndex } from './table-index.js'
import { type Condition, EVERY_ROW } from './where.js'

export { LOOKED_AT_MAX }

/** Answers of more rows leave no rows decoded: they would drive out what is read often. */
const KEPT_ROWS_MAX = 256

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
  readonly #search: Search
  readonly #shapes = new Shapes()
  /** Null while its records are made rows of: what parses a value may ask a query itself. */
  #found: Found | null = new Found()

  constructor(mapping: TableMapping, table: TableStore, rows: RowFactory) {
    this.#mapping = mapping
    this.#table = table
    this.#rows = rows
    this.types = new ColumnTypes(mapping)
    this.projections = new Projections(mapping)
    // What is known of a part of a table is not known by its indexes.
    const declared = table.residency === null ? mapping.indexes : []
    this.indexes = declared.flatMap(columns => addIndexes(columns, this.types, table.indexes))
    this.#search = new Search(mapping, table, this.types)
  }

  /**
   * The rows of a query, as it was given, as of commit `at`.
   *
   * @throws {QueryError} for one that means nothing. @throws {NotLocalError} for one that only PostgreSQL can answer, and whatever the table failed with.
   */
  findMany(given: object, at: number): object[] {
    const known = this.#known('findMany', given)
    if (known !== null) return this.#many(known, this.#shapes.skip, this.#shapes.take, at)
    return this.#asked('findMany', given, readFindMany, (query, prepared) =>
      this.#many(prepared, query.skip, query.take, at),
    )
  }

  /** The first of those rows, or null. Throws as `findMany` does. */
  findFirst(given: object, at: number): object | null {
    const known = this.#known('findFirst', given)
    if (known !== null) return this.#first(known, this.#shapes.skip, at)
    return this.#asked('findFirst', given, readFindFirst, (query, prepared) =>
      this.#first(prepared, query.skip, at),
    )
  }

  /** How many rows a condition, as it was given, holds for. Throws as `findMany` does. */
  count(given: object, at: number): number {
    const known = this.#known('count', given)
    if (known !== null) return this.#search.count(known, at)
    return this.#asked('count', given, readWhereOnly, (_, prepared) => this.#search.count(prepared, at))
  }

  /** As `findMany`, of a query that was read. */
  findChecked(query: CheckedQuery, at: number): object[] {
    return this.#many(this.#prepare(query), query.skip, query.take, at)
  }

  /** As `count`, of a condition that was read. */
  countChecked(where: Condition, at: number): number {
    return this.#search.count(this.#prepare(conditionOnly(where)), at)
  }

  /** How `findMany` answers the query as of commit `at`: it is answered once to find out. @throws {QueryError} */
  explain(query: CheckedQuery, at: number): Explanation {
    const { sql } = selectSql(this.#mapping, query)
    this.#search.lookedAt = 0
    try {
      const prepared = this.#prepare(query)
      this.#search.find(prepared, wantedOf(query.skip, query.take), at, new Found())
      const { plan } = prepared
      const index =
        plan.kind === 'index'
          ? plan.index.columns.map(column => this.#mapping.columns[column]!.property)
          : null
      const why = 'Memory has the whole table, and values compare there as in PostgreSQL.'
      const kind = plan.kind === 'index' && plan.walk !== null ? 'ordered index' : plan.kind
      return { local: true, reason: null, why, plan: kind, index, rowsLookedAt: this.#search.lookedAt, sql }
    } catch (error) {
      if (!(error instanceof NotLocalError)) throw error
      const { reason, message } = error
      const rowsLookedAt = reason === 'scan limit' ? this.#search.lookedAt : 0
      return { local: false, reason, why: message, plan: null, index: null, rowsLookedAt, sql }
    }
  }

  /** The prepared query of the same shape, bound to the values of this one; null if it has to be read. Hot: once per query. */
  #known(kind: QuestionKind, given: object): Prepared | null {
    const known = this.#shapes.find(kind, given)
    if (known === null || !known.slots.bind(this.#shapes.values)) return null
    const { plan, doubtful } = known
    if (plan.kind === 'key' && !this.#search.canSpell(plan.keys)) return null
    if (!this.types.areSound(doubtful)) return null
    this.#mustBeWhole()
    return known
  }

  /** Reads the query, answers it, and keeps how that is done for others of its shape. */
  #asked<T>(
    kind: QuestionKind,
    given: object,
    read: (mapping: TableMapping, given: object) => CheckedQuery,
    answer: (query: CheckedQuery, prepared: Prepared) => T,
  ): T {
    const { isFit } = this.#shapes
    const copy = isFit ? (plainCopy(given) as object) : given
    const query = read(this.#mapping, copy)
    const prepared = this.#prepare(query)
    if (isFit && prepared.isForAll) this.#shapes.add(kind, copy, prepared)
    return answer(query, prepared)
  }

  /** @throws {NotLocalError} if only PostgreSQL can answer. */
  #prepare({ where, orderBy, take, columns }: CheckedQuery): Prepared {
    this.#mustBeWhole()
    const { types } = this
    types.begin()
    const slots = new Slots()
    const predicate = where === EVERY_ROW ? null : compile(where, types, slots)
    for (const { column } of orderBy) types.ordered(column)
    const doubtful = types.doubtful()
    const projection = columns === null ? null : this.projections.of(columns)
    const query = { where, orderBy, take }
    const byKey = planOf(query, this.#mapping.key, this.indexes, types, slots)
    const common = { slots, predicate, orderBy, projection, doubtful }
    if (byKey.kind !== 'key' || this.#search.canSpell(byKey.keys))
      return { ...common, plan: byKey, isForAll: true }
    return { ...common, plan: planOf(query, null, this.indexes, types, slots), isForAll: false }
  }

  /** @throws {NotLocalError} if memory holds only a part of the table. @throws whatever the table failed with. */
  #mustBeWhole(): void {
    if (this.#table.failed !== null) throw this.#table.failed
    if (this.#table.residency !== null) throw onlyAPart(this.#mapping.name)
  }

  #many(prepared: Prepared, skip: number, take: number | undefined, at: number): object[] {
    const found = this.#found ?? new Found()
    this.#search.find(prepared, wantedOf(skip, take), at, found)
    const { projection } = prepared
    const keep = prepared.plan.kind !== 'scan' && found.count - skip <= KEPT_ROWS_MAX
    this.#found = null
    const rows: object[] = []
    for (let i = skip; i < found.count; i++) rows.push(this.#row(found.records[i]!, projection, keep))
    this.#found = found
    return rows
  }

  #first(prepared: Prepared, skip: number, at: number): object | null {
    const found = this.#found ?? new Found()
    this.#search.find(prepared, skip + 1, at, found)
    if (found.count <= skip) return null
    return this.#row(found.records[skip]!, prepared.projection, prepared.plan.kind !== 'scan')
  }

  #row(record: number, projection: Projection | null, keep: boolean): object {
    if (projection === null) {
      const decoded = this.#table.rowOf(record, keep)
      return this.#rows.shared ? decoded : this.#rows.read(decoded)
    }
    const ascii = this.#table.point(record, this.#view)
    return projection.row(this.#view, ascii)
  }
}

function wantedOf(skip: number, take: number | undefined): number {
  return take === undefined ? Number.POSITIVE_INFINITY : take === 0 ? 0 : skip + take
}

function conditionOnly(where: Condition): CheckedQuery {
  return { where, orderBy: [], skip: 0, take: undefined, columns: null }
}

function readWhereOnly(mapping: TableMapping, given: object): CheckedQuery {
  return conditionOnly(readCount(mapping, given))
}

/** The error of a question about all rows of a table of which memory holds a part. */
export function onlyAPart(table: string): NotLocalError {
  return new NotLocalError(
    table,
    'table',
    'only a part of it is in memory, so nothing can be said of all of its rows.',
  )
}
