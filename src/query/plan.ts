import { type Bound, HashRange, KeyRanges, OrderedRange } from './key-range.js'
import type { ColumnTypes } from './predicate.js'
import type { CheckedQuery, Sorting } from './query.js'
import type { Slot, Slots } from './slot.js'
import type { TableIndex } from './table-index.js'
import { type Condition, NO_ROW } from './where.js'

/** How a query's rows are found. Values are in slots: the same plan serves all queries of one shape. */
export type Plan =
  /** Each of these keys, its values in the key's order. */
  | { readonly kind: 'key'; readonly keys: readonly (readonly Slot[])[] }
  | IndexPlan
  /** Whatever one of these finds: a row may be found by several. None of them: no row is meant. */
  | { readonly kind: 'union'; readonly of: readonly Plan[] }
  | { readonly kind: 'scan' }

export interface IndexPlan {
  readonly kind: 'index'
  readonly index: TableIndex
  /** As they were bound last. */
  readonly ranges: KeyRanges
  /** Whether an entry whose number stands for one value says all that the condition asks for. */
  readonly decides: boolean
  /** Null if the rows come in no useful order. */
  readonly walk: Walk | null
}

/** One range, walked in the order of `orderBy`, as far as the first numbers of the keys tell it. */
export interface Walk {
  readonly descending: boolean
  /** How many numbers those are. */
  readonly parts: number
  /** For each of them, below which magnitude it stands for one value; infinite where what it stands for does not matter. */
  readonly exactBelow: readonly number[]
  /** Whether `orderBy` asks for nothing else. */
  readonly whole: boolean
}

/** Ranges of one plan, at most: the combinations of the values that `in` lists. */
const RANGES_MAX = 1_000

/** Ways of one plan to find rows, at most: the alternatives of an OR. */
const ALTERNATIVES_MAX = 64

/** A plan, and how much of it an index takes from the rows that have to be looked at: more is better. */
interface Candidate {
  readonly plan: Plan
  readonly score: number
}

/** Nothing is better than to know the rows. */
const BY_KEY = Number.POSITIVE_INFINITY

/** What a condition demands of one column, for certain. */
interface Demand {
  /** One of these; null for NULL. Undefined: anything. */
  equal: readonly (Slot | null)[] | undefined
  low: Bound | undefined
  high: Bound | undefined
}

interface Demands {
  readonly of: ReadonlyMap<number, Demand>
  /** Parts of the condition that are not in `of`. */
  readonly others: number
}

/** What plans are made of. */
interface Means {
  /** The key's columns; null if they are not to be used. */
  readonly key: readonly number[] | null
  readonly indexes: readonly TableIndex[]
  readonly types: ColumnTypes
  readonly slots: Slots
}

type PlannedQuery = Pick<CheckedQuery, 'where' | 'orderBy' | 'take'>

/** How to find the rows of a query. The condition has been compiled with these slots before, so its values are bound. */
export function planOf(query: PlannedQuery, means: Means): Plan {
  const plan = bestOf(query, means)?.plan ?? { kind: 'scan' }
  for (const ranges of rangesIn(plan)) {
    ranges.bind()
    means.slots.onBound(() => ranges.bind())
  }
  return plan
}

function rangesIn(plan: Plan): KeyRanges[] {
  if (plan.kind === 'union') return plan.of.flatMap(rangesIn)
  return plan.kind === 'index' ? [plan.ranges] : []
}

/** The keys that a plan looks up. */
export function keysIn(plan: Plan): readonly (readonly Slot[])[] {
  if (plan.kind === 'union') return plan.of.flatMap(keysIn)
  return plan.kind === 'key' ? plan.keys : []
}

/** Null if all rows have to be looked at. */
function bestOf(query: PlannedQuery, means: Means): Candidate | null {
  const demands = demandsOf(query.where, means.types, means.slots)
  const byKey = means.key === null ? null : keysOf(means.key, demands)
  if (byKey !== null) return { plan: { kind: 'key', keys: byKey }, score: BY_KEY }
  let best: Candidate | null = null
  for (const index of means.indexes) {
    const candidate = index.kind === 'hash' ? byHash(index, demands) : byOrder(index, demands, query)
    if (candidate !== null && (best === null || candidate.score > best.score)) best = candidate
  }
  for (const each of partsOf(query.where)) {
    const union = each.kind === 'or' ? unionOf(each.of, means) : each === NO_ROW ? NO_ROW_PLAN : null
    if (union !== null && (best === null || union.score > best.score)) best = union
  }
  return best
}

const NO_ROW_PLAN: Candidate = { plan: { kind: 'union', of: [] }, score: BY_KEY }

/** What of a condition has to hold, each by itself. */
function partsOf(where: Condition): readonly Condition[] {
  return where.kind === 'and' ? where.of : [where]
}

