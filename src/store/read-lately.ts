import type { RowId } from './address.js'

/**
 * Which rows were read lately, roughly: one that is read once in a long while is not worth keeping decoded, where it would drive out others. Each
 * row has one of `places` places, and holds it until another one with the same place is read.
 */
export class ReadLately {
  readonly #places: number
  /** Row id + 1 by place; made at the first read. */
  #rows: Uint32Array | null = null

  constructor(places: number) {
    this.#places = places
  }

  /** Whether the row was read lately, before this. Hot: once per cold read. */
  seen(row: RowId): boolean {
    this.#rows ??= new Uint32Array(this.#places)
    const place = row % this.#places
    if (this.#rows[place] === row + 1) return true
    this.#rows[place] = row + 1
    return false
  }
}
