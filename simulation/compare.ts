import { isDeepStrictEqual } from 'node:util'
import type { State, TableState } from './model.js'
import { keyOf, keyText, type Row, seenRow, type SimulatedTable } from './tables.js'

/** One table as somebody shows it: rows as `pg` gives them. */
export interface TableView {
  readonly size: number
  /** Undefined if there is no row with this key. */
  get(key: Row): unknown
  rows(): Iterable<unknown>
}

/** All tables as of one commit. */
export type View = (table: SimulatedTable) => TableView

/** Where two representations differ first. */
export interface Difference {
  readonly where: string
  readonly table: string
  readonly problem: string
  readonly key?: unknown
  readonly expected?: unknown
  readonly actual?: unknown
}

/** Compares what the model expects with what somebody shows, and counts how many rows were compared. */
export class Comparison {
  #comparisons = 0

  /** How many rows, lookups and sizes were compared. */
  get comparisons(): number {
    return this.#comparisons
  }

  /** The first difference between `state` and `view`, over all tables and both ways; undefined if they are equal. */
  difference(state: State, view: View, where: string): Difference | undefined {
    for (const [table, rows] of state) {
      const found = this.#tableDifference(table, rows, view(table))
      if (found !== undefined) return { where, table: `${table.schema}.${table.name}`, ...found }
    }
    return undefined
  }

  /** The first of these keys, none of which has a row in `state`, that `view` has a row for. */
  unexpected(table: SimulatedTable, keys: readonly Row[], view: View, where: string): Difference | undefined {
    const shown = view(table)
    for (const key of keys) {
      this.#comparisons++
      const actual = shown.get(key)
      if (actual === undefined) continue
      return {
        where,
        table: `${table.schema}.${table.name}`,
        problem: 'a row that is not there',
        key,
        actual,
      }
    }
    return undefined
  }

  #tableDifference(table: SimulatedTable, rows: TableState, shown: TableView) {
    this.#comparisons++
    if (shown.size !== rows.size) return { problem: 'size', expected: rows.size, actual: shown.size }
    for (const row of rows.values()) {
      const key = keyOf(table, row)
      const found = this.#rowDifference(seenRowOf(table, row), shown.get(key), 'looked up by key')
      if (found !== undefined) return { key, ...found }
    }
    const left = new Map(rows)
    for (const actual of shown.rows()) {
      const key = keyText(table, actual as Row)
      const row = left.get(key)
      if (row === undefined)
        return { problem: 'iteration shows a row that is not there, or one twice', actual }
      left.delete(key)
      const found = this.#rowDifference(seenRowOf(table, row), actual, 'shown by iteration')
      if (found !== undefined) return { key, ...found }
    }
    for (const key of left.keys()) return { problem: 'iteration leaves out a row', key }
    return undefined
  }

  #rowDifference(expected: Record<string, unknown>, actual: unknown, how: string) {
    this.#comparisons++
    if (isDeepStrictEqual(expected, actual)) return undefined
    return { problem: `a row, ${how}`, expected, actual }
  }
}

const seenRows = new WeakMap<Row, Record<string, unknown>>()

/** `seenRow`, made once a row: rows of the model never change. */
function seenRowOf(table: SimulatedTable, row: Row): Record<string, unknown> {
  let seen = seenRows.get(row)
  if (seen === undefined) seenRows.set(row, (seen = seenRow(table, row)))
  return seen
}

/** A view of rows that are already here, such as those of a SELECT. */
export function viewOfRows(rowsOf: (table: SimulatedTable) => readonly Record<string, unknown>[]): View {
  const views = new Map<SimulatedTable, TableView>()
  return table => {
    let view = views.get(table)
    if (view === undefined) {
      const rows = rowsOf(table)
      const byKey = new Map(rows.map(row => [keyText(table, row as Row), row]))
      view = { size: rows.length, get: key => byKey.get(keyText(table, key)), rows: () => rows }
      views.set(table, view)
    }
    return view
  }
}
