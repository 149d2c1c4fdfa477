import type { TableMapping } from '../mapping/mapping.js'
import type { Explanation } from './query-types.js'
import type { Plan } from './plan.js'

/** A plan, as `explain` shows it. */
export function describePlan(
  plan: Plan,
  { columns }: TableMapping,
): Pick<Explanation, 'plan' | 'index' | 'union'> {
  const indexOf = (each: Plan): string[] | null =>
    each.kind === 'index' ? each.index.columns.map(column => columns[column]!.property) : null
  if (plan.kind === 'union') {
    const union = plan.of.map(each => ({
      plan: each.kind === 'key' ? ('key' as const) : ('index' as const),
      index: indexOf(each),
    }))
    return { plan: 'union', index: null, union }
  }
  const isWalked = plan.kind === 'index' && plan.walk !== null
  return { plan: isWalked ? 'ordered index' : plan.kind, index: indexOf(plan), union: null }
}
