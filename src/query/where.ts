import { QueryError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { databaseParameter } from '../sql/key-text.js'

export type Comparison = '=' | '<' | '<=' | '>' | '>='

/** A value that a column is compared with: as it was given, and as the text that PostgreSQL would be sent. */
export interface Operand {
  readonly given: unknown
  readonly parameter: string
  /** Which of the values of the whole condition it is, from 0 on, in the order in which they are written. */
  readonly place: number
}

/** Which end of a text has to be the same, or whether anywhere will do. */
export type TextMatch = 'starts' | 'ends' | 'contains'

/** A `where`, checked and in few words. Columns are positions in the mapping. Its value is true, false or unknown, as in SQL. */
export type Condition =
  | { readonly kind: 'constant'; readonly value: boolean }
  | { readonly kind: 'and' | 'or'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'null'; readonly column: number }
  | { readonly kind: 'compare'; readonly column: number; readonly op: Comparison; readonly value: Operand }
  /** At least one value. */
  | { readonly kind: 'in'; readonly column: number; readonly values: readonly Operand[] }
  | {
      readonly kind: 'text'
      readonly column: number
      readonly match: TextMatch
      readonly text: string
      /** As an operand's. */
      readonly place: number
    }

export const EVERY_ROW: Condition = { kind: 'constant', value: true }
export const NO_ROW: Condition = { kind: 'constant', value: false }

/** Conditions within conditions, at most. */
const DEPTH_MAX = 32
/** Conditions of one query, the values of its lists counted one by one: PostgreSQL itself takes 65,535 parameters. */
const CONDITIONS_MAX = 32_767

const COMPARISONS: Readonly<Record<string, Comparison>> = {
  equals: '=',
  lt: '<',
  lte: '<=',
  gt: '>',
  gte: '>=',
}
const TEXT_MATCHES: Readonly<Record<string, TextMatch>> = {
  startsWith: 'starts',
  endsWith: 'ends',
  contains: 'contains',
}

/**
 * What `where` says of the rows of `mapping`; without one, every row is meant.
 *
 * @throws {QueryError} for whatever is no condition: an unknown property or operator, `undefined` anywhere, a value that can't be sent.
 */
export function readWhere(mapping: TableMapping, where: unknown): Condition {
  return where === undefined ? EVERY_ROW : new WhereReader(mapping).read(where, 'where', 0)
}

const positions = new WeakMap<TableMapping, ReadonlyMap<string, number>>()

/** The position of each property; made once a mapping. */
function positionsOf(mapping: TableMapping): ReadonlyMap<string, number> {
  const known = positions.get(mapping)
  if (known !== undefined) return known
  const made = new Map(mapping.columns.map(({ property }, position) => [property, position]))
  positions.set(mapping, made)
  return made
}

class WhereReader {
  readonly #mapping: TableMapping
  readonly #columns: ReadonlyMap<string, number>
  #values = 0

  constructor(mapping: TableMapping) {
    this.#mapping = mapping
    this.#columns = positionsOf(mapping)
  }

  read(where: unknown, path: string, depth: number): Condition {
    if (!isPlainObject(where) || isOtherThanEmpty(where))
      throw this.#refuse(path, 'an object of properties and conditions is needed.')
    if (depth > DEPTH_MAX) throw this.#refuse(path, `conditions are nested more than ${DEPTH_MAX} deep.`)
    const conditions = Object.entries(where).map(([name, value]) => {
      const at = `${path}.${name}`
      if (value === undefined) throw this.#refuse(at, 'it is undefined. Leave the property out, or use null.')
      if (name === 'AND') return all(this.#list(value, at, depth, true))
      if (name === 'OR') return any(this.#list(value, at, depth, false))
      if (name === 'NOT') return all(this.#list(value, at, depth, true).map(not))
      const column = this.#columns.get(name)
      if (column === undefined) throw this.#refuse(at, 'the table has no such property.')
      return this.#column(column, value, at, depth)
    })
    return all(conditions)
  }

  #list(value: unknown, path: string, depth: number, oneWillDo: boolean): Condition[] {
    if (Array.isArray(value))
      return value.map((each: unknown, i) => this.read(each, `${path}[${i}]`, depth + 1))
    if (!oneWillDo) throw this.#refuse(path, 'a list of conditions is needed.')
    return [this.read(value, path, depth + 1)]
  }

  #column(column: number, value: unknown, path: string, depth: number): Condition {
    if (depth > DEPTH_MAX) throw this.#refuse(path, `conditions are nested more than ${DEPTH_MAX} deep.`)
    if (!isPlainObject(value)) return this.#compare(column, '=', value, path)
    const operators = Object.entries(value)
    if (operators.length === 0) throw this.#refuse(path, 'it has no operator.')
    return all(
      operators.map(([operator, operand]) =>
        this.#operator(column, operator, operand, `${path}.${operator}`, depth),
      ),
    )
  }

  #operator(column: number, operator: string, operand: unknown, path: string, depth: number): Condition {
    if (operand === undefined)
      throw this.#refuse(path, 'it is undefined. Leave the operator out, or use null.')
    if (operator === 'not') return not(this.#column(column, operand, path, depth + 1))
    if (operator === 'in') return this.#in(column, operand, path)
    if (operator === 'notIn') return not(this.#in(column, operand, path))
    if (Object.hasOwn(TEXT_MATCHES, operator))
      return this.#text(column, TEXT_MATCHES[operator]!, operand, path)
    if (!Object.hasOwn(COMPARISONS, operator)) throw this.#refuse(path, 'there is no such operator.')
    if (operand === null && operator !== 'equals')
      throw this.#refuse(path, 'nothing can be compared with null: use equals: null, or not: null.')
    return this.#compare(column, COMPARISONS[operator]!, operand, path)
  }

  #compare(column: number, op: Comparison, value: unknown, path: string): Condition {
    if (value === null) return { kind: 'null', column }
    return { kind: 'compare', column, op, value: this.#operand(value, path) }
  }

  #in(column: number, values: unknown, path: string): Condition {
    if (!Array.isArray(values)) throw this.#refuse(path, 'a list of values is needed.')
    if (values.length === 0) return NO_ROW
    const operands = values.map((value: unknown, i) => this.#operand(value, `${path}[${i}]`))
    const [only] = operands
    return operands.length === 1
      ? { kind: 'compare', column, op: '=', value: only! }
      : { kind: 'in', column, values: operands }
  }

  #text(column: number, match: TextMatch, text: unknown, path: string): Condition {
    if (typeof text !== 'string' || text.includes('\0')) throw this.#refuse(path, 'a text is needed.')
    return { kind: 'text', column, match, text, place: this.#count(path) }
  }

  #operand(value: unknown, path: string): Operand {
    const place = this.#count(path)
    if (value === undefined || value === null)
      throw this.#refuse(path, 'it is null or undefined, and nothing can be compared with that.')
    if (typeof value === 'string' && value.includes('\0'))
      throw this.#refuse(path, "it has a NUL character, which PostgreSQL's text can't hold.")
    try {
      return { given: value, parameter: databaseParameter(value), place }
    } catch (cause) {
      const problem = 'it is not a text, number, bigint, boolean, Date or bytes.'
      throw this.#refuse(path, problem, { cause })
    }
  }

  /** The next value's place. */
  #count(path: string): number {
    if (this.#values === CONDITIONS_MAX)
      throw this.#refuse(path, `the query has more than ${CONDITIONS_MAX} values.`)
    return this.#values++
  }

  #refuse(path: string, problem: string, options?: ErrorOptions): QueryError {
    return new QueryError(this.#mapping.name, `${path}: ${problem}`, options)
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return !(value instanceof Date) && !(value instanceof Uint8Array)
}

/**
 * Whether an object has no names that could be read, and yet is none that was left empty: a Promise that nobody has awaited, a Map, an object whose
 * properties are inherited or symbols. Taken for an empty one it would mean every row.
 */
export function isOtherThanEmpty(given: object): boolean {
  if (Object.keys(given).length > 0) return false
  const prototype: unknown = Object.getPrototypeOf(given)
  // Of another realm, Object.prototype is another object.
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
  return !isPlain || Object.getOwnPropertySymbols(given).length > 0
}

export function all(conditions: readonly Condition[]): Condition {
  const of = conditions
    .flatMap(each => (each.kind === 'and' ? each.of : [each]))
    .filter(each => each !== EVERY_ROW)
  if (of.length === 0) return EVERY_ROW
  return of.length === 1 ? of[0]! : { kind: 'and', of }
}

/** The same condition of other values, each at its place. They are known to be fit. */
export function withValues(condition: Condition, values: readonly unknown[]): Condition {
  const operand = ({ place }: Operand): Operand => {
    const given = values[place]
    return { given, parameter: databaseParameter(given), place }
  }
  switch (condition.kind) {
    case 'constant':
    case 'null':
      return condition
    case 'and':
    case 'or':
      return { kind: condition.kind, of: condition.of.map(each => withValues(each, values)) }
    case 'not':
      return { kind: 'not', of: withValues(condition.of, values) }
    case 'compare':
      return { ...condition, value: operand(condition.value) }
    case 'in':
      return { ...condition, values: condition.values.map(operand) }
    case 'text':
      return { ...condition, text: values[condition.place] as string }
  }
}

function any(conditions: readonly Condition[]): Condition {
  if (conditions.length === 0) return NO_ROW
  return conditions.length === 1 ? conditions[0]! : { kind: 'or', of: conditions }
}

function not(condition: Condition): Condition {
  if (condition.kind === 'constant') return condition.value ? NO_ROW : EVERY_ROW
  return condition.kind === 'not' ? condition.of : { kind: 'not', of: condition }
}
