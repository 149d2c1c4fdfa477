import type { Operation, RowOperation } from './operation.js'
import { keyText, type Row, type SimulatedTable } from './tables.js'

/** A table's rows by `keyText`. */
export type TableState = ReadonlyMap<string, Row>
/** What the database holds after one commit. */
export type State = ReadonlyMap<SimulatedTable, TableState>

/** What one transaction has done to one table so far. */
interface Overlay {
  readonly truncated: boolean
  /** Null: deleted here. */
  readonly rows: ReadonlyMap<string, Row | null>
}

interface OpenTransaction {
  overlays: ReadonlyMap<SimulatedTable, Overlay>
  changes: number
  savepoints: { name: string; overlays: ReadonlyMap<SimulatedTable, Overlay>; changes: number }[]
}

/**
 * The database as it should be: committed rows, and above them what each open transaction sees. It knows nothing of
 * SQL or of the cache. All maps are replaced, never changed, so a state once handed out stays as it is.
 */
export class Model {
  #state: State
  readonly #open = new Map<number, OpenTransaction>()
  #transactions = 0
  #changes = 0

  constructor(tables: readonly SimulatedTable[]) {
    this.#state = new Map(tables.map(table => [table, new Map()]))
  }

  /** The state after the newest commit. */
  get committed(): State {
    return this.#state
  }

  /** How many transactions have committed. */
  get transactions(): number {
    return this.#transactions
  }

  /** How many rows they inserted, updated and deleted; a TRUNCATE counts as one for each table. */
  get changes(): number {
    return this.#changes
  }

  /** The rows that a writer sees: the committed ones, and its own. */
  rows(writer: number, table: SimulatedTable): Row[] {
    const overlay = this.#open.get(writer)?.overlays.get(table)
    return [...above(this.#state.get(table)!, overlay).values()]
  }

  has(writer: number, table: SimulatedTable, key: Row): boolean {
    return this.#row(writer, table, keyText(table, key)) !== undefined
  }

  /** Does what the operation says. Returns how many rows an INSERT, UPDATE or DELETE touched, else 0. */
  apply(operation: Operation): number {
    switch (operation.kind) {
      case 'insert':
      case 'update':
      case 'delete':
      case 'truncate':
        return this.#change(operation)
      case 'begin':
        this.#open.set(operation.writer, { overlays: new Map(), changes: 0, savepoints: [] })
        return 0
      case 'commit':
      case 'commit prepared':
        this.#commit(operation.writer)
        return 0
      case 'rollback':
        this.#open.delete(operation.writer)
        return 0
      case 'savepoint': {
        const { overlays, changes, savepoints } = this.#transaction(operation.writer)
        savepoints.push({ name: operation.name, overlays, changes })
        return 0
      }
      case 'release':
        this.#cutSavepoints(operation.writer, operation.name, 'and this one')
        return 0
      case 'rollback to':
        Object.assign(
          this.#transaction(operation.writer),
          this.#cutSavepoints(operation.writer, operation.name, 'keep'),
        )
        return 0
      case 'prepare':
      case 'fault':
      case 'look':
      case 'barrier':
        return 0
    }
  }

  #change(operation: RowOperation): number {
    const transaction = this.#transaction(operation.writer)
    if (operation.kind === 'truncate') {
      const emptied = operation.tables.map(table => [table, { truncated: true, rows: new Map() }] as const)
      transaction.overlays = new Map([...transaction.overlays, ...emptied])
      transaction.changes += operation.tables.length
      return 0
    }
    const { writer, table } = operation
    const changed: [string, Row | null][] = []
    if (operation.kind === 'insert') {
      for (const row of operation.rows) {
        const key = keyText(table, row)
        if (this.#row(writer, table, key) !== undefined)
          throw new Error(`${table.name} has a row ${key} already.`)
        changed.push([key, row])
      }
    } else {
      for (const key of operation.keys) {
        const before = this.#row(writer, table, keyText(table, key))
        if (before === undefined) continue
        changed.push([keyText(table, key), null])
        if (operation.kind === 'update') {
          const after = { ...before, ...operation.set }
          changed.push([keyText(table, after), after])
        }
      }
    }
    const touched = operation.kind === 'update' ? changed.length / 2 : changed.length
    const overlay = transaction.overlays.get(table) ?? {
      truncated: false,
      rows: new Map<string, Row | null>(),
    }
    const next = { truncated: overlay.truncated, rows: new Map([...overlay.rows, ...changed]) }
    transaction.overlays = new Map([...transaction.overlays, [table, next]])
    transaction.changes += touched
    return touched
  }

  #commit(writer: number): void {
    const { overlays, changes } = this.#transaction(writer)
    const tables = [...this.#state].map(([table, rows]) => [table, above(rows, overlays.get(table))] as const)
    this.#state = new Map(tables)
    this.#open.delete(writer)
    this.#transactions++
    this.#changes += changes
  }

  #cutSavepoints(writer: number, name: string, which: 'keep' | 'and this one') {
    const { savepoints } = this.#transaction(writer)
    const index = savepoints.findLastIndex(savepoint => savepoint.name === name)
    const found = savepoints[index]
    if (found === undefined) throw new Error(`Writer ${writer} has no savepoint ${name}.`)
    savepoints.length = which === 'keep' ? index + 1 : index
    return { overlays: found.overlays, changes: found.changes }
  }

  #row(writer: number, table: SimulatedTable, key: string): Row | undefined {
    const overlay = this.#open.get(writer)?.overlays.get(table)
    const own = overlay?.rows.get(key)
    if (own !== undefined) return own ?? undefined
    return overlay?.truncated === true ? undefined : this.#state.get(table)!.get(key)
  }

  #transaction(writer: number): OpenTransaction {
    const transaction = this.#open.get(writer)
    if (transaction === undefined) throw new Error(`Writer ${writer} has no transaction.`)
    return transaction
  }
}

function above(rows: TableState, overlay: Overlay | undefined): TableState {
  if (overlay === undefined) return rows
  const result = new Map(overlay.truncated ? [] : rows)
  for (const [key, row] of overlay.rows) {
    if (row === null) result.delete(key)
    else result.set(key, row)
  }
  return result
}
