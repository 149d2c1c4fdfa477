import type { Plan } from './plan.js'
import type { Predicate } from './predicate.js'
import type { Projection } from './projection.js'
import type { CheckedQuery } from './query.js'
import type { Slot, Slots } from './slot.js'
import type { TableIndex } from './table-index.js'

/** How the queries of one shape are answered; those of its values that are bound now are in its slots. */
export interface Prepared {
  readonly slots: Slots
  /** The one of them that was prepared. */
  readonly query: CheckedQuery
  /** Null if every row is meant. */
  readonly predicate: Predicate | null
  readonly plan: Plan
  /** Those that the plan looks up: whether they can be spelled depends on the values. */
  readonly keys: readonly (readonly Slot[])[]
  readonly orderBy: CheckedQuery['orderBy']
  /** Null for whole rows. */
  readonly projection: Projection | null
  /** Columns by whose order it goes, and of which a value may show that the order is not known. */
  readonly doubtful: readonly number[]
  /** Those that the plan was chosen among. */
  readonly indexes: readonly TableIndex[]
  /** Whether other values would have been planned for in the same way. */
  readonly isForAll: boolean
}
