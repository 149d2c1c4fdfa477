import type { Plan } from './plan.js'
import type { Predicate } from './predicate.js'
import type { Projection } from './projection.js'
import type { CheckedQuery } from './query.js'
import type { Slots } from './slot.js'

/** How the queries of one shape are answered; those of its values that are bound now are in its slots. */
export interface Prepared {
  readonly slots: Slots
  /** Null if every row is meant. */
  readonly predicate: Predicate | null
  readonly plan: Plan
  readonly orderBy: CheckedQuery['orderBy']
  /** Null for whole rows. */
  readonly projection: Projection | null
  /** Columns by whose order it goes, and of which a value may show that the order is not known. */
  readonly doubtful: readonly number[]
  /** Whether other values would have been planned for in the same way. */
  readonly isForAll: boolean
}
