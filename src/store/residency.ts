import type { TupleView } from '../change/change.js'
import { MemoryLimitError } from '../errors.js'
import { type EvictEvent, evictChannel } from '../observe.js'
import { type Address, type CommitSeq, NONE, type RowId } from './address.js'
import type { Chains } from './chains.js'
import { Groups } from './groups.js'
import { Installer } from './installer.js'
import { Marks } from './marks.js'
import type { KeyFinder } from './key-finder.js'
import type { PackedRow } from './packed-row.js'
import type { Readers } from './readers.js'
import { type Bounds, type Left, Recency } from './recency.js'
import type { KeyBuffer, RecordFormat } from './record.js'
import { noCounts } from './residency-counts.js'
import { ASCII, TOMBSTONE, UNKNOWN } from './slab.js'
import type { Truncations } from './truncations.js'

/** What the residency needs of the table around it. */
export interface ResidencyHost {
  /** Whether the row of this record was read lately through the decoded rows, where reads leave no other trace. */
  isDecoded(head: Address): boolean
  dropDecoded(head: Address): void
  /** A snapshot still sees the row: it is to be looked at again when one is released. */
  pin(row: RowId): void
}

/** Old versions and evicted rows that snapshots hold, in all, before the oldest of them has to go. */
const RESIDUE_BYTES_MAX = 64 * 2 ** 20
/** So many rows in turn that were read lately are passed over when one has to leave. */
const SECOND_CHANCES = 16

/**
 * What a bounded table knows: of which keys it has the row, of which it knows that there is none. Of all others it knows nothing.
 *
 * Known is a key that has a chain: its version says what a reader sees, a tombstone that there is no row, a tombstone marked UNKNOWN that
 * from there on nothing is known. So coverage is versioned and taken back as rows are. A change to a key without a chain is not applied; while
 * a snapshot is open it leaves a mark, so that what is read from PostgreSQL later is known to have held at the snapshot's commit too.
 */
export class Residency {
  readonly counts = noCounts()
  readonly marks: Marks
  readonly installer: Installer
  /** Groups of rows that are known whole. */
  readonly groups: Groups
  readonly #name: string
  readonly #chains: Chains
  readonly #keys: KeyFinder
  readonly #format: RecordFormat
  readonly #readers: Readers
  readonly #truncations: Truncations
  readonly #host: ResidencyHost
  readonly #recency: Recency
  /** Rows that have left, but that a snapshot still sees. They are kept true as any other until it is released. */
  readonly #residue = new Set<RowId>()
  readonly #residueBytesMax: number
  /** From this commit on all rows of the table are known: a TRUNCATE empties it, and nothing has left since. */
  #completeFrom: CommitSeq = Number.POSITIVE_INFINITY
  /** A TRUNCATE of the transaction in progress. */
  #completePending: CommitSeq = Number.POSITIVE_INFINITY
  #chances = 0

  constructor(
    bounds: Bounds,
    parts: {
      name: string
      chains: Chains
      keys: KeyFinder
      format: RecordFormat
      readers: Readers
      truncations: Truncations
    },
    host: ResidencyHost,
  ) {
    this.#name = parts.name
    this.#chains = parts.chains
    this.#keys = parts.keys
    this.#format = parts.format
    this.#readers = parts.readers
    this.#truncations = parts.truncations
    this.#host = host
    this.marks = new Marks(parts.readers, parts.truncations)
    this.#recency = new Recency(bounds, (row, why) => this.#leave(row, why))
    this.installer = new Installer(
      { ...parts, marks: this.marks },
      {
        rowBytesMax: this.#recency.rowBytesMax,
        isComplete: at => this.isComplete(at),
        known: row => {
          // It may have left before nothing was known of it any more.
          this.#residue.delete(row)
          this.settle(row)
        },
        bypassed: () => void this.counts.bypassed++,
      },
    )
    this.groups = new Groups(bounds, parts, {
      install: (key, row) => this.installer.install(key, row),
      keep: row => this.#keep(row),
      evict: row => this.#evictRow(row),
      isListed: row => this.#recency.isPresent(row),
      unchangedSince: () => this.marks.unchangedSince,
      isComplete: at => this.isComplete(at),
    })
    this.#residueBytesMax = Math.min(RESIDUE_BYTES_MAX, bounds.maxBytes ?? RESIDUE_BYTES_MAX)
  }

