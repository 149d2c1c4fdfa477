import { type CommitSeq, NONE } from '../../src/store/address.js'
import type { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { must } from './violation.js'

/** Rows of a table that are looked at again. */
const SAMPLED = 16

interface Seen {
  readonly table: TableStore
  readonly key: Buffer
  /** What a reader of the pinned state sees; null if there is no row. */
  readonly row: Buffer | null
}

/** Some rows as a snapshot sees them when it is opened: that is what it sees until it is released, whatever has been pruned meanwhile. */
export class PinnedSample {
  readonly #seq: CommitSeq
  readonly #seen: Seen[] = []

  constructor({ tables }: Store, seq: CommitSeq) {
    this.#seq = seq
    for (const table of tables) if (table.failed === null) this.#sample(table)
  }

  #sample(table: TableStore): void {
    const stride = Math.max(1, Math.floor(table.rowEnd / SAMPLED))
    for (let row = 0; row < table.rowEnd; row += stride) {
      const key = table.keyAt(row, this.#seq)
      if (key !== null) this.#seen.push({ table, key, row: this.#rowOf(table, key) })
    }
  }

  #rowOf(table: TableStore, key: Buffer): Buffer | null {
    const row = table.findBytes(key)
    const record = row < 0 ? NONE : table.recordAt(row, this.#seq)
    return record === NONE ? null : table.packed(record).bytes
  }

  /**
   * That a key is absent may be forgotten, and then a bounded table is asked; a row that was seen may not.
   *
   * @throws {InvariantError}
   */
  check(): void {
    for (const { table, key, row } of this.#seen) {
      if (table.failed !== null) continue
      const now = this.#rowOf(table, key)
      const isSame = row === null || now === null ? row === now : row.equals(now)
      must(
        isSame,
        'I8',
        () => `${table.layout.name}: what a snapshot of state ${this.#seq} sees has changed.`,
      )
    }
  }
}
