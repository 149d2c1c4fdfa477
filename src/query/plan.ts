import { NULL_KEY } from '../sql/encode.js'
import type { ColumnTypes } from './predicate.js'
import type { CheckedQuery, Sorting } from './query.js'
import type { TableIndex } from './table-index.js'
import type { Condition } from './where.js'

/** A run of an index's entries: from the first whose leading numbers are not below `low` to the last whose are not above `high`. */
export interface Range {
  readonly low: Float64Array
  readonly lowParts: number
  /** Whether entries with just the numbers of `low` are left out; likewise below. */
  readonly lowAfter: boolean
  readonly high: Float64Array
  readonly highParts: number
  readonly highAfter: boolean
}

/** How a query's rows are found. */
export type Plan =
  /** Each of these keys, its values in the key's order. */
  | { readonly kind: 'key'; readonly keys: readonly (readonly unknown[])[] }
  | IndexPlan
  | { readonly kind: 'scan' }

export interface IndexPlan {
  readonly kind: 'index'
  readonly index: TableIndex
  readonly ranges: readonly Range[]
  /** Whether every entry in the ranges is a row that the whole condition holds for, as far as the entry's own row goes. */
  readonly exact: boolean
  /** Null if the rows come in no useful order. */
  readonly walk: Walk | null
}

/** One range, walked in the order of `orderBy`, as far as the first numbers of the keys tell it. */
export interface Walk {
  readonly descending: boolean
  /** How many numbers those are. */
  readonly parts: number
  /** For each of them, below which magnitude it stands for one value. */
  readonly exactBelow: readonly number[]
  /** Whether `orderBy` asks for nothing else. */
  readonly whole: boolean
}

/** Ranges of one plan, at most: the combinations of the values that `in` lists. */
const RANGES_MAX = 1_000

/** What a condition demands of one column, for certain. */
interface Demand {
  /** One of these; null for NULL. Undefined: anything. */
  equal: readonly (Buffer | null)[] | undefined
  /** The same values as they were given; undefined for NULL. */
  given: readonly unknown[] | undefined
  low: Bound | undefined
  high: Bound | undefined
}

interface Bound {
  readonly value: Buffer
  readonly strict: boolean
}

interface Demands {
  readonly of: ReadonlyMap<number, Demand>
  /** Parts of the condition that are not in `of`. */
  readonly others: number
}

/** How to find the rows of a query. The condition has been compiled before, so its values are known to be good. */
export function planOf(
  query: Pick<CheckedQuery, 'where' | 'orderBy' | 'take'>,
  /** The key's columns; null if they are not to be used. */
  key: readonly number[] | null,
  indexes: readonly TableIndex[],
  types: ColumnTypes,
): Plan {
  const demands = demandsOf(query.where, types)
  const byKey = key === null ? null : keysOf(key, demands)
  if (byKey !== null) return { kind: 'key', keys: byKey }
  let best: { plan: IndexPlan; score: number } | null = null
  for (const index of indexes) {
    const candidate = index.kind === 'hash' ? byHash(index, demands) : byOrder(index, demands, query)
    if (candidate !== null && (best === null || candidate.score > best.score)) best = candidate
  }
  return best?.plan ?? { kind: 'scan' }
}

function demandsOf(where: Condition, types: ColumnTypes): Demands {
  const of = new Map<number, Demand>()
  let others = 0
  for (const condition of where.kind === 'and' ? where.of : [where])
    if (!(condition.kind === 'constant' && condition.value) && !note(condition, of, types)) others++
  return { of, others }
}

/** Whether the condition is a demand of one column that was not noted already. */
function note(condition: Condition, of: Map<number, Demand>, types: ColumnTypes): boolean {
  if (condition.kind !== 'compare' && condition.kind !== 'in' && condition.kind !== 'null') return false
  const { column } = condition
  let demand = of.get(column)
  if (demand === undefined) {
    demand = { equal: undefined, given: undefined, low: undefined, high: undefined }
    of.set(column, demand)
  }
  if (condition.kind === 'null') return noteEqual(demand, [null], undefined)
  if (condition.kind === 'in') {
    const values = condition.values.map(value => types.operand(column, value))
    const given = condition.values.map(value => value.given)
    return noteEqual(demand, values, given)
  }
  const value = types.operand(column, condition.value)
  const { op } = condition
  if (op === '=') return noteEqual(demand, [value], [condition.value.given])
  const end = op === '<' || op === '<=' ? 'high' : 'low'
  if (demand[end] !== undefined) return false
  demand[end] = { value, strict: op === '<' || op === '>' }
  return true
}

function noteEqual(demand: Demand, equal: Demand['equal'], given: Demand['given']): boolean {
  if (demand.equal !== undefined) return false
  demand.equal = equal
  demand.given = given
  return true
}

/** Every combination of the values that the key's columns may have; null if one of them may have any, or there are too many. */
function keysOf(key: readonly number[], { of }: Demands): unknown[][] | null {
  let keys: unknown[][] = [[]]
  for (const column of key) {
    const given = of.get(column)?.given
    if (given === undefined || given.length * keys.length > RANGES_MAX) return null
    keys = keys.flatMap(before => given.map(value => [...before, value]))
  }
  return keys
}

function byHash(index: TableIndex, demands: Demands): { plan: IndexPlan; score: number } | null {
  let values: (Buffer | null)[][] = [[]]
  for (const column of index.columns) {
    const equal = demands.of.get(column)?.equal
    if (equal === undefined || equal.length * values.length > RANGES_MAX) return null
    values = values.flatMap(before => equal.map(value => [...before, value]))
  }
  const hashes = [...new Set(values.map(each => index.hash(each)))]
  const ranges = hashes.map(hash => {
    const key = Float64Array.of(hash)
    return { low: key, lowParts: 1, lowAfter: false, high: key, highParts: 1, highAfter: true }
  })
  // Better than the same by order, where values with the same beginning lie together.
  const score = index.columns.length * 4 + 1
  return { plan: { kind: 'index', index, ranges, exact: false, walk: null }, score }
}

