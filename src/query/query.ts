import { QueryError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { type Condition, isOtherThanEmpty, readWhere } from './where.js'

/** One column that a query sorts by. */
export interface Sorting {
  /** Its position in the mapping. */
  readonly column: number
  readonly descending: boolean
  readonly nullsFirst: boolean
}

/** A query as it was given, checked against the mapping. */
export interface CheckedQuery {
  readonly where: Condition
  readonly orderBy: readonly Sorting[]
  readonly skip: number
  /** Undefined: all. */
  readonly take: number | undefined
  /** Positions of the selected columns, ascending; null for whole rows. */
  readonly columns: readonly number[] | null
}

const FIRST_PARTS: ReadonlySet<string> = new Set(['where', 'orderBy', 'skip', 'select', 'omit'])
const MANY_PARTS: ReadonlySet<string> = new Set([...FIRST_PARTS, 'take'])
const COUNT_PARTS: ReadonlySet<string> = new Set(['where'])
const NO_OPTIONS: ReadonlySet<string> = new Set()

/**
 * What was given to `findMany`. `options` are the names beside the query's own that it may have: those of the read.
 *
 * @throws {QueryError} for whatever has no meaning.
 */
export function readFindMany(mapping: TableMapping, given: object, options = NO_OPTIONS): CheckedQuery {
  return readQuery(mapping, given, MANY_PARTS, options)
}

/** What was given to `findFirst`: a query of one row. @throws {QueryError} */
export function readFindFirst(mapping: TableMapping, given: object, options = NO_OPTIONS): CheckedQuery {
  return { ...readQuery(mapping, given, FIRST_PARTS, options), take: 1 }
}

/** What was given to `count`. @throws {QueryError} */
export function readCount(mapping: TableMapping, given: object, options = NO_OPTIONS): Condition {
  return readQuery(mapping, given, COUNT_PARTS, options).where
}

function readQuery(
  mapping: TableMapping,
  query: unknown,
  parts: ReadonlySet<string>,
  options: ReadonlySet<string>,
): CheckedQuery {
  const refuse = (problem: string): QueryError => new QueryError(mapping.name, problem)
  if (typeof query !== 'object' || query === null || isOtherThanEmpty(query))
    throw refuse('one object is needed.')
  const given = query as Readonly<Record<string, unknown>>
  for (const name of Object.keys(given)) {
    if (options.has(name)) continue
    if (!parts.has(name)) throw refuse(`${name}: there is no such part of this query.`)
    if (given[name] === undefined) throw refuse(`${name}: it is undefined. Leave it out.`)
  }
  const { where, orderBy, skip, take, select, omit } = given
  return {
    where: readWhere(mapping, where),
    orderBy: orderBy === undefined ? [] : readOrder(mapping, orderBy),
    skip: skip === undefined ? 0 : readRows(mapping, 'skip', skip),
    take: take === undefined ? undefined : readRows(mapping, 'take', take),
    columns: readSelection(mapping, select, omit),
  }
}

function readSelection(mapping: TableMapping, select: unknown, omit: unknown): number[] | null {
  if (select === undefined && omit === undefined) return null
  if (omit === undefined) return readProperties(mapping, 'select', select)
  if (select !== undefined) throw new QueryError(mapping.name, 'select and omit exclude each other.')
  const omitted = readProperties(mapping, 'omit', omit)
  return mapping.columns.map((_, position) => position).filter(position => !omitted.includes(position))
}

function readRows({ name }: TableMapping, option: string, value: unknown): number {
  if (Number.isSafeInteger(value) && Number(value) >= 0) return value as number
  throw new QueryError(name, `${option}: a whole number from 0 on is needed.`)
}

function positionOf({ name, columns }: TableMapping, property: string, path: string): number {
  const position = columns.findIndex(column => column.property === property)
  if (position < 0) throw new QueryError(name, `${path}.${property}: the table has no such property.`)
  return position
}

function readProperties(mapping: TableMapping, option: string, value: unknown): number[] {
  if (typeof value !== 'object' || value === null)
    throw new QueryError(mapping.name, `${option}: an object of properties is needed.`)
  const positions = Object.entries(value).map(([property, chosen]) => {
    if (chosen !== true) throw new QueryError(mapping.name, `${option}.${property}: only true can be given.`)
    return positionOf(mapping, property, option)
  })
  if (positions.length === 0) throw new QueryError(mapping.name, `${option}: it names no property.`)
  return positions.sort((a, b) => a - b)
}

function readOrder(mapping: TableMapping, orderBy: unknown): Sorting[] {
  const sortings: readonly unknown[] = Array.isArray(orderBy) ? orderBy : [orderBy]
  const read = sortings.map((sorting, i) =>
    readSorting(mapping, sorting, Array.isArray(orderBy) ? `orderBy[${i}]` : 'orderBy'),
  )
  // A column that was sorted by already sorts nothing any more.
  return read.filter(({ column }, i) => read.findIndex(other => other.column === column) === i)
}

function readSorting(mapping: TableMapping, sorting: unknown, path: string): Sorting {
  const refuse = (problem: string): QueryError => new QueryError(mapping.name, `${path}: ${problem}`)
  if (typeof sorting !== 'object' || sorting === null) throw refuse('an object of one property is needed.')
  const [entry, ...others] = Object.entries(sorting)
  if (entry === undefined || others.length > 0)
    throw refuse('an object of one property is needed; for several columns, a list of such objects.')
  const [property, given] = entry as [string, unknown]
  const column = positionOf(mapping, property, path)
  const { sort, nulls, ...rest } = (
    typeof given === 'object' && given !== null ? given : { sort: given }
  ) as {
    sort?: unknown
    nulls?: unknown
  }
  if (sort !== 'asc' && sort !== 'desc') throw refuse(`${property} is sorted 'asc' or 'desc'.`)
  const isNulls = nulls === 'first' || nulls === 'last'
  if ((!isNulls && Object.hasOwn(Object(given) as object, 'nulls')) || Object.keys(rest).length > 0)
    throw refuse(`beside sort, ${property} takes nulls, 'first' or 'last'.`)
  const descending = sort === 'desc'
  return { column, descending, nullsFirst: isNulls ? nulls === 'first' : descending }
}
