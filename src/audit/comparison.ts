import { isDeepStrictEqual } from 'node:util'
import type { PackedRow } from '../store/packed-row.js'
import { NONE, type RowId } from '../store/address.js'
import type { TableStore } from '../store/table.js'
import type { MismatchKind } from './report.js'

/** A key, and the row under which it was found in memory, if it was taken from there. */
export interface SampledKey {
  readonly key: Buffer
  readonly row: RowId | null
}

export interface Mismatch extends SampledKey {
  readonly kind: MismatchKind
}

/** What comparing one key has shown; 'unknown': a bounded table says nothing of it any more. */
export type Verdict = MismatchKind | 'equal' | 'absent' | 'unknown'

/** Whether what readers of the visible state get for this key is `expected`: the row in PostgreSQL, null if it has none. */
export function compareKey(
  table: TableStore,
  { key, row: sampled }: SampledKey,
  expected: PackedRow | null,
  visible: number,
): Verdict {
  const row = table.findBytes(key)
  const record = row < 0 ? NONE : table.recordAt(row, visible)
  if (record === NONE) {
    // A scan meets a row that no look-up finds.
    if (sampled !== null && isThere(table, sampled, key, visible))
      return expected === null ? 'extra' : 'missing'
    if (table.residency?.known(key) === undefined && table.residency !== null) return 'unknown'
    return expected === null ? 'absent' : 'missing'
  }
  if (expected === null) return 'extra'
  if (!table.packed(record).bytes.equals(expected.bytes)) return 'different'
  const decoded = table.decodedOf(record)
  return decoded === undefined || isDeepStrictEqual(decoded, table.decode(record)) ? 'equal' : 'different'
}

function isThere(table: TableStore, row: RowId, key: Buffer, visible: number): boolean {
  if (row >= table.rowEnd || table.recordAt(row, visible) === NONE) return false
  return table.keyAt(row, visible)?.equals(key) ?? false
}