/** The beginning of keys: numbers for the first `columns` columns of an index. */
interface Prefix {
  readonly key: Float64Array
  readonly exact: boolean
}

function byOrder(
  index: TableIndex,
  demands: Demands,
  { orderBy, take }: Pick<CheckedQuery, 'orderBy' | 'take'>,
): { plan: IndexPlan; score: number } | null {
  const { columns, offsets } = index
  // Most indexes of a table have nothing to do with a query.
  if (!demands.of.has(columns[0]!) && (take === undefined || orderBy[0]?.column !== columns[0])) return null
  let prefixes: Prefix[] = [{ key: new Float64Array(offsets.at(-1)!), exact: true }]
  let columnsUsed = 0
  let demandsUsed = 0
  for (; columnsUsed < columns.length; columnsUsed++) {
    const equal = demands.of.get(columns[columnsUsed]!)?.equal
    if (equal === undefined || equal.length * prefixes.length > RANGES_MAX) break
    prefixes = prefixes.flatMap(prefix => equal.map(value => extend(prefix, value, index, columnsUsed)))
    demandsUsed++
  }
  const next = columnsUsed < columns.length ? demands.of.get(columns[columnsUsed]!) : undefined
  const isRange = next !== undefined && (next.low !== undefined || next.high !== undefined)
  const walk = prefixes.length === 1 ? walkOf(index, columnsUsed, orderBy) : null
  if (columnsUsed === 0 && !isRange && (walk === null || take === undefined)) return null
  const ranges = distinct(
    prefixes.map(prefix =>
      isRange ? within(prefix, next, index, columnsUsed) : whole(prefix, offsets[columnsUsed]!),
    ),
  )
  // What else is demanded of the columns that are used has to be looked at too, so the demands have to be one each.
  const isOne = (column: number): boolean => {
    const { equal, low, high } = demands.of.get(column)!
    return equal === undefined || (low === undefined && high === undefined)
  }
  const used = demandsUsed + (isRange ? 1 : 0)
  const exact =
    demands.others === 0 &&
    used === demands.of.size &&
    [...demands.of.keys()].every(isOne) &&
    ranges.every(range => range.exact)
  const score = columnsUsed * 4 + (isRange ? 2 : 0) + (walk === null ? 0 : 1)
  return { plan: { kind: 'index', index, ranges, exact, walk }, score }
}

function extend(
  prefix: Prefix,
  value: Buffer | null,
  { encodings, offsets }: TableIndex,
  column: number,
): Prefix {
  const key = prefix.key.slice()
  const { width, exactBelow, write } = encodings![column]!
  const offset = offsets[column]!
  if (value === null) {
    key.fill(NULL_KEY, offset, offset + width)
    return { key, exact: prefix.exact }
  }
  write(value, 0, value.length, key, offset)
  return { key, exact: prefix.exact && width === 1 && Math.abs(key[offset]!) < exactBelow }
}

type ExactRange = Range & { readonly exact: boolean }

function whole({ key, exact }: Prefix, parts: number): ExactRange {
  return { low: key, lowParts: parts, lowAfter: false, high: key, highParts: parts, highAfter: true, exact }
}

function within(prefix: Prefix, { low, high }: Demand, index: TableIndex, column: number): ExactRange {
  const parts = index.offsets[column]!
  const end = index.offsets[column + 1]!
  const from = low === undefined ? null : extend(prefix, low.value, index, column)
  // No value is encoded above the largest number, and NULL is.
  const to =
    high === undefined
      ? withNumber(prefix, parts, Number.MAX_VALUE)
      : extend(prefix, high.value, index, column)
  return {
    low: from?.key ?? prefix.key,
    lowParts: from === null ? parts : end,
    lowAfter: from !== null && from.exact && low!.strict,
    high: to.key,
    highParts: high === undefined ? parts + 1 : end,
    highAfter: high === undefined || !(to.exact && high.strict),
    exact: prefix.exact && (from === null || from.exact) && to.exact,
  }
}

function withNumber({ key, exact }: Prefix, at: number, number: number): Prefix {
  const changed = key.slice()
  changed[at] = number
  return { key: changed, exact }
}

/** Values that are encoded alike make one range. */
function distinct(ranges: readonly ExactRange[]): ExactRange[] {
  if (ranges.length === 1) return [...ranges]
  return [...new Map(ranges.map(range => [[...range.low, ...range.high].join(), range])).values()]
}

/** Whether the index, whose first `used` columns are fixed, has its entries in the wanted order, or in that backwards. */
function walkOf(index: TableIndex, used: number, orderBy: readonly Sorting[]): Walk | null {
  const { columns, offsets, encodings } = index
  const wanted = orderBy.filter(({ column }) => !columns.slice(0, used).includes(column))
  const first = wanted[0]
  if (first === undefined) return null
  let matched = 0
  for (const { column, descending, nullsFirst } of wanted) {
    const isNext = columns[used + matched] === column
    if (!isNext || descending !== first.descending || nullsFirst !== descending) break
    matched++
  }
  if (matched === 0) return null
  const exactBelow = encodings!.slice(0, used + matched).flatMap(({ width, exactBelow: below }, i) =>
    // What is fixed does not order anything.
    Array.from({ length: width }, () => (i < used ? Number.POSITIVE_INFINITY : width === 1 ? below : 0)),
  )
  const whole = matched === wanted.length
  return { descending: first.descending, parts: offsets[used + matched]!, exactBelow, whole }
}
