import type { FeedEntry, FeedRow } from '../feed/ring.js'
import type { LiveTable } from '../query/live.js'
import type { TableChange } from '../query/types.js'

/** A feed's entry as a reader of `changes()` gets it, at its commit's token. */
export function toTableChange(
  { record, position: lsn, last }: FeedEntry,
  live: LiveTable,
  position: string,
): TableChange<object> {
  if (record.kind === 'gap') return { kind: 'gap', reason: record.reason, position, lsn }
  if (record.kind === 'truncate') return { kind: 'truncate', position, lsn, last }
  const { old, next } = record
  return {
    kind: old === null ? 'insert' : next === null ? 'delete' : 'update',
    key: keyOf(live, (old ?? next)!),
    old: rowOf(live, old),
    new: rowOf(live, next),
    ...(next !== null && isPartlyTold(next) ? { told: toldOf(live, next) } : {}),
    position,
    lsn,
    last,
  }
}

/** Undefined if not all of it is known. */
function rowOf(live: LiveTable, row: FeedRow | null): object | null | undefined {
  if (row === null) return null
  return isPartlyTold(row) ? undefined : live.table.decodePacked(row)
}

function isPartlyTold({ untold = [] }: FeedRow): boolean {
  return untold.length > 0
}

function keyOf(live: LiveTable, row: FeedRow): object {
  return pick(live, row, live.mapping.key)
}

function toldOf(live: LiveTable, row: FeedRow): object {
  const columns = [...live.mapping.columns.keys()]
  return pick(
    live,
    row,
    columns.filter(column => row.untold?.includes(column) !== true),
  )
}

function pick({ mapping, table }: LiveTable, row: FeedRow, columns: readonly number[]): object {
  const values = table.decodePacked(row) as Readonly<Record<string, unknown>>
  return Object.fromEntries(
    columns.map(column => {
      const { property } = mapping.columns[column]!
      return [property, values[property]]
    }),
  )
}
