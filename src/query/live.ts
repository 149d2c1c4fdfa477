import type { Filler } from '../apply/fill.js'
import type { RowFactory } from '../mapping/values.js'
import type { TableMapping } from '../mapping/mapping.js'
import { NONE } from '../store/address.js'
import { KeyBuffer } from '../store/record.js'
import type { Store } from '../store/store.js'
import type { TableStore } from '../store/table.js'
import { unknownKey } from './coverage.js'
import type { Finder } from './find.js'
import type { KeyReader } from './key.js'
import type { UniqueKey, UniqueKeys } from './unique.js'

/** A table of the generation that is visible: replaced as a whole when the cache has loaded anew. */
export interface LiveTable {
  readonly mapping: TableMapping
  readonly keys: KeyReader
  readonly uniques: UniqueKeys
  readonly rows: RowFactory
  readonly finder: Finder
  readonly store: Store
  readonly table: TableStore
  /** Reads keys of a bounded table that memory does not know; null if the table is whole, or not loaded yet. */
  readonly filler: Filler | null
}

/** One look-up at a time is made, so all share the place where its key is spelled. */
const keyBuffer = new KeyBuffer()

/**
 * The row with this key, primary or unique, as of commit `at`, or undefined if there is none.
 *
 * @throws {KeyError} for a key that can't be one. @throws {NotLocalError} for one that only PostgreSQL can compare.
 * @throws whatever the table failed with.
 */
export function lookUp(live: LiveTable, key: unknown, at: number): object | undefined {
  const { table, keys, uniques } = live
  if (table.failed !== null) throw table.failed
  const unique = uniques.of(key)
  if (unique !== null) return lookUpUnique(live, unique, key as object, at)
  const decodedKey = keys.read(key, keyBuffer)
  const decoded = table.get(keyBuffer, decodedKey, at)
  if (decoded === undefined) {
    refuseUnknown(live, at)
    return undefined
  }
  table.reads.hits++
  return hand(live, decoded)
}

function lookUpUnique(
  { finder, uniques, table }: LiveTable,
  unique: UniqueKey,
  key: object,
  at: number,
): object | undefined {
  const row = finder.findUnique(uniques, unique, key, at)
  // Of a bounded table it was counted where it was found to be known.
  if (table.residency === null) table.reads[row === undefined ? 'absent' : 'hits']++
  return row
}

/** For the key that was looked up last, under which a reader of commit `at` sees no row. @throws {NotLocalError} unless it is known that there is none. */
function refuseUnknown({ table, mapping }: LiveTable, at: number): void {
  if (table.residency === null || table.residency.isAbsent(keyBuffer, at)) {
    table.reads.absent++
    return
  }
  table.reads.misses++
  throw unknownKey(mapping.name)
}

/** The key's bytes, as a record begins with them. @throws {KeyError} @throws {NotLocalError} for one that only PostgreSQL can compare. */
export function keyBytesOf({ keys }: LiveTable, key: unknown): Buffer {
  keys.read(key, keyBuffer)
  return Buffer.from(keyBuffer.bytes.subarray(0, keyBuffer.length))
}

/** Whether there is a row with this key as of commit `at`. Throws as `lookUp` does. */
export function exists(live: LiveTable, key: unknown, at: number): boolean {
  const { table, keys, uniques } = live
  if (table.failed !== null) throw table.failed
  const unique = uniques.of(key)
  if (unique !== null) return lookUpUnique(live, unique, key as object, at) !== undefined
  keys.read(key, keyBuffer)
  const row = table.find(keyBuffer)
  if (row >= 0 && table.recordAt(row, at) !== NONE) {
    table.reads.hits++
    table.residency?.used(row)
    return true
  }
  refuseUnknown(live, at)
  return false
}

/** What a reader gets for a decoded row: the row itself, or a fresh one if there is anything in it that can be changed. */
export function hand({ rows }: LiveTable, decoded: object): object {
  return rows.shared ? decoded : rows.read(decoded)
}
