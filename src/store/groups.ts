import { TEXT, TupleView } from '../change/change.js'
import { type Address, type CommitSeq, NONE, type RowId } from './address.js'
import type { Chains } from './chains.js'
import { GroupCoverage } from './group-coverage.js'
import {
  type GroupIndex,
  groupHashOf,
  groupIdOf,
  groupIndex,
  type GroupValue,
  hasValue,
  IN_GROUP,
  IN_NONE,
  NOT_TOLD,
  placeIn,
} from './group-index.js'
import type { StoredIndex } from './index/stored-index.js'
import type { Readers } from './readers.js'
import type { Bounds } from './recency.js'
import type { RecordFormat } from './record.js'
import type { Installed, PackedRow } from './packed-row.js'
import { TOMBSTONE } from './slab.js'
import type { Truncations } from './truncations.js'

/** Rows of a group that is kept, at most: they are made known in one turn of the event loop. */
const GROUP_ROWS_MAX = 2_000
/** A group takes at most this share of what a table keeps: else it would drive out all others. */
const SHARE = 2

/** What groups need of the residency of their rows. */
export interface GroupsHost {
  install(key: Buffer, row: PackedRow): Installed
  /** The row, which is there, counts as read just now. */
  keep(row: RowId): void
  /** The row is to be forgotten, by its owner's wish. */
  evict(row: RowId): boolean
  /** Whether the row stands among those that were used last. */
  isListed(row: RowId): boolean
  /** The commit from which an unknown key has not been changed, as far as a snapshot may ask. */
  unchangedSince(): CommitSeq
  /** Whether all of the table is known to a reader of state `at`. */
  isComplete(at: CommitSeq): boolean
}

/**
 * Groups of rows that a bounded table has whole: the rows with one value of an index, also if there are none. As long as a group is known, every
 * row that enters it is kept, whether its key was known or not; it is unknown again as soon as one of its rows leaves memory.
 */
export class Groups {
  readonly coverage: GroupCoverage
  readonly indexes: GroupIndex[] = []
  /** A group with more rows is not kept. */
  readonly rowsMax: number
  readonly #bytesMax: number
  readonly #chains: Chains
  readonly #format: RecordFormat
  readonly #readers: Readers
  readonly #truncations: Truncations
  readonly #host: GroupsHost
  readonly #selectOrder: Int32Array
  readonly #view = new TupleView()

  constructor(
    bounds: Bounds,
    parts: { chains: Chains; format: RecordFormat; readers: Readers; truncations: Truncations },
    host: GroupsHost,
  ) {
    this.coverage = new GroupCoverage(bounds, parts.readers)
    this.rowsMax = Math.min(GROUP_ROWS_MAX, Math.ceil((bounds.maxRows ?? Number.POSITIVE_INFINITY) / SHARE))
    this.#bytesMax = (bounds.maxBytes ?? Number.POSITIVE_INFINITY) / SHARE
    this.#chains = parts.chains
    this.#format = parts.format
    this.#readers = parts.readers
    this.#truncations = parts.truncations
    this.#host = host
    this.#selectOrder = parts.format.order(column => column)
  }

