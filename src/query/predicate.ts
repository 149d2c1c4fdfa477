import { TEXT, type TupleView } from '../change/change.js'
import { NotLocalError, QueryError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { isNoValueType, isText, type NoValueType, type ValueType, valueTypeOf } from '../sql/value-type.js'
import type { Comparison, Condition, Operand, TextMatch } from './where.js'

// SQL's truth values, so that AND is the least and OR the greatest of its parts, and NOT what is missing to true.
const FALSE = 0
const UNKNOWN = 1
export const TRUE = 2

/** What a condition says of one row, whose values are in the mapping's order. Nothing is allocated for it. */
export type Predicate = (row: TupleView) => number

/** How the columns of one table compare. */
export class ColumnTypes {
  readonly mapping: TableMapping
  readonly #types: readonly (ValueType | NoValueType)[]
  /** Columns whose order the query in progress goes by. */
  readonly #orderedBy = new Set<number>()

  constructor(mapping: TableMapping) {
    this.mapping = mapping
    this.#types = mapping.columns.map(valueTypeOf)
  }

  /** @throws {NotLocalError} if the column's values can't be compared here. */
  of(column: number): ValueType {
    const type = this.#types[column]!
    if (isNoValueType(type)) throw this.notLocal(column, type.why, type.reason)
    return type
  }

  /** As `of`, for a column whose order matters. @throws {NotLocalError} */
  ordered(column: number): ValueType {
    const type = this.of(column)
    if (!type.ordered)
      throw this.notLocal(
        column,
        'collation',
        'only PostgreSQL knows the order of texts under its collation.',
      )
    this.#orderedBy.add(column)
    this.#checkSound(column)
    return type
  }

  /** A query begins. */
  begin(): void {
    this.#orderedBy.clear()
  }

  /** The query has seen all that it looks at. @throws {NotLocalError} if it went by an order that turned out not to be known. */
  finish(): void {
    for (const column of this.#orderedBy) this.#checkSound(column)
  }

  /** Whether the column's values can be compared here. */
  isComparable(column: number): boolean {
    return !isNoValueType(this.#types[column]!)
  }

  #checkSound(column: number): void {
    if (!this.of(column).sound)
      throw this.notLocal(column, 'type', 'its enum has got new labels, whose place is not known yet.')
  }

  /** The operand as bytes that `compare` takes beside stored ones. @throws {NotLocalError} @throws {QueryError} */
  operand(column: number, { given }: Operand): Buffer {
    const text = this.of(column).operand(given)
    if (isText(text)) return Buffer.from(text)
    if (text.kind === 'impossible')
      throw new QueryError(this.mapping.name, `${this.mapping.columns[column]!.property}: ${text.reason}`)
    throw this.notLocal(column, 'value', text.reason)
  }

  notLocal(column: number, reason: 'type' | 'collation' | 'value', explanation: string): NotLocalError {
    return new NotLocalError(
      this.mapping.name,
      reason,
      `${this.mapping.columns[column]!.property}: ${explanation} The asynchronous reads ask PostgreSQL.`,
    )
  }
}

/**
 * `condition` as a function of a row.
 *
 * @throws {NotLocalError} if only PostgreSQL can tell. @throws {QueryError} for a value that can't be of its column's type.
 */
export function compile(condition: Condition, types: ColumnTypes): Predicate {
  switch (condition.kind) {
    case 'constant': {
      const value = condition.value ? TRUE : FALSE
      return () => value
    }
    case 'and':
      return both(condition.of.map(each => compile(each, types)))
    case 'or':
      return either(condition.of.map(each => compile(each, types)))
    case 'not': {
      const of = compile(condition.of, types)
      return row => TRUE - of(row)
    }
    case 'null': {
      const { column } = condition
      return row => (row.kinds[column] === TEXT ? FALSE : TRUE)
    }
    case 'compare':
      return comparison(condition.column, condition.op, condition.value, types)
    case 'in':
      return oneOf(condition.column, condition.values, types)
    case 'text':
      return textMatch(condition.column, condition.match, condition.text, types)
  }
}

function both(of: readonly Predicate[]): Predicate {
  return row => {
    let least = TRUE
    for (let i = 0; i < of.length; i++) {
      const value = of[i]!(row)
      if (value === FALSE) return FALSE
      if (value < least) least = value
    }
    return least
  }
}

function either(of: readonly Predicate[]): Predicate {
  return row => {
    let greatest = FALSE
    for (let i = 0; i < of.length; i++) {
      const value = of[i]!(row)
      if (value === TRUE) return TRUE
      if (value > greatest) greatest = value
    }
    return greatest
  }
}

function comparison(column: number, op: Comparison, value: Operand, types: ColumnTypes): Predicate {
  const { compare } = op === '=' ? types.of(column) : types.ordered(column)
  const bytes = types.operand(column, value)
  const { length } = bytes
  // Which signs of the comparison make it true.
  const less = op === '<' || op === '<=' ? TRUE : FALSE
  const equal = op === '<' || op === '>' ? FALSE : TRUE
  const greater = op === '>' || op === '>=' ? TRUE : FALSE
  return row => {
    if (row.kinds[column] !== TEXT) return UNKNOWN
    const sign = compare(row.bytes, row.starts[column]!, row.ends[column]!, bytes, 0, length)
    return sign === 0 ? equal : sign < 0 ? less : greater
  }
}

function oneOf(column: number, values: readonly Operand[], types: ColumnTypes): Predicate {
  const { compare, ordered } = types.of(column)
  const operands = values.map(value => types.operand(column, value))
  if (ordered) operands.sort((a, b) => compare(a, 0, a.length, b, 0, b.length))
  const search = ordered ? binarySearch : linearSearch
  return row => {
    if (row.kinds[column] !== TEXT) return UNKNOWN
    return search(operands, compare, row.bytes, row.starts[column]!, row.ends[column]!) ? TRUE : FALSE
  }
}

type Search = (
  operands: readonly Buffer[],
  compare: ValueType['compare'],
  bytes: Uint8Array,
  start: number,
  end: number,
) => boolean

const binarySearch: Search = (operands, compare, bytes, start, end) => {
  let low = 0
  let high = operands.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const operand = operands[middle]!
    const sign = compare(bytes, start, end, operand, 0, operand.length)
    if (sign === 0) return true
    if (sign < 0) high = middle
    else low = middle + 1
  }
  return false
}

const linearSearch: Search = (operands, compare, bytes, start, end) => {
  for (let i = 0; i < operands.length; i++) {
    const operand = operands[i]!
    if (compare(bytes, start, end, operand, 0, operand.length) === 0) return true
  }
  return false
}

/** LIKE under a deterministic collation: a byte's place within a character never looks like a character's beginning, so bytes will do. */
function textMatch(column: number, match: TextMatch, text: string, types: ColumnTypes): Predicate {
  if (!types.of(column).like)
    throw types.notLocal(column, 'type', 'only PostgreSQL matches values of its type with a pattern.')
  if (/[\ud800-\udfff]/u.test(text))
    throw types.notLocal(column, 'value', 'the pattern has half a character.')
  const bytes = Buffer.from(text)
  const { length } = bytes
  return row => {
    if (row.kinds[column] !== TEXT) return UNKNOWN
    const start = row.starts[column]!
    const end = row.ends[column]!
    const last = end - length
    if (last < start) return FALSE
    if (match === 'starts') return isAt(row.bytes, start, bytes) ? TRUE : FALSE
    if (match === 'ends') return isAt(row.bytes, last, bytes) ? TRUE : FALSE
    for (let at = start; at <= last; at++) if (isAt(row.bytes, at, bytes)) return TRUE
    return FALSE
  }
}

function isAt(bytes: Uint8Array, at: number, pattern: Uint8Array): boolean {
  for (let i = 0; i < pattern.length; i++) if (bytes[at + i] !== pattern[i]) return false
  return true
}
