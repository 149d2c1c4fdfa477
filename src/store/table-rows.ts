import type { LRUCache } from 'lru-cache'
import { TupleView } from '../change/change.js'
import { type Address, type CommitSeq, NONE, type RowId } from './address.js'
import { Chains } from './chains.js'
import { DecodedRows } from './decoded-rows.js'
import type { TableIndexes } from './index/table-indexes.js'
import type { MemoryAccount } from './memory.js'
import type { PackedRow } from './packed-row.js'
import type { Readers } from './readers.js'
import { type KeyBuffer, RecordFormat } from './record.js'
import type { Residency } from './residency.js'
import { SizeHistory } from './size-history.js'
import { ASCII, TOMBSTONE, UNKNOWN } from './slab.js'
import type { DecodedKey, TableLayout } from './table-layout.js'
import { Truncations } from './truncations.js'

/** One table in memory as its readers see it: packed rows by key, each a chain of versions, of which every reader sees those of one state. */
export abstract class TableRows {
  readonly layout: TableLayout
  readonly format: RecordFormat
  /** Rows decoded lately, by key: only such as are the newest version, with nothing newer on the way. */
  readonly decoded: LRUCache<DecodedKey, object>
  /** Reads by key: of rows that were there, of keys known to be absent, of keys of which nothing was known. */
  readonly reads = { hits: 0, absent: 0, misses: 0 }
  /** What a bounded table knows; null if the table is whole. */
  abstract readonly residency: Residency | null
  protected readonly chains: Chains
  protected readonly decodedRows: DecodedRows
  protected readonly memory: MemoryAccount
  protected readonly readers: Readers
  protected readonly sizes: SizeHistory
  protected readonly truncations = new Truncations()
  readonly #view = new TupleView()

  constructor(layout: TableLayout, memory: MemoryAccount, readers: Readers, hashSeed: number) {
    this.layout = layout
    this.format = new RecordFormat(layout.columns, layout.key)
    this.memory = memory
    this.readers = readers
    this.sizes = new SizeHistory(readers)
    this.chains = new Chains(this.format, memory, readers, hashSeed)
    const { format, chains, truncations } = this
    this.decodedRows = new DecodedRows(layout, { format, chains, truncations }, key => {
      const row = this.find(key)
      if (row >= 0) this.residency!.used(row)
    })
    this.decoded = this.decodedRows.byKey
  }

  /** Bytes that the packed rows and their indexes take. */
  get bytes(): number {
    return this.memory.usedBytes
  }

  /** Row ids are below this. */
  get rowEnd(): RowId {
    return this.chains.rows.end
  }

  /** The secondary indexes. They are added before the first row. */
  get indexes(): TableIndexes {
    return this.chains.indexes
  }

  /** Whether there are no versions but those that a reader of state `at`, the visible one, sees: then each entry of an index is one row of its. */
  isSettledAt(at: CommitSeq): boolean {
    return (
      this.residency === null && at === this.readers.visible && this.chains.slab.records === this.sizes.at(at)
    )
  }

  /** How many rows a reader of state `at` sees. */
  sizeAt(at: CommitSeq): number {
    return this.sizes.at(at)
  }

  /** The row with this key; -1 if there is none in any version. */
  find(key: KeyBuffer): RowId {
    return this.chains.find(key.bytes, 0, key.length)
  }

  /** The same for a key's bytes, as a record begins with them. */
  findBytes(key: Uint8Array): RowId {
    return this.chains.find(key, 0, key.length)
  }

  /** The record of this row that a reader of state `at` sees; NONE if it sees no row. */
  recordAt(row: RowId, at: CommitSeq): Address {
    const record = this.chains.versionAt(this.chains.rows.head(row), at)
    return record !== NONE && this.isAlive(record, at) ? record : NONE
  }

  /** As `recordAt`, of `count` rows at once, left in `into`: they are looked up side by side. Hot: once for some dozens of rows. */
  recordsOf(rows: Uint32Array, count: number, at: CommitSeq, into: Uint32Array): void {
    this.headsOf(rows, count, into, 0)
    for (let i = 0; i < count; i++) {
      const record = this.chains.versionAt(into[i]!, at)
      into[i] = record !== NONE && this.isAlive(record, at) ? record : NONE
    }
  }

  /** The newest versions of `count` rows, left in `into` from `start` on. */
  headsOf(rows: Uint32Array, count: number, into: Uint32Array, start: number): void {
    const ids = this.chains.rows
    for (let i = 0; i < count; i++) into[start + i] = ids.head(rows[i]!)
  }