  /** Groups are known by the values of these columns, which `stored` has an entry for. Two values are equal exactly if their texts are. */
  add(columns: readonly number[], unique: boolean, stored: StoredIndex): void {
    this.indexes.push(groupIndex(this.indexes.length, columns, unique, stored, this.#format))
  }

  /** Whether all rows of the group are known to a reader of state `at`. */
  covers({ id }: GroupValue, at: CommitSeq): boolean {
    return this.#host.isComplete(at) || this.coverage.covers(id, at)
  }

  /** The group was read as of the visible state. */
  used(value: GroupValue): void {
    let isEmpty = true
    for (const row of this.#rowsOf(value)) {
      isEmpty = false
      this.#host.keep(row)
    }
    this.coverage.used(value.id, isEmpty)
  }

  /** Rows whose newest version, visible, has the value. */
  #rowsOf(value: GroupValue): RowId[] {
    const { stored } = value.index
    const { slab, rows, indexes } = this.#chains
    this.#show(value)
    const key = new Float64Array(stored.key.width)
    stored.key.write(this.#view, key, indexes.seed)
    return stored.rowsOf(key).filter(row => {
      const head = rows.head(row)
      return slab.seq(head) <= this.#readers.visible && this.#isIn(value, head)
    })
  }

  #isIn(value: GroupValue, head: Address): boolean {
    const { slab } = this.#chains
    if (slab.has(head, TOMBSTONE) || this.#truncations.killed(slab.seq(head), this.#readers.visible))
      return false
    this.#format.read(slab.page(head), slab.dataStart(head), this.#view)
    return hasValue(value, this.#view)
  }

  #show({ index, texts }: GroupValue): void {
    const view = this.#view
    view.bytes = Buffer.concat(texts)
    let at = 0
    for (const [part, column] of index.columns.entries()) {
      view.kinds[column] = TEXT
      view.starts[column] = at
      at += texts[part]!.length
      view.ends[column] = at
    }
  }

  /** Whether the row of this tuple, as the transaction in progress writes it, belongs to a group that is known. Hot: once per change to an unknown key. */
  wants(tuple: TupleView, order: Int32Array): boolean {
    if (this.coverage.isEmpty) return false
    for (const index of this.indexes)
      if (
        placeIn(index, tuple, order) === IN_GROUP &&
        this.coverage.mayCover(groupHashOf(index, tuple, order)) &&
        this.coverage.coversPending(groupIdOf(index, tuple, order))
      )
        return true
    return false
  }

  /** The transaction in progress brings a row that can't be kept into its groups. `isNew`: it was nowhere before, so that what was not sent may be any value. */
  lose(tuple: TupleView, order: Int32Array, seq: CommitSeq, isNew: boolean): void {
    for (const index of this.indexes) {
      const place = placeIn(index, tuple, order)
      if (place === IN_GROUP) this.coverage.endPending(groupIdOf(index, tuple, order), seq)
      else if (place === NOT_TOLD && isNew) this.coverage.endAllPending(seq)
    }
  }

  /** The row of this visible version leaves memory, so its groups are not whole any more. */
  left(head: Address): void {
    if (this.coverage.isEmpty) return
    for (const id of this.#idsOf(head)) this.coverage.forget(id)
  }

  #idsOf(head: Address): string[] {
    const { slab } = this.#chains
    this.#format.read(slab.page(head), slab.dataStart(head), this.#view)
    return this.indexes
      .filter(index => placeIn(index, this.#view, this.#selectOrder) !== IN_NONE)
      .map(index => groupIdOf(index, this.#view, this.#selectOrder))
  }

  /** Forgets a group and its rows, by its owner's wish. False if nothing was known of them. */
  evict(value: GroupValue): boolean {
    const rows = this.#rowsOf(value)
    const wasKnown = this.coverage.forget(value.id)
    return rows.filter(row => this.#host.evict(row)).length > 0 || wasKnown
  }

  /** The other rows of the groups that will not be known any more when this row leaves: as far as no other known group has them. */
  companions(head: Address): RowId[] {
    if (this.coverage.isEmpty) return []
    const ending = new Set(this.#idsOf(head).filter(id => this.coverage.coversPending(id)))
    const found: RowId[] = []
    for (const id of ending) {
      const value = this.coverage.valueOf(id)!
      for (const row of this.#rowsOf(value))
        if (found.length < GROUP_ROWS_MAX && this.#host.isListed(row) && !this.#isElsewhere(row, ending))
          found.push(row)
    }
    return found
  }

  #isElsewhere(row: RowId, ending: ReadonlySet<string>): boolean {
    return this.#idsOf(this.#chains.rows.head(row)).some(
      id => !ending.has(id) && this.coverage.coversPending(id),
    )
  }

  /** Makes all rows of a group known, which are these in the visible state. */
  install(value: GroupValue, rows: readonly PackedRow[]): Installed {
    const { visible } = this.#readers
    if (this.#host.isComplete(visible)) return 'known'
    const bytes = rows.reduce((sum, row) => sum + row.bytes.length, 0)
    if (rows.length > this.rowsMax || bytes > this.#bytesMax) return 'bypassed'
    const since = this.coverage.since(this.#host.unchangedSince())
    for (const row of rows) {
      const key = this.#keyOf(row)
      const installed = this.#host.install(key, row)
      if (installed === 'pending' || installed === 'bypassed') return installed
      if (installed === 'known') this.#host.keep(this.#chains.find(key, 0, key.length))
    }
    // The last ones may have driven out the first.
    if (!rows.every(row => this.#isHeld(value, row))) return 'bypassed'
    this.coverage.cover(value, since, rows.length === 0)
    return 'installed'
  }

  #keyOf({ bytes }: PackedRow): Buffer {
    return bytes.subarray(0, this.#format.keyEnd(bytes, 0))
  }

  #isHeld(value: GroupValue, packed: PackedRow): boolean {
    const key = this.#keyOf(packed)
    const row = this.#chains.find(key, 0, key.length)
    if (row < 0) return false
    const head = this.#chains.rows.head(row)
    return head !== NONE && this.#host.isListed(row) && this.#isIn(value, head)
  }
}