/** The rows of each alternative by a way of its own; null if all rows have to be looked at for one of them. No better than the worst. */
function unionOf(alternatives: readonly Condition[], means: Means): Candidate | null {
  if (alternatives.length > ALTERNATIVES_MAX) return null
  const plans: Plan[] = []
  let score = BY_KEY
  for (const where of alternatives) {
    const best = bestOf({ where, orderBy: [], take: undefined }, means)
    if (best === null) return null
    // One within another is as good as all of them side by side.
    if (best.plan.kind === 'union') plans.push(...best.plan.of)
    else plans.push(best.plan)
    if (plans.length > ALTERNATIVES_MAX) return null
    score = Math.min(score, best.score)
  }
  return { plan: { kind: 'union', of: plans }, score }
}

function demandsOf(where: Condition, types: ColumnTypes, slots: Slots): Demands {
  const of = new Map<number, Demand>()
  let others = 0
  for (const condition of partsOf(where))
    if (!(condition.kind === 'constant' && condition.value) && !note(condition, of, types, slots)) others++
  return { of, others }
}

/** Whether the condition is a demand of one column that was not noted already. */
function note(condition: Condition, of: Map<number, Demand>, types: ColumnTypes, slots: Slots): boolean {
  if (condition.kind !== 'compare' && condition.kind !== 'in' && condition.kind !== 'null') return false
  const { column } = condition
  let demand = of.get(column)
  if (demand === undefined) {
    demand = { equal: undefined, low: undefined, high: undefined }
    of.set(column, demand)
  }
  if (condition.kind === 'null') return noteEqual(demand, [null])
  if (condition.kind === 'in')
    return noteEqual(
      demand,
      condition.values.map(value => types.slot(column, value, slots)),
    )
  const slot = types.slot(column, condition.value, slots)
  const { op } = condition
  if (op === '=') return noteEqual(demand, [slot])
  const end = op === '<' || op === '<=' ? 'high' : 'low'
  if (demand[end] !== undefined) return false
  demand[end] = { slot, strict: op === '<' || op === '>' }
  return true
}

function noteEqual(demand: Demand, equal: Demand['equal']): boolean {
  if (demand.equal !== undefined) return false
  demand.equal = equal
  return true
}

/** Every combination of the values that the key's columns may have; null if one of them may have any, or there are too many. */
function keysOf(key: readonly number[], { of }: Demands): Slot[][] | null {
  const keys = combinations(key, of)
  if (keys === null) return null
  const known = keys.map(values => values.filter(slot => slot !== null))
  return known.every(values => values.length === key.length) ? known : null
}

/** Every combination of the values that the columns may have; null if one of them may have any, or there are too many. */
function combinations(columns: readonly number[], of: Demands['of']): (Slot | null)[][] | null {
  let values: (Slot | null)[][] = [[]]
  for (const column of columns) {
    const equal = of.get(column)?.equal
    if (equal === undefined || equal.length * values.length > RANGES_MAX) return null
    values = values.flatMap(before => equal.map(slot => [...before, slot]))
  }
  return values
}

function byHash(index: TableIndex, demands: Demands): Candidate | null {
  const values = combinations(index.columns, demands.of)
  if (values === null) return null
  const ranges = new KeyRanges(values.map(equal => new HashRange(index, equal)))
  // Better than the same by order, where values with the same beginning lie together.
  const score = index.columns.length * 4 + 1
  return { plan: { kind: 'index', index, ranges, decides: false, walk: null }, score }
}

function byOrder(index: TableIndex, demands: Demands, { orderBy, take }: PlannedQuery): Candidate | null {
  const { columns } = index
  // Most indexes of a table have nothing to do with a query.
  if (!demands.of.has(columns[0]!) && (take === undefined || orderBy[0]?.column !== columns[0])) return null
  let prefixes: (Slot | null)[][] = [[]]
  let used = 0
  for (; used < columns.length; used++) {
    const longer = combinations(columns.slice(0, used + 1), demands.of)
    if (longer === null) break
    prefixes = longer
  }
  const next = used < columns.length ? demands.of.get(columns[used]!) : undefined
  const range = next?.low === undefined && next?.high === undefined ? undefined : next
  const walk = prefixes.length === 1 ? walkOf(index, used, orderBy) : null
  if (used === 0 && range === undefined && (walk === null || take === undefined)) return null
  const ranges = new KeyRanges(prefixes.map(equal => new OrderedRange(index, equal, range?.low, range?.high)))
  // What else is demanded of the columns that are used has to be looked at too, so the demands have to be one each.
  const isOne = ({ equal, low, high }: Demand): boolean =>
    equal === undefined || (low === undefined && high === undefined)
  const decides =
    demands.others === 0 &&
    used + (range === undefined ? 0 : 1) === demands.of.size &&
    [...demands.of.values()].every(isOne)
  const score = used * 4 + (range === undefined ? 0 : 2) + (walk === null ? 0 : 1)
  return { plan: { kind: 'index', index, ranges, decides, walk }, score }
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
    // What is fixed does not order anything, and of several numbers only the last may hide a difference.
    Array.from({ length: width }, (_, part) =>
      i < used || part < width - 1 ? Number.POSITIVE_INFINITY : width === 1 ? below : 0,
    ),
  )
  const whole = matched === wanted.length
  return { descending: first.descending, parts: offsets[used + matched]!, exactBelow, whole }
}
