import { TupleView } from '../change/change.js'
import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { RowFactory } from '../mapping/values.js'
import { type Address, NONE } from '../store/address.js'
import type { PackedRow } from '../store/packed-row.js'
import type { TableStore } from '../store/table.js'
import { AskedQuery } from './asked.js'
import { choose } from './choose.js'
import { Coverage } from './coverage.js'
import { describePlan } from './explain.js'
import { Found, KEPT_ROWS_MAX } from './found.js'
import { keysIn, planOf } from './plan.js'
import { ColumnTypes, compile } from './predicate.js'
import type { Prepared } from './prepared.js'
import { type Projection, Projections } from './projection.js'
import { type CheckedQuery, readCount, readFindFirst, readFindMany } from './query.js'
import type { Explanation, Knowledge } from './query-types.js'
import { LOOKED_AT_MAX, Search } from './search.js'
import { selectSql } from './select-sql.js'
import { plainQuery, type QuestionKind, Shapes } from './shapes.js'
import { Slots } from './slot.js'
import { addIndexes, type TableIndex } from './table-index.js'
import { UNIQUE_ASKED, type UniqueKey, type UniqueKeys } from './unique.js'
import { UNDECIDED, UniqueLookUp } from './unique-look-up.js'
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
  /** The indexes that queries may use. Another list once there is one more. */
  #indexes: readonly TableIndex[]
  /** What a bounded table knows; null if the table is whole. */
  readonly coverage: Coverage | null
  readonly #mapping: TableMapping
  readonly #table: TableStore
  readonly #rows: RowFactory
  readonly #view = new TupleView()
  readonly #search: Search
  readonly #shapes = new Shapes()
  /** How one row is looked up by each of the unique keys that were asked for; null for one that takes a query each time. */
  readonly #lookUps = new Map<UniqueKey, UniqueLookUp | null>()
  /** Null while its records are made rows of: what parses a value may ask a query itself. */
  #found: Found | null = new Found()

  /** `added`: the columns of indexes beside the declared ones. */
  constructor(
    mapping: TableMapping,
    table: TableStore,
    rows: RowFactory,
    added: readonly (readonly number[])[] = [],
  ) {
    this.#mapping = mapping
    this.#table = table
    this.#rows = rows
    this.types = new ColumnTypes(mapping)
    this.projections = new Projections(mapping)
    const { residency } = table
    this.coverage = residency === null ? null : new Coverage(mapping, table, residency)
    this.#indexes = [...mapping.indexes, ...added].flatMap(columns => {
      const made = this.beginIndex(columns)
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
    const known = this.#known('findMany', given, NO_OPTIONS)
    if (known !== null) return this.#many(known, this.#shapes.skip, this.#shapes.take, at)
    return this.findAsked(this.#readQuery('findMany', given, NO_OPTIONS), at)
  }

  /** The first of those rows, or null. Throws as `findMany` does. */
  findFirst(given: object, at: number): object | null {
    const known = this.#known('findFirst', given, NO_OPTIONS)
    if (known !== null) return this.#first(known, this.#shapes.skip, at)
    const asked = this.#readQuery('findFirst', given, NO_OPTIONS)
    return this.#first(this.#prepareAsked(asked, at), asked.checked.skip, at)
  }

  /**
   * The row that has this value of one of `uniques`; undefined if there is none. Hot: once per look-up by a unique key. Guarded by benchmarks/query.ts.
   *
   * @throws {KeyError} if there are two. Throws as `findMany` does.
   */
  findUnique(uniques: UniqueKeys, unique: UniqueKey, key: object, at: number): object | undefined {
    const known = this.#lookUps.get(unique)
    if (known !== undefined && known !== null) {
      const record = known.find(key, at)
      if (record === NONE) return undefined
      if (record !== UNDECIDED) return this.#hand(this.#table.rowShown(record, known.view, at))
    }
    const values = key as Readonly<Record<string, unknown>>
    // In the key's own order: so the prepared query numbers the values.
    const where = Object.fromEntries(unique.properties.map(name => [name, values[name]]))
    const query = { where, take: UNIQUE_ASKED }
    const row = uniques.only(this.findMany(query, at))
    if (known === undefined) this.#keepLookUp(unique, query)
    return row
  }

  #keepLookUp(unique: UniqueKey, query: object): void {
    const prepared = this.#recall('findMany', query, NO_OPTIONS)
    if (prepared !== null) this.#lookUps.set(unique, UniqueLookUp.of(this.#table, unique, prepared))
  }

  /** How many rows a condition, as it was given, holds for. Throws as `findMany` does. */
  count(given: object, at: number): number {
    const known = this.#known('count', given, NO_OPTIONS)
    if (known !== null) return this.#search.count(known, at)
    return this.countAsked(this.#readQuery('count', given, NO_OPTIONS), at)
  }

  /** Takes down a query that is answered later, here or elsewhere. `options`: the names beside the query's own that it may have. @throws {QueryError} */
  ask(kind: QuestionKind, given: object, options: ReadonlySet<string>): AskedQuery {
    const prepared = this.#recall(kind, given, options)
    if (prepared === null) return this.#readQuery(kind, given, options)
    const { skip, take } = this.#shapes
    const values = this.#shapes.values.slice(0, this.#shapes.count)
    return AskedQuery.recalled(kind, { prepared, values, skip, take: kind === 'findFirst' ? 1 : take })
  }

  /** As `findMany`, of a query that was taken down. */
  findAsked(asked: AskedQuery, at: number): object[] {
    const prepared = this.#prepareAsked(asked, at)
    const { skip, take } = asked.recalled ?? asked.checked
    return this.#many(prepared, skip, take, at)
  }

  /** As `count`, of a condition that was taken down. */
  countAsked(asked: AskedQuery, at: number): number {
    return this.#search.count(this.#prepareAsked(asked, at), at)
  }

  /** As `findMany`, of a query that was read. */
  findChecked(query: CheckedQuery, at: number): object[] {
    return this.#many(this.#prepare(query, at), query.skip, query.take, at)
  }

  /** Whether queries may use an index on just these columns, in this order. */
  hasIndex(columns: readonly number[]): boolean {
    return this.#indexes.some(index => isSameIndex(index, columns))
  }

  /** What an index on these columns is made of, as far as their values can be compared here. Rows that are written from now on enter it. */
  beginIndex(columns: readonly number[]): readonly TableIndex[] {
    // Readers of a bounded table may see older versions at any time.
    const isUnique =
      this.coverage === null &&
      this.#mapping.uniqueKeys.some(unique => unique.every(column => columns.includes(column)))
    return addIndexes(columns, this.types, this.#table.indexes, isUnique)
  }

  /** Queries may use these indexes from now on, each on the same columns. All rows that any reader sees are in them. */
  adopt(made: readonly TableIndex[]): void {
    this.coverage?.addGroups(made[0]!)
    this.#indexes = [...this.#indexes, ...made]
    // What was planned without them is planned anew.
    this.#shapes.clear()
    this.#lookUps.clear()
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
      return {
        local: true,
        reason: null,
        why: `Memory has ${WHAT_IS_HELD[known]}, and values compare there as in PostgreSQL.`,
        known,
        ...describePlan(prepared.plan, this.#mapping),
        rowsLookedAt: this.#search.lookedAt,
        sql,
      }
    } catch (error) {
      if (!(error instanceof NotLocalError)) throw error
      const { reason, message } = error
      const rowsLookedAt = reason === 'scan limit' ? this.#search.lookedAt : 0
      const noPlan = { plan: null, index: null, union: null }
      return { local: false, reason, why: message, known, ...noPlan, rowsLookedAt, sql }
    }
  }

  /** The prepared query of the same shape, bound to the values of this one; null if it has to be read. Hot: once per query. */
  #known(kind: QuestionKind, given: object, options: ReadonlySet<string>): Prepared | null {
    const known = this.#recall(kind, given, options)
    if (known !== null && this.#table.failed !== null) throw this.#table.failed
    return known
  }

  /** As `#known`, also where the table can't be read. */
  #recall(kind: QuestionKind, given: object, options: ReadonlySet<string>): Prepared | null {
    // What a bounded table knows depends on the values.
    const known = this.coverage === null ? this.#shapes.find(kind, given, options) : null
    return known !== null && this.#bind(known, this.#shapes.values) ? known : null
  }

  /** Whether the prepared query can be asked with these values, which it is bound to then. */
  #bind({ slots, keys, doubtful }: Prepared, values: readonly unknown[]): boolean {
    if (!slots.bind(values)) return false
    if (keys.length > 0 && !this.#search.canSpell(keys)) return false
    return this.types.areSound(doubtful)
  }

  /** A query whose shape is not known, or is none. @throws {QueryError} */
  #readQuery(kind: QuestionKind, given: object, options: ReadonlySet<string>): AskedQuery {
    const isKept = this.coverage === null && this.#shapes.isFit
    const copy = isKept ? plainQuery(given, options) : null
    return AskedQuery.read(kind, READERS[kind](this.#mapping, copy ?? given, options), copy)
  }

  /** How the query is answered; this is kept for others of its shape. @throws {NotLocalError} */
  #prepareAsked(asked: AskedQuery, at: number): Prepared {
    const { kind, recalled, copy } = asked
    // It may have been taken down by another generation, or before there was an index more.
    const isMine = recalled !== null && recalled.prepared.indexes === this.#indexes
    if (isMine && this.#bind(recalled.prepared, recalled.values)) {
      if (this.#table.failed !== null) throw this.#table.failed
      return recalled.prepared
    }
    const prepared = this.#prepare(asked.checked, at)
    if (copy !== null && prepared.isForAll && this.coverage === null) this.#shapes.add(kind, copy, prepared)
    return prepared
  }

  /** @throws {NotLocalError} if only PostgreSQL can answer. */
  #prepare(query: CheckedQuery, at: number): Prepared {
    const { where, orderBy, columns } = query
    this.#mustKnow(where, at)
    const { types } = this
    types.begin()
    const slots = new Slots()
    const predicate = where === EVERY_ROW ? null : compile(where, types, slots)
    for (const { column } of orderBy) types.ordered(column)
    const doubtful = types.doubtful()
    const projection = columns === null ? null : this.projections.of(columns)
    const common = { slots, query, predicate, orderBy, projection, doubtful, indexes: this.#indexes }
    const means = { key: this.#mapping.key, indexes: this.#indexes, types, slots }
    const plan = planOf(query, means)
    const keys = keysIn(plan)
    if (this.#search.canSpell(keys)) return { ...common, plan, keys, isForAll: true }
    return { ...common, plan: planOf(query, { ...means, key: null }), keys: [], isForAll: false }
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
    if (skip === 0 && isByValue(prepared)) return this.#any(prepared, at)
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

  /** Whichever row is found first. */
  #any(prepared: Prepared, at: number): object | null {
    const record = this.#search.any(prepared, at)
    this.#count(record === NONE ? 0 : 1)
    if (record === NONE) return null
    const { view } = this.#search
    const { projection } = prepared
    if (projection !== null) return projection.row(view, this.#table.isAscii(record))
    return this.#hand(
      this.#mayKeep(prepared) ? this.#table.rowShown(record, view, at) : this.#table.decode(record),
    )
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

/** Whether rows are looked up by values, and any of them comes first. */
function isByValue({ plan, orderBy }: Prepared): boolean {
  return (
    orderBy.length === 0 && (plan.kind === 'key' || (plan.kind === 'index' && plan.index.kind === 'hash'))
  )
}

function wantedOf(skip: number, take: number | undefined): number {
  return take === undefined ? Number.POSITIVE_INFINITY : take === 0 ? 0 : skip + take
}

function conditionOnly(where: Condition): CheckedQuery {
  return { where, orderBy: [], skip: 0, take: undefined, columns: null }
}

function isSameIndex({ columns }: TableIndex, wanted: readonly number[]): boolean {
  return columns.length === wanted.length && columns.every((column, i) => column === wanted[i])
}

const NO_OPTIONS: ReadonlySet<string> = new Set()

type Read = (mapping: TableMapping, given: object, options: ReadonlySet<string>) => CheckedQuery

const READERS: Readonly<Record<QuestionKind, Read>> = {
  findMany: readFindMany,
  findFirst: readFindFirst,
  count: (mapping, given, options) => conditionOnly(readCount(mapping, given, options)),
}
