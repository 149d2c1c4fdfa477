import type { TupleView } from '../change/change.js'

/** Which rows of a table are kept, said in SQL and here alike. */
export interface TableFilter {
  /** The condition on the table as `t`, in parentheses, with its values in it. */
  readonly sql: string
  /** Positions in the mapping's columns: those that it looks at. */
  readonly columns: readonly number[]
  /** Whether a row is one of them. Its values are in the mapping's order; only those of `columns` are looked at. */
  readonly matches: (row: TupleView) => boolean
}

/** `condition` on the table as `t`, of the rows that are kept. */
export function amongKept(filter: TableFilter | null, condition: string): string {
  return filter === null ? condition : `(${condition}) AND ${filter.sql}`
}