  get presentRows(): number {
    return this.#recency.presentRows
  }

  get absentKeys(): number {
    return this.#recency.absentKeys
  }

  /** Bytes of what is held for snapshots only: old versions, marks, and rows that have left. */
  get residueBytes(): number {
    return this.#chains.slab.liveBytes - this.#recency.recordBytes
  }

  /** Whether snapshots hold more than is allowed. */
  get overfull(): boolean {
    return this.#readers.pins > 0 && this.residueBytes > this.#residueBytesMax
  }

  /** Whether it is known what the transaction in progress would find under this tuple's key. Hot: once per change. */
  covers(tuple: TupleView, order: Int32Array): boolean {
    const row = this.#keys.find(tuple, order)
    if (row < 0)
      return (
        this.#completeFrom !== Number.POSITIVE_INFINITY || this.#completePending !== Number.POSITIVE_INFINITY
      )
    const { slab, foundHead } = this.#chains
    return !slab.has(foundHead, UNKNOWN) || slab.seq(foundHead) < this.#truncations.newest
  }

  /** Whether all rows of the table are known to a reader of state `at`. */
  isComplete(at: CommitSeq): boolean {
    return at >= this.#completeFrom
  }

  /** What a reader of state `at` may know of this key. */
  stateOf(keyBytes: Uint8Array, at: CommitSeq): 'present' | 'absent' | 'unknown' {
    const row = this.#chains.find(keyBytes, 0, keyBytes.length)
    const { slab, foundHead } = this.#chains
    const record = row < 0 ? NONE : this.#chains.versionAt(foundHead, at)
    if (record === NONE) return this.isComplete(at) ? 'absent' : 'unknown'
    if (this.#truncations.killed(slab.seq(record), at)) return 'absent'
    if (slab.has(record, UNKNOWN)) return 'unknown'
    return slab.has(record, TOMBSTONE) ? 'absent' : 'present'
  }

  /** The key was read. */
  usedKey(keyBytes: Uint8Array): void {
    const row = this.#chains.find(keyBytes, 0, keyBytes.length)
    if (row < 0) return
    this.used(row)
    this.#recency.usedAbsent(row)
  }

  /** Whether it is known that a reader of state `at` sees no row with this key; asked when it was found to see none. */
  isAbsent(key: KeyBuffer, at: CommitSeq): boolean {
    const row = this.#chains.find(key.bytes, 0, key.length)
    if (row >= 0) {
      const { slab } = this.#chains
      const record = this.#chains.versionAt(this.#chains.foundHead, at)
      if (record !== NONE) {
        this.#recency.usedAbsent(row)
        return !slab.has(record, UNKNOWN) || this.#truncations.killed(slab.seq(record), at)
      }
    }
    return at >= this.#completeFrom
  }

  /** The row was read. */
  used(row: RowId): void {
    if (this.#recency.usedPresent(row) || !this.#residue.delete(row)) return
    this.settle(row)
  }

  /** The row, which is there, counts as read just now. */
  #keep(row: RowId): void {
    if (this.#recency.usedPresent(row)) return
    this.#residue.delete(row)
    this.settle(row)
  }

  /** Whether a change of commit `seq` to an unknown key has to leave a mark. */
  wantsMark(seq: CommitSeq): boolean {
    if (this.#readers.pins === 0) return false
    if (!this.overfull) return true
    this.marks.missing(seq)
    return false
  }

  /** The commit from which the visible state of a key of which nothing is known is certain to have been the same. */
  sameSince(keyBytes: Buffer): CommitSeq {
    const row = this.#chains.find(keyBytes, 0, keyBytes.length)
    if (row < 0) return this.marks.unchangedSince
    // A TRUNCATE leaves no version of its own.
    const emptied = this.#truncations.newestDue(this.#readers.visible)
    return Math.max(this.#chains.slab.seq(this.#chains.foundHead), emptied)
  }

  /** The visible row of a known key; null if it is known that there is none, undefined if nothing is known. */
  known(keyBytes: Buffer): PackedRow | null | undefined {
    const row = this.#chains.find(keyBytes, 0, keyBytes.length)
    const { slab, foundHead } = this.#chains
    const { visible } = this.#readers
    const record = row < 0 ? NONE : this.#chains.versionAt(foundHead, visible)
    if (record === NONE) return visible >= this.#completeFrom ? null : undefined
    if (this.#truncations.killed(slab.seq(record), visible)) return null
    if (slab.has(record, TOMBSTONE)) return slab.has(record, UNKNOWN) ? undefined : null
    const page = slab.page(record)
    const start = slab.dataStart(record)
    const bytes = Buffer.from(page.subarray(start, this.#format.end(page, start)))
    return { bytes, ascii: slab.has(record, ASCII) }
  }

  /** Sees to it that the row stands in the list where its visible state belongs. Called for each row that was written, and may drop it. */
  settle(row: RowId): void {
    const { slab, rows } = this.#chains
    const head = rows.head(row)
    if (head === NONE || slab.seq(head) > this.#readers.visible) return
    if (slab.has(head, UNKNOWN)) {
      this.#recency.forget(row)
      return
    }
    if (this.#residue.has(row)) {
      this.#uncover(row)
      return
    }
    const isKilled = slab.seq(head) < this.#truncations.newestDue(this.#readers.visible)
    if (isKilled) this.#recency.forget(row)
    else if (!slab.has(head, TOMBSTONE)) this.#settlePresent(row, head)
    else if (this.#readers.visible >= this.#completeFrom && this.#readers.pins === 0)
      this.#chains.removeRow(row)
    else if (!this.#recency.setAbsent(row, slab.size(head))) this.#uncover(row)
  }

  #settlePresent(row: RowId, head: Address): void {
    const bytes = this.#chains.slab.size(head)
    if (bytes <= this.#recency.rowBytesMax) {
      this.#chances = SECOND_CHANCES
      this.#recency.setPresent(row, bytes)
      return
    }
    this.counts.uncovered++
    this.#recency.forget(row)
    this.#uncover(row)
  }

  /** Whether anybody but readers of the newest state sees a version of the row. */
  #isPinned(row: RowId): boolean {
    const { slab, rows } = this.#chains
    let oldest = rows.head(row)
    for (let older = slab.older(oldest); older !== NONE; older = slab.older(older)) oldest = older
    return this.#readers.pinnedIn(slab.seq(oldest), Number.POSITIVE_INFINITY)
  }

  /** There is no room for the row any more. */
  #leave(row: RowId, why: Left): void {
    const { slab, rows } = this.#chains
    const head = rows.head(row)
    if (head === NONE) return
    if (why !== 'absent' && this.#chances > 0 && this.#host.isDecoded(head)) {
      this.#chances--
      this.#recency.keep(row, slab.size(head))
      return
    }
    if (why === 'rows') this.counts.evictedForRows++
    else if (why === 'bytes') this.counts.evictedForBytes++
    else this.counts.evictedAbsent++
    this.#tell(why)
    const isVisible = slab.seq(head) <= this.#readers.visible
    const companions = isVisible && why !== 'absent' ? this.groups.companions(head) : []
    this.#uncover(row)
    for (const companion of companions) this.#leaveWith(companion)
  }

  /** One of the row's group has left: it goes with it, unless it is read by itself. */
  #leaveWith(row: RowId): void {
    const head = this.#chains.rows.head(row)
    if (head === NONE || !this.#recency.isPresent(row) || this.#host.isDecoded(head)) return
    this.counts.evictedWithGroup++
    this.#tell('group')
    this.#recency.forget(row)
    this.#uncover(row)
  }

  /** Forgets what is known of this key, by its owner's wish. False if nothing was, or if the transaction in progress has written it. */
  evict(keyBytes: Uint8Array): boolean {
    const row = this.#chains.find(keyBytes, 0, keyBytes.length)
    return row >= 0 && this.#evictRow(row)
  }

  #evictRow(row: RowId): boolean {
    const { slab, rows } = this.#chains
    if (slab.seq(rows.head(row)) > this.#readers.visible) return false
    this.#recency.forget(row)
    this.#uncover(row)
    this.counts.evictedByCall++
    this.#tell('call')
    return true
  }

  #tell(cause: EvictEvent['cause']): void {
    if (evictChannel.hasSubscribers) evictChannel.publish({ table: this.#name, cause } satisfies EvictEvent)
  }

  /** The row is in no list any more: it goes, unless a snapshot sees it, or the transaction in progress has written it, which settles it again. */
  #uncover(row: RowId): void {
    const { slab, rows } = this.#chains
    const head = rows.head(row)
    if (slab.seq(head) > this.#readers.visible) return
    if (!slab.has(head, TOMBSTONE)) this.groups.left(head)
    if (this.#isPinned(row)) {
      this.#residue.add(row)
      this.#host.pin(row)
      return
    }
    if (!slab.has(head, TOMBSTONE)) this.incomplete()
    this.#host.dropDecoded(head)
    if (this.#readers.pins > 0 && this.#leaveMark(row, head)) return
    this.#chains.removeRow(row)
  }

  /** All snapshots are older than the row's versions: a mark stays, which says so. */
  #leaveMark(row: RowId, head: Address): boolean {
    const { slab } = this.#chains
    const keyBytes = this.#keyOf(head)
    const begin = slab.seq(head)
    let mark: Address
    try {
      mark = slab.allocate(keyBytes.length, 0, begin, TOMBSTONE | UNKNOWN)
    } catch (error) {
      if (!(error instanceof MemoryLimitError)) throw error
      this.marks.missing(begin)
      return false
    }
    this.incomplete()
    slab.page(mark).set(keyBytes, slab.dataStart(mark))
    this.#chains.find(keyBytes, 0, keyBytes.length)
    this.#chains.push(row, mark, NONE)
    for (let record = head; record !== NONE; ) {
      const older = slab.older(record)
      this.#chains.free(record)
      record = older
    }
    this.#host.pin(row)
    return true
  }

  #keyOf(record: Address): Buffer {
    const { slab } = this.#chains
    const page = slab.page(record)
    const start = slab.dataStart(record)
    return Buffer.from(page.subarray(start, this.#format.keyEnd(page, start)))
  }

  /** There is a key of which nothing is known. */
  incomplete(): void {
    this.#completeFrom = Number.POSITIVE_INFINITY
  }

  /** The row's chain is gone. */
  removed(row: RowId): void {
    this.#recency.forget(row)
    this.#residue.delete(row)
  }

  /** The transaction in progress empties the table: all of it is known from then on. */
  truncate(seq: CommitSeq): void {
    this.#completePending = seq
  }

  publish(seq: CommitSeq): void {
    this.groups.coverage.publish()
    if (this.#completePending !== seq) return
    if (this.#completeFrom === Number.POSITIVE_INFINITY) this.#completeFrom = seq
    this.#completePending = Number.POSITIVE_INFINITY
  }

  aborted(): void {
    this.groups.coverage.aborted()
    this.#completePending = Number.POSITIVE_INFINITY
  }

  /** A snapshot was released. */
  released(): void {
    this.groups.coverage.released()
  }

  clear(): void {
    this.groups.coverage.clear()
    this.#recency.clear()
    this.#residue.clear()
  }
}
