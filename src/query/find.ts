import { TupleView } from '../change/change.js'
import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { RowFactory } from '../mapping/values.js'
import type { Address } from '../store/address.js'
import type { PackedRow } from '../store/packed-row.js'
import type { TableStore } from '../store/table.js'
import { choose } from './choose.js'
import { Coverage, type Knowledge } from './coverage.js'
import { Found, KEPT_ROWS_MAX } from './found.js'
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

const WHAT_IS_HELD: Readonly<Record<Knowledge, string>> = {
  all: 'the whole table',
  present: 'the rows of these keys',
  absent: 'the knowledge that these keys have no rows',
  group: 'all rows with these values',
  unknown: 'no such rows',
}

/** What the queries of one table in memory need: made once for each generation, before the table has rows. */
export class Finder {
  readonly types: ColumnTypes
  readonly projections: Projections
  /** The declared indexes, as far as their values can be compared here. */
  readonly indexes: readonly TableIndex[]
  /** What a bounded table knows; null if the table is whole. */
  readonly coverage: Coverage | null
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
    const { residency } = table
    this.coverage = residency === null ? null : new Coverage(mapping, table, residency)
    this.indexes = mapping.indexes.flatMap(columns => {
      const made = addIndexes(columns, this.types, table.indexes)
      if (made.length > 0) this.coverage?.addGroups(made[0]!)
      return made
    })
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
    return this.#asked('findMany', given, readFindMany, at, (query, prepared) =>
      this.#many(prepared, query.skip, query.take, at),
    )
  }

  /** The first of those rows, or null. Throws as `findMany` does. */
  findFirst(given: object, at: number): object | null {
    const known = this.#known('findFirst', given)
    if (known !== null) return this.#first(known, this.#shapes.skip, at)
    return this.#asked('findFirst', given, readFindFirst, at, (query, prepared) =>
      this.#first(prepared, query.skip, at),
    )
  }

  /** How many rows a condition, as it was given, holds for. Throws as `findMany` does. */
  count(given: object, at: number): number {
    const known = this.#known('count', given)
    if (known !== null) return this.#search.count(known, at)
    return this.#asked('count', given, readWhereOnly, at, (_, prepared) => this.#search.count(prepared, at))
  }

  /** As `findMany`, of a query that was read. */
  findChecked(query: CheckedQuery, at: number): object[] {
    return this.#many(this.#prepare(query, at), query.skip, query.take, at)
  }

  /** As `count`, of a condition that was read. */
  countChecked(where: Condition, at: number): number {
    return this.#search.count(this.#prepare(conditionOnly(where), at), at)
  }

  /** The query's answer out of rows that were read from PostgreSQL: all that its condition may hold for. Throws as `findMany` does. */
  choose(rows: readonly PackedRow[], query: CheckedQuery): object[] {
    return choose(rows, query, { table: this.#table, types: this.types, projections: this.projections })
  }

  /** How `findMany` answers the query as of commit `at`: it is answered once to find out. @throws {QueryError} */
  explain(query: CheckedQuery, at: number): Explanation {
    const { sql } = selectSql(this.#mapping, query)
    const known = this.coverage?.knowledge(query.where, at) ?? 'all'
    this.#search.lookedAt = 0
    try {
      const prepared = this.#prepare(query, at)
      this.#search.find(prepared, wantedOf(query.skip, query.take), at, new Found())
      const { plan } = prepared
      const index =
        plan.kind === 'index'
          ? plan.index.columns.map(column => this.#mapping.columns[column]!.property)
          : null
      const why = `Memory has ${WHAT_IS_HELD[known]}, and values compare there as in PostgreSQL.`
      const kind = plan.kind === 'index' && plan.walk !== null ? 'ordered index' : plan.kind
      return {
        local: true,
        reason: null,
        why,
        known,
        plan: kind,
        index,
        rowsLookedAt: this.#search.lookedAt,
        sql,
      }
    } catch (error) {
      if (!(error instanceof NotLocalError)) throw error
      const { reason, message } = error
      const rowsLookedAt = reason === 'scan limit' ? this.#search.lookedAt : 0
      return { local: false, reason, why: message, known, plan: null, index: null, rowsLookedAt, sql }
    }
  }

  /** The prepared query of the same shape, bound to the values of this one; null if it has to be read. Hot: once per query. */
  #known(kind: QuestionKind, given: object): Prepared | null {
    // What a bounded table knows depends on the values.
    const known = this.coverage === null ? this.#shapes.find(kind, given) : null
    if (known === null || !known.slots.bind(this.#shapes.values)) return null
    const { plan, doubtful } = known
    if (plan.kind === 'key' && !this.#search.canSpell(plan.keys)) return null
    if (!this.types.areSound(doubtful)) return null
    if (this.#table.failed !== null) throw this.#table.failed
    return known
  }

  /** Reads the query, answers it, and keeps how that is done for others of its shape. */
  #asked<T>(
    kind: QuestionKind,
    given: object,
    read: (mapping: TableMapping, given: object) => CheckedQuery,
    at: number,
    answer: (query: CheckedQuery, prepared: Prepared) => T,
  ): T {
    const { isFit } = this.#shapes
    const copy = isFit ? (plainCopy(given) as object) : given
    const query = read(this.#mapping, copy)
    const prepared = this.#prepare(query, at)
    if (isFit && prepared.isForAll && this.coverage === null) this.#shapes.add(kind, copy, prepared)
    return answer(query, prepared)
  }

  /** @throws {NotLocalError} if only PostgreSQL can answer. */
  #prepare({ where, orderBy, take, columns }: CheckedQuery, at: number): Prepared {
    this.#mustKnow(where, at)
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

  /** @throws {NotLocalError} unless memory has all rows that the condition may hold for. @throws whatever the table failed with. */
  #mustKnow(where: Condition, at: number): void {
    if (this.#table.failed !== null) throw this.#table.failed
    this.coverage?.check(where, at)
  }

  #many(prepared: Prepared, skip: number, take: number | undefined, at: number): object[] {
    const found = this.#found ?? new Found()
    this.#search.find(prepared, wantedOf(skip, take), at, found)
    const rows: object[] = []
    this.#found = null
    this.#read(prepared, found, skip, found.count, rows)
    this.#found = found
    this.#count(rows.length)
    return rows
  }

  #first(prepared: Prepared, skip: number, at: number): object | null {
    const found = this.#found ?? new Found()
    this.#search.find(prepared, skip + 1, at, found)
    this.#count(found.count - skip)
    if (found.count <= skip) return null
    const record = found.records[skip]!
    const { projection } = prepared
    if (projection !== null) return this.#project(record, projection)
    if (!this.#mayKeep(prepared)) return this.#hand(this.#table.decode(record))
    this.#table.rowsOf(found.records, skip, 1, found.rows)
    return this.#hand(this.#table.rowOf(record, found.rows[0]!))
  }

  /** Of a bounded table rows that were read by key stay decoded, and stay: groups leave as a whole. */
  #mayKeep({ plan }: Prepared): boolean {
    return plan.kind !== 'scan' && this.coverage === null
  }

  #count(rows: number): void {
    if (this.coverage !== null) this.#table.reads[rows > 0 ? 'hits' : 'absent']++
  }

  /** Adds the rows of the found records from `start` to before `end`. */
  #read(prepared: Prepared, found: Found, start: number, end: number, rows: object[]): void {
    const { records } = found
    const { projection } = prepared
    if (projection !== null) {
      for (let i = start; i < end; i++) rows.push(this.#project(records[i]!, projection))
      return
    }
    if (!this.#mayKeep(prepared) || end - start > KEPT_ROWS_MAX) {
      for (let i = start; i < end; i++) rows.push(this.#hand(this.#table.decode(records[i]!)))
      return
    }
    const { rows: ids } = found
    this.#table.rowsOf(records, start, end - start, ids)
    for (let i = start; i < end; i++) rows.push(this.#hand(this.#table.rowOf(records[i]!, ids[i - start]!)))
  }

  #hand(decoded: object): object {
    return this.#rows.shared ? decoded : this.#rows.read(decoded)
  }

  #project(record: Address, projection: Projection): object {
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
