import type { TableStore } from '../store/table.js'
import type { Mismatch } from './comparison.js'

/**
 * Makes a bounded table forget what it says of these keys, which were found to be wrong: they are read from PostgreSQL when they are asked for.
 * False if some of it can't be forgotten now, as what a snapshot still sees.
 */
export function forgetKeys(table: TableStore, mismatches: readonly Mismatch[]): boolean {
  const { residency } = table
  if (residency === null) return false
  for (const { key, row } of mismatches) {
    // The index by which keys are found has lost the row.
    if (row !== null && table.findBytes(key) !== row) return false
    residency.evict(key)
    // It may be held to be absent because everything is known that there is.
    if (residency.known(key) !== undefined) residency.incomplete()
    if (residency.known(key) !== undefined) return false
  }
  return true
}
