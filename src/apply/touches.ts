import type { TupleView } from '../change/change.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import { hashBytes } from '../sql/hash-bytes.js'
import type { RecordFormat } from '../store/record.js'

/** Changes of which note is taken at most; beyond that every key may have been changed. */
const CHANGES_MAX = 65_536
const SEED = 0x1b87_3593

/**
 * Which keys of a whole table the stream has changed since somebody began to look, and by which transactions: so that it can be told afterwards
 * which of them a query's snapshot did not see. Keys are noted by their hash; one that shares it with a changed key counts as changed.
 */
export class Touches {
  readonly #format: RecordFormat
  /** The transaction that was in progress when this began, whose first changes nobody noted; null if there was none. */
  readonly #begun: number | null
  readonly #hashes: number[] = []
  /** The transaction, as the stream has it, that changed the key at the same place of `#hashes`. */
  readonly #xids: number[] = []
  readonly #emptiedBy: number[] = []
  /** Once it is settled which snapshot is asked about: the keys that it did not see changed. */
  #unseen: Set<number> | null = null
  #all = false
  #key = Buffer.allocUnsafe(256)

  constructor(format: RecordFormat, begun: number | null) {
    this.#format = format
    this.#begun = begun
  }

  /** The transaction has changed the row; `old` holds its key before, if that is another one, `row` the one after. */
  changed(old: TupleView | null, row: TupleView | null, order: Int32Array, xid: number): void {
    if (row !== null) this.#note(row, order, xid)
    if (old !== null) this.#note(old, order, xid)
  }

  /** The transaction has emptied the table. */
  emptied(xid: number): void {
    if (this.#unseen !== null) this.#all = true
    else this.#emptiedBy.push(xid)
  }

  #note(tuple: TupleView, order: Int32Array, xid: number): void {
    const { keyColumns } = this.#format
    const bytes = this.#format.measure(tuple, order, keyColumns)
    // An unchanged TOASTed key is in the old tuple.
    if (bytes < 0 || this.#all) return
    if (bytes > this.#key.length) this.#key = Buffer.allocUnsafe(bytes * 2)
    this.#format.write(tuple, order, keyColumns, this.#key, 0)
    const hash = hashBytes(this.#key, 0, bytes, SEED)
    if (this.#unseen !== null) this.#unseen.add(hash)
    else {
      this.#hashes.push(hash)
      this.#xids.push(xid)
    }
    if (this.#hashes.length + (this.#unseen?.size ?? 0) > CHANGES_MAX) this.#all = true
  }

  /**
   * The question is about this snapshot, at a position that everything that it sees is before: so all that is noted later is not seen by it.
   */
  settle(snapshot: SqlSnapshot): void {
    const sees = (xid: number): boolean => snapshot.sees(snapshot.widen(xid))
    if (this.#begun !== null && !sees(this.#begun)) this.#all = true
    if (!this.#emptiedBy.every(sees)) this.#all = true
    this.#unseen = new Set()
    // The changes of a transaction stand together.
    let asked: number | null = null
    let isSeen = false
    for (let place = 0; place < this.#hashes.length; place++) {
      const xid = this.#xids[place]!
      if (xid !== asked) {
        asked = xid
        isSeen = sees(xid)
      }
      if (!isSeen) this.#unseen.add(this.#hashes[place]!)
    }
    this.#hashes.length = 0
    this.#xids.length = 0
  }

  /** Whether a transaction that the snapshot did not see has changed this key, or may have. */
  mayHave(key: Uint8Array): boolean {
    return this.#all || this.#unseen === null || this.#unseen.has(hashBytes(key, 0, key.length, SEED))
  }
}
