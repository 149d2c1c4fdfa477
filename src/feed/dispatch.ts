import type { RecordFormat } from '../store/record.js'
import { textIn } from './filter.js'
import type { FeedRecord, FeedRow } from './ring.js'

/** A reader that waits to be told. */
export interface Offered {
  /** Entry `number` may concern it. */
  offer(number: number): void
}

/** Finds the readers that a change may concern by a value of the row: a thousand that each want another one cost a change one look-up. */
export class Dispatch {
  /** By column, then by text. */
  readonly #columns = new Map<number, Map<string, Set<Offered>>>()

  get isEmpty(): boolean {
    return this.#columns.size === 0
  }

  add(reader: Offered, column: number, texts: readonly string[]): void {
    const byText = this.#columns.get(column) ?? new Map<string, Set<Offered>>()
    this.#columns.set(column, byText)
    for (const text of texts) {
      const there = byText.get(text)
      if (there === undefined) byText.set(text, new Set([reader]))
      else there.add(reader)
    }
  }

  remove(reader: Offered, column: number, texts: readonly string[]): void {
    const byText = this.#columns.get(column)
    if (byText === undefined) return
    for (const text of texts) {
      const there = byText.get(text)
      if (there?.delete(reader) === true && there.size === 0) byText.delete(text)
    }
    if (byText.size === 0) this.#columns.delete(column)
  }

  /** Tells whoever may want it that entry `number` is there. */
  offer(record: FeedRecord & { readonly kind: 'write' }, number: number, format: RecordFormat): void {
    for (const [column, byText] of this.#columns) {
      if (record.old !== null) offerRow(record.old, number, column, byText, format)
      if (record.next !== null) offerRow(record.next, number, column, byText, format)
    }
  }
}

function offerRow(
  row: FeedRow,
  number: number,
  column: number,
  byText: ReadonlyMap<string, ReadonlySet<Offered>>,
  format: RecordFormat,
): void {
  if (row.untold?.includes(column) === true) {
    // It may be any value.
    for (const readers of byText.values()) for (const reader of readers) reader.offer(number)
    return
  }
  const text = textIn(row, column, format)
  const there = text === null ? undefined : byText.get(text)
  if (there !== undefined) for (const reader of there) reader.offer(number)
}
