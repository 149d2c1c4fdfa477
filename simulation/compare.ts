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

/** Each row is looked up by its key, and shown by an iteration. */
const READS_OF_A_ROW = 2

/** Compares what the model expects with what somebody shows, and counts the rows that were read and were equal. */
export class Comparison {
  #comparisons = 0

  /** How many rows were looked up by key, and how many shown by iteration, in views that were equal in all tables; and how many absent keys were looked up. */
  get comparisons(): number {
    return this.#comparisons
  }

  /** The first difference between `state` and `view`, over all tables and both ways; undefined if they are equal. */
  difference(state: State, view: View, where: string): Difference | undefined {
    for (const [table, rows] of state) {
      const found = tableDifference(table, rows, view(table))
      if (found !== undefined) return { where, table: nameOf(table), ...found }
    }
    this.#count(state)
    return undefined
  }

  /** The index of the first of `states` that `view` is equal to, or -1. What a table shows is read once for each of the tables' states. */
  firstEqual(states: readonly State[], view: View): number {
    const answers = new Map<TableState, boolean>()
    const isShown = (table: SimulatedTable, rows: TableState): boolean => {
      let answer = answers.get(rows)
      if (answer === undefined) {
        answer = tableDifference(table, rows, view(table)) === undefined
        answers.set(rows, answer)
      }
      return answer
    }
    const found = states.findIndex(state => [...state].every(([table, rows]) => isShown(table, rows)))
    if (found !== -1) this.#count(states[found]!)
    return found
  }

  /** The first of these keys, none of which has a row in the model, that `view` has a row for. */
  unexpected(table: SimulatedTable, keys: readonly Row[], view: View, where: string): Difference | undefined {
    const shown = view(table)
    for (const key of keys) {
      const actual = shown.get(key)
      if (actual !== undefined)
        return { where, table: nameOf(table), problem: 'a row that is not there', key, actual }
    }
    this.#comparisons += keys.length
    return undefined
  }

  #count(state: State): void {
    for (const rows of state.values()) this.#comparisons += READS_OF_A_ROW * rows.size
  }
}

const nameOf = (table: SimulatedTable): string => `${table.schema}.${table.name}`

type TableDifference = Omit<Difference, 'where' | 'table'>

function tableDifference(
  table: SimulatedTable,
  rows: TableState,
  shown: TableView,
): TableDifference | undefined {
  if (shown.size !== rows.size) return { problem: 'size', expected: rows.size, actual: shown.size }
  for (const row of rows.values()) {
    const key = keyOf(table, row)
    const found = rowDifference(seenRowOf(table, row), shown.get(key), 'looked up by key')
    if (found !== undefined) return { key, ...found }
  }
  const left = new Map(rows)
  for (const actual of shown.rows()) {
    const key = keyText(table, actual as Row)
    const row = left.get(key)
    if (row === undefined) return { problem: 'iteration shows a row that is not there, or one twice', actual }
    left.delete(key)
    const found = rowDifference(seenRowOf(table, row), actual, 'shown by iteration')
    if (found !== undefined) return { key, ...found }
  }
  for (const key of left.keys()) return { problem: 'iteration leaves out a row', key }
  return undefined
}

function rowDifference(
  expected: Record<string, unknown>,
  actual: unknown,
  how: string,
): TableDifference | undefined {
  if (isDeepStrictEqual(expected, actual)) return undefined
  return { problem: `a row, ${how}`, expected, actual }
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
