import type { TableMapping } from '../mapping/mapping.js'
import { amongKept } from '../mapping/table-filter.js'
import { anyOf, comparison, type ComparedReference, type TakeParameter } from '../sql/comparison.js'
import { quoteIdentifier, quoteQualified } from '../sql/quote.js'
import type { CheckedQuery } from './query.js'
import type { Comparison, Condition, TextMatch } from './where.js'

/** An SQL SELECT whose columns are `c0`, `c1` and so on, and the texts of its parameters: PostgreSQL takes them for values of the columns' types. */
export interface Selection {
  readonly sql: string
  readonly parameters: readonly string[]
}

/** The query as one SELECT. Its columns are named by their place, so that no column's name means anything: `c0`, `c1`, ... */
export function selectSql(mapping: TableMapping, query: CheckedQuery): Selection {
  const parameters: string[] = []
  const columns = query.columns ?? mapping.columns.map((_, position) => position)
  const list = columns.map((position, place) => `${reference(mapping, position)} AS c${place}`).join(', ')
  const sql = [
    // A list may be empty; then rows come without a column.
    `SELECT ${list}`,
    from(mapping),
    where(mapping, query.where, parameters),
    orderBy(mapping, query),
    query.take === undefined ? '' : ` LIMIT ${query.take}`,
    query.skip === 0 ? '' : ` OFFSET ${query.skip}`,
  ].join('')
  return { sql, parameters }
}

/** How many rows the condition holds for, as `c0`. */
export function countSql(mapping: TableMapping, condition: Condition): Selection {
  const parameters: string[] = []
  const sql = `SELECT count(*) AS c0${from(mapping)}${where(mapping, condition, parameters)}`
  return { sql, parameters }
}

function reference(mapping: TableMapping, position: number): string {
  return `t.${quoteIdentifier(mapping.columns[position]!.column)}`
}

function compared(mapping: TableMapping, position: number): ComparedReference {
  const { hasArrayType, compositeType } = mapping.columns[position]!
  return { reference: reference(mapping, position), hasArrayType, compositeType }
}

function from({ schema, table }: TableMapping): string {
  return ` FROM ${quoteQualified(schema, table)} AS t`
}

function where(mapping: TableMapping, condition: Condition, parameters: string[]): string {
  const isAll = condition.kind === 'constant' && condition.value
  if (isAll && mapping.filter === null) return ''
  const parameter: TakeParameter = text => `$${parameters.push(text)}`
  return ` WHERE ${amongKept(mapping.filter, conditionSql(mapping, condition, parameter))}`
}

/** The condition on the table as `t`, in parentheses. */
export function conditionSql(mapping: TableMapping, condition: Condition, parameter: TakeParameter): string {
  switch (condition.kind) {
    case 'constant':
      return condition.value ? 'TRUE' : 'FALSE'
    case 'and':
    case 'or':
      return `(${condition.of
        .map(each => conditionSql(mapping, each, parameter))
        .join(condition.kind === 'and' ? ' AND ' : ' OR ')})`
    case 'not':
      return `(NOT ${conditionSql(mapping, condition.of, parameter)})`
    case 'null':
      return `(${reference(mapping, condition.column)} IS NULL)`
    case 'compare':
      return `(${comparison(compared(mapping, condition.column), condition.op satisfies Comparison, condition.value.parameter, parameter)})`
    case 'in':
      return `(${anyOf(
        compared(mapping, condition.column),
        condition.values.map(value => value.parameter),
        parameter,
      )})`
    case 'text':
      return `(${reference(mapping, condition.column)} LIKE ${parameter(pattern(condition.match, condition.text))})`
  }
}

function pattern(match: TextMatch, text: string): string {
  const literal = text.replaceAll(/[\\%_]/g, String.raw`\$&`)
  return `${match === 'starts' ? '' : '%'}${literal}${match === 'ends' ? '' : '%'}`
}

function orderBy(mapping: TableMapping, { orderBy: sortings }: CheckedQuery): string {
  if (sortings.length === 0) return ''
  const list = sortings.map(
    ({ column, descending, nullsFirst }) =>
      `${reference(mapping, column)} ${descending ? 'DESC' : 'ASC'} NULLS ${nullsFirst ? 'FIRST' : 'LAST'}`,
  )
  return ` ORDER BY ${list.join(', ')}`
}
