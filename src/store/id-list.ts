import type { RowId } from './address.js'

const FIRST_CAPACITY = 64

/** A growing list of row ids, four bytes each. */
export class IdList {
  #ids = new Uint32Array(FIRST_CAPACITY)
  #length = 0

  get length(): number {
    return this.#length
  }

  push(id: RowId): void {
    if (this.#length === this.#ids.length) {
      const wider = new Uint32Array(this.#length * 2)
      wider.set(this.#ids)
      this.#ids = wider
    }
    this.#ids[this.#length++] = id
  }

  /** The last id, taken off; -1 if the list is empty. */
  pop(): RowId {
    return this.#length === 0 ? -1 : this.#ids[--this.#length]!
  }

  at(index: number): RowId {
    return this.#ids[index]!
  }

  clear(): void {
    this.#length = 0
    if (this.#ids.length > FIRST_CAPACITY) this.#ids = new Uint32Array(FIRST_CAPACITY)
  }
}
