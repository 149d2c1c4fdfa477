import type { FeedEntry, PackedRow } from '../feed/ring.js'
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
  const old = decode(live, record.old)
  const next = decode(live, record.next)
  return {
    kind: old === null ? 'insert' : next === null ? 'delete' : 'update',
    key: keyOf(live, (old ?? next)!),
    old,
    new: next,
    position,
    lsn,
    last,
  }
}

function decode({ table }: LiveTable, row: PackedRow | null): object | null {
  return row === null ? null : table.decodePacked(row)
}

function keyOf({ mapping: { key, columns } }: LiveTable, row: object): object {
  const values = row as Readonly<Record<string, unknown>>
  return Object.fromEntries(
    key.map(column => {
      const { property } = columns[column]!
      return [property, values[property]]
    }),
  )
}
