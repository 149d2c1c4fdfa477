import { MemoryLimitError } from '../errors.js'
import { type Address, type CommitSeq, NONE, type RowId } from './address.js'
import type { Chains } from './chains.js'
import type { Marks } from './marks.js'
import type { Installed, PackedRow } from './packed-row.js'
import type { Readers } from './readers.js'
import { ASCII, LISTED, TOMBSTONE, UNKNOWN } from './slab.js'
import type { Truncations } from './truncations.js'

/** What the installer needs of the residency that it serves. */
export interface InstallerHost {
  /** A larger row is not kept. */
  readonly rowBytesMax: number
  /** Whether all rows of the table are known to a reader of state `at`. */
  isComplete(at: CommitSeq): boolean
  /** The row is known: it is to stand in the list where it belongs, and may be dropped for want of room. */
  known(row: RowId): void
  /** A row was too large to be kept. */
  bypassed(): void
}

/** Makes known what was read from PostgreSQL, or told of the state before a change: under the number of the state from which it is certain to have been so. */
export class Installer {
  readonly #chains: Chains
  readonly #readers: Readers
  readonly #truncations: Truncations
  readonly #marks: Marks
  readonly #host: InstallerHost

  constructor(
    parts: { chains: Chains; readers: Readers; truncations: Truncations; marks: Marks },
    host: InstallerHost,
  ) {
    this.#chains = parts.chains
    this.#readers = parts.readers
    this.#truncations = parts.truncations
    this.#marks = parts.marks
    this.#host = host
  }

  /** Makes the visible state of a key known, as PostgreSQL has it; `row` null: there is none. */
  install(keyBytes: Buffer, row: PackedRow | null): Installed {
    try {
      return this.#install(keyBytes, row)
    } catch (error) {
      if (!(error instanceof MemoryLimitError)) throw error
      this.#host.bypassed()
      return 'bypassed'
    }
  }

  #install(keyBytes: Buffer, packed: PackedRow | null): Installed {
    const { slab, rows } = this.#chains
    let row = this.#chains.find(keyBytes, 0, keyBytes.length)
    const head = row < 0 ? NONE : this.#chains.foundHead
    if (head !== NONE) {
      const begin = slab.seq(head)
      if (begin > this.#readers.visible) return 'pending'
      if (!slab.has(head, UNKNOWN) || begin < this.#truncations.newest) return 'known'
    } else if (this.#host.isComplete(this.#readers.visible)) return 'known'
    if (packed !== null && packed.bytes.length > this.#host.rowBytesMax) {
      this.#host.bypassed()
      return 'bypassed'
    }
    if (head === NONE) row = this.#add(this.#record(packed, keyBytes, this.#marks.unchangedSince))
    else {
      const record = this.#record(packed, keyBytes, slab.seq(head))
      if (slab.has(head, LISTED)) slab.set(record, LISTED)
      this.#index(row, record)
      this.#chains.find(keyBytes, 0, keyBytes.length)
      this.#chains.push(row, record, slab.older(head))
      slab.free(head)
    }
    this.#host.known(row)
    const settled = rows.head(row)
    return settled === NONE || slab.has(settled, UNKNOWN) ? 'bypassed' : 'installed'
  }

  /** The record, which is none of the row's versions yet, is found by its values. @throws {MemoryLimitError} */
  #index(row: RowId, record: Address): void {
    const { slab, indexes } = this.#chains
    slab.setRowId(record, row)
    try {
      indexes.linked(row, record, NONE)
    } catch (error) {
      this.#chains.free(record)
      throw error
    }
  }

  #record(row: PackedRow | null, keyBytes: Buffer, begin: CommitSeq): Address {
    const { slab } = this.#chains
    const bytes = row === null ? keyBytes : row.bytes
    const record = slab.allocate(bytes.length, 0, begin, row === null ? TOMBSTONE : row.ascii ? ASCII : 0)
    slab.page(record).set(bytes, slab.dataStart(record))
    return record
  }

  /**
   * What the key held before the first change that a snapshot does not see, kept for that snapshot; null: nothing. To be followed by a mark.
   * False if it could not be kept.
   *
   * @throws {MemoryLimitError}
   */
  keepBefore(row: PackedRow | null, keyBytes: Buffer, seq: CommitSeq): boolean {
    // This transaction may have changed the key before, without a mark.
    if (this.#marks.mayLack(seq)) return false
    const begin = this.#marks.unchangedSince
    if (this.#chains.find(keyBytes, 0, keyBytes.length) >= 0 || !this.#readers.pinnedIn(begin, seq))
      return false
    this.#add(this.#record(row, keyBytes, begin))
    return true
  }

  /** A new row for the key that was looked for last. @throws {MemoryLimitError} */
  #add(record: Address): RowId {
    const row = this.#chains.addRow(record)
    try {
      this.#chains.indexes.linked(row, record, NONE)
    } catch (error) {
      this.#chains.removeRow(row)
      throw error
    }
    return row
  }
}
