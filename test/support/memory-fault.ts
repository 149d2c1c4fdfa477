/** What no commit does to a cache's memory: for tests of what finds it. */
import { TupleView } from '../../src/change/change.js'
import type { Cache, TableDeclaration } from '../../src/index.js'
import type { LiveTable } from '../../src/query/live.js'
import type { CacheTable } from '../../src/query/table.js'

/** The table as its readers hold it. */
export function liveOf<Row extends object>(cache: Cache, table: TableDeclaration<Row>): LiveTable {
  return (cache.table(table) as unknown as CacheTable<object>).live
}

/** Replaces a value by one of the same length, in the memory of the first row that has it; the decoded rows and the indexes keep what they have. */
export function alterInMemory<Row extends object>(
  cache: Cache,
  declaration: TableDeclaration<Row>,
  column: number,
  text: string,
  other: string,
): void {
  const { table, store } = liveOf(cache, declaration)
  const view = new TupleView()
  for (let row = 0; row < table.rowEnd; row++) {
    const record = table.recordAt(row, store.visible)
    if (record === 0) continue
    table.point(record, view)
    const value = view.bytes.subarray(view.starts[column], view.ends[column])
    if (Buffer.from(value).toString() !== text) continue
    value.set(Buffer.from(other))
    return
  }
  throw new Error(`No row has ${text} in column ${column}.`)
}
