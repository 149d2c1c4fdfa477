import type { FeedEntry } from '../feed/ring.js'
import type { TableChange } from '../query/types.js'

/** A feed's entry as a reader of `changes()` gets it, at its commit's token. */
export function toTableChange(
  { record, store, position: lsn, last }: FeedEntry,
  position: string,
): TableChange<object> {
  if (record.kind === 'gap') return { kind: 'gap', reason: record.reason, position, lsn }
  if (record.kind === 'truncate') return { kind: 'truncate', position, lsn, last }
  const old = record.old === null ? null : store.decodePacked(record.old)
  const next = record.next === null ? null : store.decodePacked(record.next)
  return {
    kind: old === null ? 'insert' : next === null ? 'delete' : 'update',
    old,
    new: next,
    position,
    lsn,
    last,
  }
}
