import type { TupleView } from '../change/change.js'
import type { RowId } from './address.js'
import type { Chains } from './chains.js'
import type { RecordFormat } from './record.js'

/** Finds a table's rows by the key of a tuple. */
export class KeyFinder {
  readonly #format: RecordFormat
  readonly #chains: Chains
  #key = Buffer.alloc(256)

  constructor(format: RecordFormat, chains: Chains) {
    this.#format = format
    this.#chains = chains
  }

  /** The row with this tuple's key, whose newest version is the chains' `foundHead` then; -1 if there is none, or if the key was not sent. Hot: once per change. */
  find(tuple: TupleView, order: Int32Array): RowId {
    const { keyColumns } = this.#format
    const bytes = this.#format.measure(tuple, order, keyColumns)
    if (bytes < 0) return -1
    if (bytes > this.#key.length) this.#key = Buffer.alloc(bytes * 2)
    this.#format.write(tuple, order, keyColumns, this.#key, 0)
    return this.#chains.find(this.#key, 0, bytes)
  }
}
