import { TupleView } from '../change/change.js'
import type { PackedRow } from '../store/packed-row.js'
import type { TableStore } from '../store/table.js'
import { type ColumnTypes, compile, TRUE } from './predicate.js'
import type { Projections } from './projection.js'
import type { CheckedQuery } from './query.js'
import { Sorter } from './sort.js'

const view = new TupleView()

/**
 * The query's answer out of these rows, which are all that its condition may hold for.
 *
 * @throws {NotLocalError} where values only compare in PostgreSQL. @throws {QueryError}
 */
export function choose(
  rows: readonly PackedRow[],
  { where, orderBy, skip, take = Number.POSITIVE_INFINITY, columns }: CheckedQuery,
  { table, types, projections }: { table: TableStore; types: ColumnTypes; projections: Projections },
): object[] {
  types.begin()
  const predicate = compile(where, types)
  const sorter = orderBy.length === 0 ? null : new Sorter(orderBy, types)
  const doubtful = types.doubtful()
  const found: PackedRow[] = []
  for (const row of rows) {
    table.format.read(row.bytes, 0, view)
    if (predicate(view) !== TRUE) continue
    found.push(row)
    sorter?.add(view)
  }
  types.mustBeSound(doubtful)
  const ordered = sorter === null ? found : sorter.order().map(number => found[number]!)
  const answer = ordered.slice(skip, skip + take)
  if (columns === null) return answer.map(row => table.decodePacked(row))
  const projection = projections.of(columns)
  return answer.map(row => {
    table.format.read(row.bytes, 0, view)
    return projection.row(view, row.ascii)
  })
}
