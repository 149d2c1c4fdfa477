import type { TupleView } from '../change/change.js'
import type { CacheError } from '../errors.js'
import type { Address } from './address.js'
import type { ToldRow } from './packed-row.js'
import type { Bounds } from './recency.js'

/** What the store has to know about a table; the rest is its mapping's business. */
export interface TableLayout {
  /** `schema.table`, for messages. */
  readonly name: string
  /** How many columns a row has. */
  readonly columns: number
  /** The key columns' positions in a row. */
  readonly key: readonly number[]
  /** Whether decoded rows are kept under numbers: the key is one column of an integer type that a number holds exactly. */
  readonly integerKey: boolean
  /** How much of it is kept at most; without them all of it is. */
  readonly bounds?: Bounds
  /** Makes a row of its values, which are given in SELECT order. `ascii`: every byte is below 0x80. */
  decode(values: TupleView, ascii: boolean): object
  /** What a reader gets of a decoded row: the row itself, or a fresh one if there is anything in it that can be changed. */
  read(decoded: object): object
}

/** Told of each write before it is published. Addresses are good during the call only. */
export interface WriteObserver {
  /** `old` and `next` are the row's records before and after; NONE where there is no row. */
  wrote(old: Address, next: Address): void
  /** As `wrote`, of a row that a bounded table does not hold: what the change itself tells of it. */
  told(old: ToldRow | null, next: ToldRow | null): void
  truncated(): void
  /** The table can't be read any more, for the time being or for good. */
  failed(error: CacheError): void
}

/** Told of each change of the table, by whom. */
export interface TouchObserver {
  changed(old: TupleView | null, row: TupleView | null, order: Int32Array, xid: number): void
  emptied(xid: number): void
}

/** A decoded row's key in a table's `decoded`: the number for an integer key, else the text, several joined by NUL. */
export type DecodedKey = string | number
