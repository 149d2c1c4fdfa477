import { NotLocalError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import { type KeyText, keyTextOf } from '../sql/key-text.js'
import { type GroupValue, groupValue } from '../store/group-index.js'
import { KeyBuffer } from '../store/record.js'
import type { Residency } from '../store/residency.js'
import type { TableStore } from '../store/table.js'
import type { Knowledge } from './query-types.js'
import type { TableIndex } from './table-index.js'
import { type Condition, EVERY_ROW } from './where.js'

/** Keys, and groups, that one query is confined to, at most. */
const KEYS_MAX = 1_000
const GROUPS_MAX = 100

/** All rows that a condition may hold for: those of some keys, or of some groups. */
export interface Confined {
  readonly keys: readonly Buffer[]
  readonly groups: readonly GroupValue[]
}

/** What a bounded table knows of a query's rows. */
export class Coverage {
  readonly #mapping: TableMapping
  readonly #table: TableStore
  readonly #residency: Residency
  readonly #texts: readonly KeyText[]
  readonly #keyBuffer = new KeyBuffer()

  constructor(mapping: TableMapping, table: TableStore, residency: Residency) {
    this.#mapping = mapping
    this.#table = table
    this.#residency = residency
    this.#texts = mapping.columns.map(keyTextOf)
  }

  /** Groups are known by the values of this index. */
  addGroups({ columns, stored }: TableIndex): void {
    const isUnique = this.#mapping.uniqueKeys.some(
      unique => unique.length === columns.length && unique.every(column => columns.includes(column)),
    )
    this.#residency.groups.add(columns, isUnique, stored)
  }

  /** @throws {NotLocalError} unless all rows that the condition may hold for are known to a reader of state `at`. */
  check(where: Condition, at: number): void {
    if (this.#isAllKnown(where, at)) return
    const confined = this.confine(where)
    if (confined === null) throw onlyAPart(this.#mapping.name)
    const { keys, groups } = this.missing(confined, at)
    if (keys.length > 0 || groups.length > 0) {
      this.#table.reads.misses++
      throw keys.length > 0 ? unknownKey(this.#mapping.name) : unknownValue(this.#mapping.name)
    }
    for (const key of confined.keys) this.#residency.usedKey(key)
    for (const value of confined.groups) this.#residency.groups.used(value)
  }

  /** How many rows a bounded table has is not counted, not even after a TRUNCATE. */
  #isAllKnown(where: Condition, at: number): boolean {
    return where !== EVERY_ROW && this.#residency.isComplete(at)
  }

  /** What the condition demands of a key or an index by equality; null if there is none that can be told apart here. */
  confine(where: Condition): Confined | null {
    const equal = equalitiesOf(where)
    const { key } = this.#mapping
    const keys = this.#combine(key, equal, KEYS_MAX)
    if (keys !== null) return { keys: keys.map(texts => this.#spell(texts)), groups: [] }
    let best: { values: string[][]; index: number } | null = null
    for (const [index, { columns }] of this.#residency.groups.indexes.entries()) {
      const values = this.#combine(columns, equal, GROUPS_MAX)
      if (values !== null && (best === null || values.length < best.values.length)) best = { values, index }
    }
    if (best === null) return null
    const index = this.#residency.groups.indexes[best.index]!
    const groups = best.values.map(texts =>
      groupValue(
        index,
        texts.map(text => Buffer.from(text)),
      ),
    )
    return { keys: [], groups }
  }

  /** Every combination of the texts that these columns may have. */
  #combine(
    columns: readonly number[],
    equal: ReadonlyMap<number, readonly unknown[]>,
    max: number,
  ): string[][] | null {
    let combined: string[][] = [[]]
    for (const column of columns) {
      const texts = equal.get(column)?.map(value => this.#texts[column]!(value))
      if (texts === undefined || texts.length * combined.length > max) return null
      if (!texts.every(text => typeof text === 'string')) return null
      const distinct = [...new Set(texts)]
      combined = combined.flatMap(before => distinct.map(text => [...before, text]))
    }
    return combined
  }

  #spell(texts: readonly string[]): Buffer {
    this.#keyBuffer.clear()
    for (const text of texts) this.#keyBuffer.append(text)
    return Buffer.from(this.#keyBuffer.bytes.subarray(0, this.#keyBuffer.length))
  }

  /** What of it is not known to a reader of state `at`. */
  missing({ keys, groups }: Confined, at: number): Confined {
    return {
      keys: keys.filter(key => this.#residency.stateOf(key, at) === 'unknown'),
      groups: groups.filter(value => !this.#residency.groups.covers(value, at)),
    }
  }

  /** What is known, in one word. */
  knowledge(where: Condition, at: number): Knowledge {
    if (this.#isAllKnown(where, at)) return 'all'
    const confined = this.confine(where)
    if (confined === null) return 'unknown'
    const { keys, groups } = this.missing(confined, at)
    if (keys.length > 0 || groups.length > 0) return 'unknown'
    if (confined.groups.length > 0) return 'group'
    const isPresent = confined.keys.some(key => this.#residency.stateOf(key, at) === 'present')
    return isPresent ? 'present' : 'absent'
  }
}

/** The values that the condition allows each column, as they were given. */
function equalitiesOf(where: Condition): Map<number, readonly unknown[]> {
  const equal = new Map<number, readonly unknown[]>()
  for (const condition of where.kind === 'and' ? where.of : [where]) {
    const isIn = condition.kind === 'in'
    if (!isIn && !(condition.kind === 'compare' && condition.op === '=')) continue
    if (equal.has(condition.column)) continue
    equal.set(condition.column, isIn ? condition.values.map(({ given }) => given) : [condition.value.given])
  }
  return equal
}

/** The error of a question about all rows of a table of which memory holds a part. */
export function onlyAPart(table: string): NotLocalError {
  return new NotLocalError(
    table,
    'table',
    'only a part of it is in memory, so nothing can be said of all of its rows.',
  )
}

export function unknownKey(table: string): NotLocalError {
  return new NotLocalError(
    table,
    'unknown key',
    'only a part of the table is in memory, and nothing is known of this key. Use findUnique, which asks PostgreSQL, or prefetch.',
  )
}

function unknownValue(table: string): NotLocalError {
  return new NotLocalError(
    table,
    'unknown value',
    'only a part of the table is in memory, and it is not known to have all rows with this value. Use the asynchronous reads, which ask PostgreSQL.',
  )
}
