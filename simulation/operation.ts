import { createHash } from 'node:crypto'
import type { FaultName } from './faults/faults.js'
import type { Row, SimulatedTable } from './tables.js'

/** One step of a history. A writer is one session; one operation is one statement. */
export type Operation =
  | {
      readonly kind: 'begin' | 'commit' | 'rollback' | 'prepare' | 'commit prepared'
      readonly writer: number
    }
  | { readonly kind: 'savepoint' | 'release' | 'rollback to'; readonly writer: number; readonly name: string }
  | RowOperation
  /** Something goes wrong between the cache and its server. */
  | { readonly kind: 'fault'; readonly fault: FaultName }
  /** Look at the cache while transactions are open: it must show the state after some commit. */
  | { readonly kind: 'look' }
  /** All writers are idle: everything must agree. */
  | { readonly kind: 'barrier' }

/** An operation that a writer carries out. */
export type WriterOperation = Extract<Operation, { readonly writer: number }>

export type RowOperation =
  | {
      readonly kind: 'insert'
      readonly writer: number
      readonly table: SimulatedTable
      readonly rows: readonly Row[]
    }
  | {
      /** Of all rows with these keys. Changes the key where `set` names a key column; then there is one row. */
      readonly kind: 'update'
      readonly writer: number
      readonly table: SimulatedTable
      readonly keys: readonly Row[]
      readonly set: Row
    }
  | {
      readonly kind: 'delete'
      readonly writer: number
      readonly table: SimulatedTable
      readonly keys: readonly Row[]
    }
  | { readonly kind: 'truncate'; readonly writer: number; readonly tables: readonly SimulatedTable[] }

/** One line that says all of an operation: what is hashed, and what a replay prints. */
export function operationText(operation: Operation): string {
  return JSON.stringify(operation, (name, value: unknown) => {
    if (name === 'table') return (value as SimulatedTable).name
    if (name === 'tables') return (value as SimulatedTable[]).map(table => table.name)
    return value
  })
}

/** A running hash over a history: equal for equal histories. */
export class HistoryHash {
  readonly #hash = createHash('sha256')

  add(operation: Operation): void {
    this.#hash.update(operationText(operation)).update('\n')
  }

  /** Hexadecimal. Ends the hash. */
  digest(): string {
    return this.#hash.digest('hex')
  }
}