  /** The rows that `count` records are versions of, left in `into`. The records are fetched side by side, where reading one after the other would wait for each. */
  rowsOf(records: Uint32Array, start: number, count: number, into: Uint32Array): void {
    const { slab } = this.chains
    for (let i = 0; i < count; i++) into[i] = slab.rowId(records[start + i]!)
  }

  /** What this record of `row`, which a reader sees, holds; kept decoded if it is read often. Hot: once for each row of an answer. */
  rowOf(record: Address, row: RowId): object {
    return this.decodedRows.found(record, row)
  }

  /** As `rowOf`, of a record that `view` shows, and that a reader of state `at` sees. */
  rowShown(record: Address, view: TupleView, at: CommitSeq): object {
    return this.decodedRows.shown(record, view, this.isSettledAt(at))
  }

  /**
   * The row with this key that a reader of state `at` sees, decoded; undefined if it sees none. It is kept decoded under `decodedKey` if it is read
   * often, and is what every new reader will see. Hot: once per cold read. Guarded by benchmarks/read.ts.
   */
  get(key: KeyBuffer, decodedKey: DecodedKey, at: CommitSeq): object | undefined {
    const row = this.find(key)
    if (row < 0) return undefined
    const { foundHead } = this.chains
    const record = this.chains.versionAt(foundHead, at)
    if (record === NONE || !this.isAlive(record, at)) return undefined
    if (record !== foundHead) return this.decode(record)
    const kept = this.decodedRows.kept(record, decodedKey)
    if (kept !== undefined) return kept
    this.residency?.used(row)
    return this.decodedRows.keyed(record, row, decodedKey)
  }

  /** The record that a reader of state `at` sees of the row with the key that `record` of `other`, a table of the same shape, has; NONE if it sees none. */
  recordLike(other: TableRows, record: Address, at: CommitSeq): Address {
    const { slab } = other.chains
    const page = slab.page(record)
    const start = slab.dataStart(record)
    const row = this.chains.find(page, start, this.format.keyEnd(page, start))
    return row < 0 ? NONE : this.recordAt(row, at)
  }

  /** Whether a record and one of `other`, a table of the same shape, hold the same texts. */
  isSameRow(record: Address, other: TableRows, otherRecord: Address): boolean {
    const page = this.chains.slab.page(record)
    const start = this.chains.slab.dataStart(record)
    const otherPage = other.chains.slab.page(otherRecord)
    const otherStart = other.chains.slab.dataStart(otherRecord)
    const end = this.format.end(page, start)
    const otherEnd = this.format.end(otherPage, otherStart)
    return page.compare(otherPage, otherStart, otherEnd, start, end) === 0
  }

  protected isAlive(record: Address, at: CommitSeq): boolean {
    const { slab } = this.chains
    return !slab.has(record, TOMBSTONE) && !this.truncations.killed(slab.seq(record), at)
  }

  /** The row that this record holds, made anew. */
  decode(record: Address): object {
    return this.decodedRows.decode(record)
  }

  /** Whether every byte of the record's values is below 0x80. */
  isAscii(record: Address): boolean {
    return this.chains.slab.has(record, ASCII)
  }

  /** Points `view` at the record's values, in SELECT order: good until the next write. Returns whether every byte is below 0x80. */
  point(record: Address, view: TupleView): boolean {
    const { slab } = this.chains
    this.format.read(slab.page(record), slab.dataStart(record), view)
    return slab.has(record, ASCII)
  }

  /** The decoded row that readers get instead of decoding this record; undefined if there is none. */
  decodedOf(record: Address): object | undefined {
    return this.decodedRows.peek(record)
  }

  /** A copy of the key under which a reader of state `at` finds this row or, in a bounded table, its absence; null if there is none. */
  keyAt(row: RowId, at: CommitSeq): Buffer | null {
    const { slab } = this.chains
    const record = this.chains.versionAt(this.chains.rows.head(row), at)
    if (record === NONE || slab.has(record, UNKNOWN)) return null
    if (this.residency === null && !this.isAlive(record, at)) return null
    const page = slab.page(record)
    const start = slab.dataStart(record)
    return Buffer.from(page.subarray(start, this.format.keyEnd(page, start)))
  }

  /** A copy of the record's values, for whoever keeps them longer than the record lives. */
  packed(record: Address): PackedRow {
    const { slab } = this.chains
    const page = slab.page(record)
    const start = slab.dataStart(record)
    return {
      bytes: Buffer.from(page.subarray(start, this.format.end(page, start))),
      ascii: slab.has(record, ASCII),
    }
  }

  /** The row that such a copy holds, as a reader gets it. */
  decodePacked(row: PackedRow): object {
    this.format.read(row.bytes, 0, this.#view)
    return this.layout.read(this.layout.decode(this.#view, row.ascii))
  }
}
