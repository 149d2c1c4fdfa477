import type { RowFactory } from '../mapping/values.js'
import type { TableMapping } from '../mapping/mapping.js'
import { NONE } from '../store/address.js'
import { KeyBuffer } from '../store/record.js'
import type { Store } from '../store/store.js'
import type { TableStore } from '../store/table.js'
import type { Finder } from './find.js'
import type { KeyReader } from './key.js'

/** A table of the generation that is visible: replaced as a whole when the cache has loaded anew. */
export interface LiveTable {
  readonly mapping: TableMapping
  readonly keys: KeyReader
  readonly rows: RowFactory
  readonly finder: Finder
  readonly store: Store
  readonly table: TableStore
}

/** One look-up at a time is made, so all share the place where its key is spelled. */
const keyBuffer = new KeyBuffer()

/**
 * The row with this key as of commit `at`, or undefined if there is none.
 *
 * @throws {KeyError} for a key that can't be one. @throws {NotLocalError} for one that only PostgreSQL can compare.
 * @throws whatever the table failed with.
 */
export function lookUp(live: LiveTable, key: unknown, at: number): object | undefined {
  const { table, keys } = live
  if (table.failed !== null) throw table.failed
  const decodedKey = keys.read(key, keyBuffer)
  const decoded = table.get(keyBuffer, decodedKey, at)
  return decoded === undefined ? undefined : hand(live, decoded)
}

/** Whether there is a row with this key as of commit `at`. Throws as `lookUp` does. */
export function exists({ table, keys }: LiveTable, key: unknown, at: number): boolean {
  if (table.failed !== null) throw table.failed
  keys.read(key, keyBuffer)
  const row = table.find(keyBuffer)
  return row >= 0 && table.recordAt(row, at) !== NONE
}

/** What a reader gets for a decoded row: the row itself, or a fresh one if there is anything in it that can be changed. */
export function hand({ rows }: LiveTable, decoded: object): object {
  return rows.shared ? decoded : rows.read(decoded)
}
