import { type Address, NONE, type RowId } from './address.js'
import { IdList } from './id-list.js'
import type { MemoryAccount } from './memory.js'

const CHUNK_BITS = 14
const CHUNK_ROWS = 1 << CHUNK_BITS
const CHUNK_MASK = CHUNK_ROWS - 1
const CHUNK_BYTES = CHUNK_ROWS * 4

/** Row ids, and for each the address of its newest version. Ids are stable, so that an index need not follow a row that moves. */
export class RowIds {
  readonly #memory: MemoryAccount
  readonly #heads: Uint32Array[] = []
  readonly #free = new IdList()
  #end = 0

  constructor(memory: MemoryAccount) {
    this.#memory = memory
  }

  /** All ids in use are below this. */
  get end(): RowId {
    return this.#end
  }

  /** @throws {MemoryLimitError} */
  add(): RowId {
    const reused = this.#free.pop()
    if (reused >= 0) return reused
    if (this.#end >>> CHUNK_BITS === this.#heads.length) {
      this.#memory.take(CHUNK_BYTES)
      this.#heads.push(new Uint32Array(CHUNK_ROWS))
    }
    return this.#end++
  }

  release(rowId: RowId): void {
    this.setHead(rowId, NONE)
    this.#free.push(rowId)
  }

  head(rowId: RowId): Address {
    return this.#heads[rowId >>> CHUNK_BITS]![rowId & CHUNK_MASK]!
  }

  setHead(rowId: RowId, address: Address): void {
    this.#heads[rowId >>> CHUNK_BITS]![rowId & CHUNK_MASK] = address
  }

  /** Gives everything back at once. */
  clear(): void {
    this.#memory.give(this.#heads.length * CHUNK_BYTES)
    this.#heads.length = 0
    this.#free.clear()
    this.#end = 0
  }
}
