import { TEXT, type TupleView } from '../change/change.js'
import { NotLocalError, QueryError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { NoKeyText } from '../sql/key-text.js'
import { isNoValueType, type NoValueType, type ValueType, valueTypeOf } from '../sql/value-type.js'
import { Slot, Slots } from './slot.js'
import type { Comparison, Condition, Operand } from './where.js'

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
  /** Columns whose order the query that is prepared goes by. */
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

  /** A query is prepared: the columns by whose order it goes are noted from now on. */
  begin(): void {
    this.#orderedBy.clear()
  }

  /** The noted columns whose order may turn out not to be known. */
  doubtful(): number[] {
    return [...this.#orderedBy].filter(column => this.of(column).name === 'enum')
  }

  /** Whether the order of each of these columns is known, as far as their values were looked at. */
  areSound(columns: readonly number[]): boolean {
    for (let i = 0; i < columns.length; i++) if (!this.of(columns[i]!).sound) return false
    return true
  }

  /** @throws {NotLocalError} if the order of one of these columns has turned out not to be known. */
  mustBeSound(columns: readonly number[]): void {
    for (let i = 0; i < columns.length; i++) this.#checkSound(columns[i]!)
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
  slot(column: number, { given, place }: Operand, slots: Slots): Slot {
    return slots.at(place, () => this.#bound(column, given, new Slot(this.of(column).operand)))
  }

  /** The text of a pattern. @throws {NotLocalError} */
  textSlot(column: number, text: string, place: number, slots: Slots): Slot {
    return slots.at(place, () => this.#bound(column, text, new Slot(patternText)))
  }

  #bound(column: number, given: unknown, slot: Slot): Slot {
    const problem = slot.bind(given)
    if (problem === null) return slot
    if (problem.kind === 'impossible')
      throw new QueryError(this.mapping.name, `${this.mapping.columns[column]!.property}: ${problem.reason}`)
    throw this.notLocal(column, 'value', problem.reason)
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
 * `condition` as a function of a row. Its values are in `slots`, where others may be bound.
 *
 * @throws {NotLocalError} if only PostgreSQL can tell. @throws {QueryError} for a value that can't be of its column's type.
 */
export function compile(condition: Condition, types: ColumnTypes, slots = new Slots()): Predicate {
  const predicate = predicateOf(condition, types, slots)
  slots.bound()
  return predicate
}

function predicateOf(condition: Condition, types: ColumnTypes, slots: Slots): Predicate {
  switch (condition.kind) {
    case 'constant': {
      const value = condition.value ? TRUE : FALSE
      return () => value
    }
    case 'and':
      return both(condition.of.map(each => predicateOf(each, types, slots)))
    case 'or':
      return either(condition.of.map(each => predicateOf(each, types, slots)))
    case 'not': {
      const of = predicateOf(condition.of, types, slots)
      return row => TRUE - of(row)
    }
    case 'null': {
      const { column } = condition
      // A row of nothing but NULLs `IS NULL` as well.
      if (types.mapping.columns[column]!.compositeType !== null)
        throw types.notLocal(column, 'type', 'whether a composite value is null only PostgreSQL says.')
      return row => (row.kinds[column] === TEXT ? FALSE : TRUE)
    }
    case 'compare':
      return comparison(condition.column, condition.op, condition.value, types, slots)
    case 'in':
      return oneOf(condition.column, condition.values, types, slots)
    case 'text':
      return textMatch(condition, types, slots)
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

function comparison(
  column: number,
  op: Comparison,
  value: Operand,
  types: ColumnTypes,
  slots: Slots,
): Predicate {
  const { compare } = op === '=' ? types.of(column) : types.ordered(column)
  const slot = types.slot(column, value, slots)
  // Which signs of the comparison make it true.
  const less = op === '<' || op === '<=' ? TRUE : FALSE
  const equal = op === '<' || op === '>' ? FALSE : TRUE
  const greater = op === '>' || op === '>=' ? TRUE : FALSE
  return row => {
    if (row.kinds[column] !== TEXT) return UNKNOWN
    const sign = compare(row.bytes, row.starts[column]!, row.ends[column]!, slot.bytes, 0, slot.length)
    return sign === 0 ? equal : sign < 0 ? less : greater
  }
}

function oneOf(column: number, values: readonly Operand[], types: ColumnTypes, slots: Slots): Predicate {
  const { compare, ordered } = types.of(column)
  const operands = values.map(value => types.slot(column, value, slots))
  if (ordered)
    slots.onBound(() => {
      operands.sort((a, b) => compare(a.bytes, 0, a.length, b.bytes, 0, b.length))
    })
  const search = ordered ? binarySearch : linearSearch
  return row => {
    if (row.kinds[column] !== TEXT) return UNKNOWN
    return search(operands, compare, row.bytes, row.starts[column]!, row.ends[column]!) ? TRUE : FALSE
  }
}

type Search = (
  operands: readonly Slot[],
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
    const sign = compare(bytes, start, end, operand.bytes, 0, operand.length)
    if (sign === 0) return true
    if (sign < 0) high = middle
    else low = middle + 1
  }
  return false
}

const linearSearch: Search = (operands, compare, bytes, start, end) => {
  for (let i = 0; i < operands.length; i++) {
    const operand = operands[i]!
    if (compare(bytes, start, end, operand.bytes, 0, operand.length) === 0) return true
  }
  return false
}

const HALF_A_CHARACTER: NoKeyText = { kind: 'unprovable', reason: 'the pattern has half a character.' }
const NO_PATTERN: NoKeyText = { kind: 'unprovable', reason: 'the pattern is no text that PostgreSQL has.' }

function patternText(given: unknown): string | NoKeyText {
  if (typeof given !== 'string') return NO_PATTERN
  if (/[\ud800-\udfff]/u.test(given)) return HALF_A_CHARACTER
  return given.includes('\0') ? NO_PATTERN : given
}

/** LIKE under a deterministic collation: a byte's place within a character never looks like a character's beginning, so bytes will do. */
function textMatch(
  { column, match, text, place }: Condition & { readonly kind: 'text' },
  types: ColumnTypes,
  slots: Slots,
): Predicate {
  if (!types.of(column).like)
    throw types.notLocal(column, 'type', 'only PostgreSQL matches values of its type with a pattern.')
  const slot = types.textSlot(column, text, place, slots)
  return row => {
    if (row.kinds[column] !== TEXT) return UNKNOWN
    const start = row.starts[column]!
    const last = row.ends[column]! - slot.length
    if (last < start) return FALSE
    if (match === 'starts') return isAt(row.bytes, start, slot) ? TRUE : FALSE
    if (match === 'ends') return isAt(row.bytes, last, slot) ? TRUE : FALSE
    for (let at = start; at <= last; at++) if (isAt(row.bytes, at, slot)) return TRUE
    return FALSE
  }
}

function isAt(bytes: Uint8Array, at: number, { bytes: pattern, length }: Slot): boolean {
  for (let i = 0; i < length; i++) if (bytes[at + i] !== pattern[i]) return false
  return true
}
