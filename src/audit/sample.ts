import type { AppliedTable } from '../apply/binding.js'
import type { QueryConnection } from '../runtime.js'
import type { Store } from '../store/store.js'
import type { SampledKey } from './comparison.js'

/** Row ids that are tried for each key that is wanted: some have no row. */
const TRIES = 4

/** Of a partitioned table, the largest of its partitions. */
const BLOCKS_SQL = `
  SELECT greatest(pg_catalog.pg_relation_size($1::oid::regclass), max(pg_catalog.pg_relation_size(relid)))
         / pg_catalog.current_setting('block_size')::int AS blocks
    FROM pg_catalog.pg_partition_tree($1::oid::regclass)`

/** How many blocks the table's file has now. */
export async function blocksOf(session: QueryConnection, { mapping }: AppliedTable): Promise<number> {
  const [row] = await session.query(BLOCKS_SQL, [String(mapping.oid)])
  return Number(row?.['blocks'] ?? 0)
}

/** Some keys of rows in memory, and of a bounded table's absences, by chance; fewer where many row ids are unused. */
export function sampleKeys(
  { table }: AppliedTable,
  { visible }: Store,
  count: number,
  random: () => number,
): SampledKey[] {
  const { rowEnd } = table
  const keys = new Map<number, SampledKey>()
  for (let left = rowEnd === 0 ? 0 : count * TRIES; left > 0 && keys.size < count; left--) {
    const row = Math.floor(random() * rowEnd)
    const key = table.keyAt(row, visible)
    if (key !== null) keys.set(row, { key, row })
  }
  return [...keys.values()]
}
