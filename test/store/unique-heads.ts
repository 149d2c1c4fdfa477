import { TEXT, TupleView } from '../../src/change/change.js'
import { hashBytes } from '../../src/sql/hash-bytes.js'
import { NONE } from '../../src/store/address.js'
import { FEW_ROWS_MAX } from '../../src/store/index/hash-entries.js'
import { Batch } from '../../src/store/index/sorted-entries.js'
import type { IndexKey, StoredIndex } from '../../src/store/index/stored-index.js'
import type { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'

const NULL_HASH = 1

/** An index of one column, of which entries have the newest versions of their rows. */
export function uniqueKey(column: number): IndexKey {
  return {
    isHash: true,
    isUnique: true,
    columns: [column],
    width: 1,
    write({ bytes, kinds, starts, ends }, into, seed) {
      into[0] = kinds[column] === TEXT ? hashBytes(bytes, starts[column]!, ends[column]!, seed) : NULL_HASH
    },
  }
}

/** Looks whether the index leads to the newest version of each row, where queries rely on it: in a table without older versions. Returns whether that was so. */
export function expectHeads(store: Store, table: TableStore, index: StoredIndex): boolean {
  if (!table.isSettledAt(store.visible)) return false
  const key = new Float64Array(1)
  const view = new TupleView()
  const batch = new Batch(FEW_ROWS_MAX, 1)
  const heads = new Uint32Array(FEW_ROWS_MAX)
  for (let row = 0; row < table.rowEnd; row++) {
    const record = table.recordAt(row, store.visible)
    if (record === NONE) continue
    table.point(record, view)
    index.key.write(view, key, table.indexes.seed)
    const count = index.hashed!.fewHeads(key[0]!, batch, heads)
    // Rows with the same value, if there are many, have none.
    if (count < 0) continue
    if (heads[batch.rows.subarray(0, count).indexOf(row)] !== record)
      throw new Error(`Row ${row} has a head that is not its newest version.`)
  }
  return true
}
