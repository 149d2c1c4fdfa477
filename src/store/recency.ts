import { LRUCache } from 'lru-cache'
import type { RowId } from './address.js'

/** How much of a table is kept: at least one of the two. */
export interface Bounds {
  readonly maxRows: number | null
  readonly maxBytes: number | null
}

/** What a key costs besides its record: its places in the key index, among the row ids, and in the lru-cache. An estimate. */
const ENTRY_BYTES = 96
/** Keys that are known to be absent, at most: they are counted apart, so that no amount of them drives a row out. */
const ABSENT_MAX = 65_536
const ABSENT_BYTES_MAX = 16 * 2 ** 20
/** Absent keys take at most this share of a table's bytes, and a row that is larger than this share is not kept. */
const SHARE = 8

export type Left = 'rows' | 'bytes' | 'absent'

/** Which keys of a bounded table were used last: rows that are there, and keys that are known to be absent. */
export class Recency {
  readonly #present: LRUCache<RowId, number>
  readonly #absent: LRUCache<RowId, number>
  readonly #maxRows: number
  /** A row whose record is larger would drive out too many others. */
  readonly rowBytesMax: number

  /** `onLeft` is called for the least recently used key whenever there is no room for all. */
  constructor({ maxRows, maxBytes }: Bounds, onLeft: (row: RowId, why: Left) => void) {
    const sized = { sizeCalculation: (bytes: number): number => bytes + ENTRY_BYTES }
    this.#maxRows = maxRows ?? Number.POSITIVE_INFINITY
    this.rowBytesMax = maxBytes === null ? Number.POSITIVE_INFINITY : Math.floor(maxBytes / SHARE)
    this.#present = new LRUCache<RowId, number>({
      ...sized,
      ...(maxRows === null ? {} : { max: maxRows }),
      maxSize: maxBytes ?? Number.MAX_SAFE_INTEGER,
      disposeAfter: (_, row, reason) => {
        if (reason === 'evict') onLeft(row, this.#present.size >= this.#maxRows ? 'rows' : 'bytes')
      },
    })
    this.#absent = new LRUCache<RowId, number>({
      ...sized,
      max: Math.min(ABSENT_MAX, maxRows ?? ABSENT_MAX),
      maxSize: maxBytes === null ? ABSENT_BYTES_MAX : Math.max(ENTRY_BYTES, Math.floor(maxBytes / SHARE)),
      disposeAfter: (_, row, reason) => {
        if (reason === 'evict') onLeft(row, 'absent')
      },
    })
  }

  get presentRows(): number {
    return this.#present.size
  }

  get absentKeys(): number {
    return this.#absent.size
  }

  /** Bytes of the records of all keys that are in either list. */
  get recordBytes(): number {
    const entries = this.#present.size + this.#absent.size
    return this.#present.calculatedSize + this.#absent.calculatedSize - entries * ENTRY_BYTES
  }

  /** Takes note that the row was read; false if it is in no list. */
  usedPresent(row: RowId): boolean {
    return this.#present.get(row) !== undefined
  }

  isPresent(row: RowId): boolean {
    return this.#present.has(row)
  }

  usedAbsent(row: RowId): void {
    this.#absent.get(row)
  }

  /** The row is there, with a record of so many bytes. A row that keeps its size keeps its place: being written is not being read. */
  setPresent(row: RowId, bytes: number): void {
    this.#absent.delete(row)
    if (this.#present.peek(row) !== bytes) this.#present.set(row, bytes)
  }

  /** The key is known to be absent. False if it is too long to be kept. */
  setAbsent(row: RowId, bytes: number): boolean {
    this.#present.delete(row)
    if (this.#absent.peek(row) !== bytes) this.#absent.set(row, bytes)
    return this.#absent.has(row)
  }

  /** As if it had been read just now, though it was the one to leave. */
  keep(row: RowId, bytes: number): void {
    this.#present.set(row, bytes)
  }

  /** Nothing is known of the row any more. */
  forget(row: RowId): void {
    this.#present.delete(row)
    this.#absent.delete(row)
  }

  clear(): void {
    this.#present.clear()
    this.#absent.clear()
  }
}
