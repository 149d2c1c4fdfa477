import { EqualOperator, FindOperator, type ValueTransformer } from 'typeorm'
import type { CachedEntity, ColumnMetadata } from './entity.js'

/** A condition in walcache's words, on columns. */
export type Condition = Readonly<Record<string, unknown>>

/** What only TypeORM can ask for. */
export const ORIGINAL = Symbol('original')

type Answer<T> = T | typeof ORIGINAL

/**
 * TypeORM's `where` as a condition that means the same, null if it leaves every row in, or ORIGINAL.
 *
 * The operators of the caller are only read: TypeORM applies a column's transformers to them in place, and may still have to.
 */
export function conditionOf(entity: CachedEntity, where: unknown): Answer<Condition | null> {
  if (where === undefined) return null
  if (Array.isArray(where)) return alternatives(entity, where)
  const parts: Condition[] = []
  if (!collect(entity, where, '', parts)) return ORIGINAL
  return conjunction(parts)
}

function alternatives(entity: CachedEntity, list: readonly unknown[]): Answer<Condition | null> {
  if (list.length === 0) return null
  const parts: Condition[] = []
  for (const item of list) {
    const part = isPlainObject(item) ? conditionOf(entity, item) : ORIGINAL
    // TypeORM leaves an empty alternative out, where it would let every row in: let it.
    if (part === ORIGINAL || part === null) return ORIGINAL
    parts.push(part)
  }
  return parts.length === 1 ? parts[0]! : { OR: parts }
}

function conjunction(parts: readonly Condition[]): Condition | null {
  if (parts.length <= 1) return parts[0] ?? null
  return { AND: parts }
}

/** Whether all that `where` says could be put into `parts`. */
function collect(entity: CachedEntity, where: unknown, prefix: string, parts: Condition[]): boolean {
  if (!isPlainObject(where)) return false
  for (const [property, value] of Object.entries(where)) {
    const path = prefix + property
    const column = entity.columns.get(path)
    if (column !== undefined) {
      const part = columnCondition(column, value)
      if (part === ORIGINAL) return false
      parts.push(part)
    } else if (!entity.embedded.has(path) || !collect(entity, value, `${path}.`, parts)) return false
  }
  return true
}

function columnCondition(column: ColumnMetadata, value: unknown): Answer<Condition> {
  const name = column.databaseName
  if (value === null) {
    const means = column.entityMetadata.dataSource.options.invalidWhereValuesBehavior?.null
    return means === 'sql-null' ? { [name]: null } : ORIGINAL
  }
  if (value instanceof FindOperator && !(value instanceof EqualOperator))
    return operatorCondition(column, value)
  const operand = operandOf(column, value instanceof EqualOperator ? value.value : value)
  return operand === ORIGINAL ? ORIGINAL : { [name]: { equals: operand } }
}

const COMPARISONS: ReadonlyMap<string, string> = new Map([
  ['equal', 'equals'],
  ['lessThan', 'lt'],
  ['lessThanOrEqual', 'lte'],
  ['moreThan', 'gt'],
  ['moreThanOrEqual', 'gte'],
])

function operatorCondition(
  column: ColumnMetadata,
  operator: Readonly<FindOperator<unknown>>,
): Answer<Condition> {
  const name = column.databaseName
  const { type, child } = operator
  if (type === 'not') {
    if (operator.value === null) return ORIGINAL
    const inner =
      child === undefined ? columnCondition(column, operator.value) : operatorCondition(column, child)
    return inner === ORIGINAL ? ORIGINAL : { NOT: inner }
  }
  // Any other operator around an operator: TypeORM then takes the inner one's value.
  if (child !== undefined) return ORIGINAL
  if (type === 'isNull') return { [name]: null }
  const { value } = operator
  if (type === 'and' || type === 'or') return combination(column, type, value)
  if (type === 'in' || type === 'between') {
    const operands = operandsOf(column, value)
    if (operands === ORIGINAL) return ORIGINAL
    if (type === 'in') return { [name]: { in: operands } }
    return operands.length === 2 ? { [name]: { gte: operands[0], lte: operands[1] } } : ORIGINAL
  }
  const operand = operandOf(column, value)
  if (operand === ORIGINAL) return ORIGINAL
  if (type === 'like') return patternCondition(name, operand)
  const comparison = COMPARISONS.get(type)
  return comparison === undefined ? ORIGINAL : { [name]: { [comparison]: operand } }
}

function combination(column: ColumnMetadata, type: 'and' | 'or', value: unknown): Answer<Condition> {
  if (!Array.isArray(value) || value.length === 0) return ORIGINAL
  const parts: Condition[] = []
  for (const operator of value) {
    const part = operator instanceof FindOperator ? operatorCondition(column, operator) : ORIGINAL
    if (part === ORIGINAL) return ORIGINAL
    parts.push(part)
  }
  return type === 'and' ? { AND: parts } : { OR: parts }
}

/** `Like('abc%')` and `Like('%abc%')`, where nothing else in the pattern is special. */
function patternCondition(name: string, pattern: unknown): Answer<Condition> {
  const parts = typeof pattern === 'string' ? /^(%?)([^%_\\]+)%$/.exec(pattern) : null
  if (parts === null) return ORIGINAL
  return { [name]: { [parts[1] === '' ? 'startsWith' : 'contains']: parts[2] } }
}

function operandsOf(column: ColumnMetadata, values: unknown): Answer<readonly unknown[]> {
  // `in ()` is not SQL; what TypeORM makes of it is TypeORM's to say.
  if (!Array.isArray(values) || values.length === 0) return ORIGINAL
  const operands = values.map(value => operandOf(column, value))
  return operands.includes(ORIGINAL) ? ORIGINAL : operands
}

/** The value that the column is compared with, as it would be sent to Postgres. */
function operandOf(column: ColumnMetadata, value: unknown): unknown {
  if (value === null || value === undefined) return ORIGINAL
  if (column.transformer === undefined) return isOperand(value) ? value : ORIGINAL
  const operand = stored(column.transformer, value)
  return isOperand(operand) ? operand : ORIGINAL
}

function stored(transformer: ValueTransformer | ValueTransformer[], value: unknown): unknown {
  const transformers = Array.isArray(transformer) ? transformer : [transformer]
  return transformers.reduce((current: unknown, { to }) => to(current) as unknown, value)
}

const OPERAND_TYPES: ReadonlySet<string> = new Set(['string', 'number', 'bigint', 'boolean'])

/** What can be compared with a column. Of arrays and objects only TypeORM and `pg` know how they are sent. */
function isOperand(value: unknown): boolean {
  return OPERAND_TYPES.has(typeof value) || value instanceof Date || value instanceof Uint8Array
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
}
