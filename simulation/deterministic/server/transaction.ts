import type { TableSpec, Texts } from '../schema.js'
import type { Position } from './log.js'

/** What one statement did to one row, or to whole tables, as it is decoded from the log. */
export interface Change {
  readonly kind: 'insert' | 'update' | 'delete' | 'truncate' | 'message'
  /** Where its record begins. */
  readonly at: Position
  /** Null for a message. */
  readonly spec: TableSpec | null
  readonly old: Texts | null
  readonly new: Texts | null
  /** A message's prefix. */
  readonly prefix: string
  /** Whether its table was in the publication when it was written. */
  readonly isPublished: boolean
}

/** Something of a transaction's that is taken back if it, or its savepoint, is rolled back. */
export type Undo = () => void

/** A transaction, from its first write to the moment when everybody sees it. */
export class Transaction {
  changes: Change[] = []
  readonly undo: Undo[] = []
  /** Savepoints that are open: how much there was of both when each was set. */
  readonly savepoints: { readonly changes: number; readonly undone: number }[] = []
  /** The id of the innermost savepoint that has written, else its own. */
  rowXid: number
  isPrepared = false
  /** Where its commit record begins and ends; 0 while it runs. */
  commitAt: Position = 0
  end: Position = 0
  /** Tables that it has written, and those that it has locked against everybody. */
  readonly written = new Set<number>()
  readonly exclusive = new Set<number>()

  constructor(
    readonly xid: number,
    readonly firstAt: Position,
  ) {
    this.rowXid = xid
  }

  get isCommitted(): boolean {
    return this.end > 0
  }
}

/** A commit as the log holds it. */
export interface Committed {
  /** Its number among all that were ever committed; never given twice. */
  readonly number: number
  readonly xid: number
  readonly firstAt: Position
  readonly commitAt: Position
  readonly end: Position
  readonly changes: readonly Change[]
  /** Microseconds since 1970. */
  readonly timeMicros: bigint
}
