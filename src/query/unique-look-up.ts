import { TupleView } from '../change/change.js'
import { type Address, NONE } from '../store/address.js'
import { SEVERAL } from '../store/hash-index.js'
import type { HashEntries } from '../store/index/hash-entries.js'
import type { TableStore } from '../store/table.js'
import { HashRange } from './key-range.js'
import { type Predicate, TRUE } from './predicate.js'
import type { Prepared } from './prepared.js'
import type { Slot } from './slot.js'
import type { TableIndex } from './table-index.js'
import type { UniqueKey } from './unique.js'

/** Stands for no record: it takes another way to find out. */
export const UNDECIDED = -1

interface Parts {
  /** One for each property of the key. */
  readonly slots: readonly Slot[]
  readonly index: TableIndex
  readonly entries: HashEntries
  /** Those of them that the index has, in its columns' order. */
  readonly hashed: readonly (Slot | null)[]
  readonly predicate: Predicate
}

/**
 * The look-up of one row by a unique key, through a hash index whose entries have the rows' newest versions: what is left of a prepared query where
 * nothing but the values of an object can differ.
 */
export class UniqueLookUp {
  /** The row that was found last, in the mapping's order. */
  readonly view = new TupleView()
  readonly #table: TableStore
  readonly #properties: readonly string[]
  readonly #parts: Parts

  private constructor(table: TableStore, { properties }: UniqueKey, parts: Parts) {
    this.#table = table
    this.#properties = properties
    this.#parts = parts
  }

  /** `prepared` numbers the key's values in the key's own order. Null if it goes another way than through such an index. */
  static of(table: TableStore, unique: UniqueKey, prepared: Prepared): UniqueLookUp | null {
    const { plan, predicate, slots, keys, doubtful } = prepared
    if (plan.kind !== 'index' || predicate === null || keys.length > 0 || doubtful.length > 0) return null
    const { index, ranges } = plan
    const [range, ...others] = ranges.list
    const entries = index.stored.hashed
    if (entries === null || !entries.hasHeads || others.length > 0 || !(range instanceof HashRange))
      return null
    const ofProperties = unique.properties.map((_, place) => slots.get(place))
    if (ofProperties.includes(undefined)) return null
    const parts = { index, entries, hashed: range.equal, predicate, slots: ofProperties as Slot[] }
    return new UniqueLookUp(table, unique, parts)
  }

  /**
   * The record that has the values of `key`, which `view` shows then, as of commit `at`; NONE if there is none. UNDECIDED if several may have them, if one
   * of them can't be compared here, and while there are older versions. Hot: once per look-up by a unique key. Guarded by benchmarks/query.ts.
   */
  find(key: object, at: number): Address {
    const { slots, index, entries, hashed, predicate } = this.#parts
    const properties = this.#properties
    for (let i = 0; i < slots.length; i++) {
      const value = (key as Readonly<Record<string, unknown>>)[properties[i]!]
      if (slots[i]!.bind(value) !== null) return UNDECIDED
    }
    if (!this.#table.isSettledAt(at)) return UNDECIDED
    const record = entries.onlyHead(index.hash(hashed))
    if (record === SEVERAL) return UNDECIDED
    if (record === NONE) return NONE
    this.#table.point(record, this.view)
    return predicate(this.view) === TRUE ? record : NONE
  }
}
