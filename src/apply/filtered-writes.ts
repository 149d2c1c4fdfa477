import { TupleView } from '../change/change.js'
import { DivergedError } from '../errors.js'
import type { AppliedTable, BoundRelation } from './binding.js'
import {
  admissionOf,
  type BoundFilter,
  type Entering,
  insertKept,
  removeKept,
  updateKept,
} from './kept-rows.js'

const INCOMPLETE = 'a row came in of which the stream does not say all.'

/** To read the table once more may do: then a query sees the transaction that brought the row in. */
export class RowLostError extends DivergedError {}

/**
 * Gives a row as transaction `xid` has left it, in a record; null if it is not to be had and the table was given up. `before` rows were asked for in the
 * same transaction.
 */
export type AskEntering = (
  target: AppliedTable,
  key: Buffer,
  xid: number,
  before: number,
) => Promise<Buffer | null>

/** What the stream's changes do to tables with a filter. A row of which a change does not say all is asked for before the next one is applied. */
export class FilteredWrites {
  readonly #begun: () => number
  readonly #ask: AskEntering | undefined
  /** A row that the change applied last does not say all of. */
  #waiting: (Entering & { readonly bound: BoundRelation }) | null = null
  #leftOut = false
  /** How many rows the transaction in progress has had asked for. */
  #asks = 0
  /** Rows that the transaction in progress has brought in, and that are in memory as it leaves them. */
  readonly #admitted = new Set<string>()
  /** A row that was asked for. */
  readonly #asked = new TupleView()

  /** `begun` gives the number that the transaction in progress writes under. */
  constructor(begun: () => number, ask: AskEntering | undefined) {
    this.#begun = begun
    this.#ask = ask
  }

  /** Whether a row has to be asked for: `enter` is to be called. */
  get isWaiting(): boolean {
    return this.#waiting !== null
  }

  /** Whether the transaction in progress has changed tables with a filter, though maybe none of the rows that it lets in. */
  get leftOut(): boolean {
    return this.#leftOut
  }

  insert(bound: BoundRelation, filter: BoundFilter, row: TupleView): void {
    this.#leftOut = true
    this.#note(bound, insertKept(bound, filter, row, this.#begun))
  }

  update(
    bound: BoundRelation,
    filter: BoundFilter,
    old: TupleView | null,
    oldIsFull: boolean,
    row: TupleView,
  ): void {
    this.#leftOut = true
    this.#note(bound, updateKept(bound, filter, old, oldIsFull, row, this.#begun, this.#admitted))
  }

  remove(bound: BoundRelation, old: TupleView, oldIsFull: boolean): void {
    this.#leftOut = true
    removeKept(bound, old, oldIsFull, this.#begun)
  }

  #note(bound: BoundRelation, entering: Entering | null): void {
    if (entering !== null) this.#waiting = { ...entering, bound }
  }

  /** A transaction begins, or is over, or was taken back. */
  reset(): void {
    this.#waiting = null
    this.#leftOut = false
    this.#asks = 0
    this.#admitted.clear()
  }

  /** For whoever applies a transaction's changes to a table that was read anew. */
  get admitted(): ReadonlySet<string> {
    return this.#admitted
  }

  /** Asks for the row that is waited for, and takes it in. `onError` is told of what its table can't take. */
  async enter(xid: number, onError: (bound: BoundRelation, error: unknown) => void): Promise<void> {
    const waiting = this.#waiting
    if (waiting === null) return
    const { bound, key } = waiting
    const { mapping, table } = bound
    const row = await this.#entered({ mapping, table }, key, xid)
    if (this.#waiting === waiting) this.#waiting = null
    // It may have been given up meanwhile, and its seat have another table.
    if (row === null || bound.table !== table) return
    try {
      this.#admit(bound, waiting, row, this.#begun)
    } catch (error) {
      onError(bound, error)
    }
  }

  /** The same while a table that was read anew catches up, under `seq`. @throws {RowLostError} if the row can't be had. */
  async enterAnew(applied: AppliedTable, entering: Entering, xid: number, seq: number): Promise<void> {
    const row = await this.#entered(applied, entering.key, xid)
    if (row === null) throw new RowLostError(applied.mapping.name, INCOMPLETE)
    this.#admit(applied, entering, row, () => seq)
  }

  async #entered(target: AppliedTable, key: Buffer, xid: number): Promise<Buffer | null> {
    if (this.#ask === undefined) throw new DivergedError(target.mapping.name, INCOMPLETE)
    return this.#ask(target, key, xid, this.#asks++)
  }

  /** Keeps the row if the filter holds for it as its transaction has left it: what that does to it later, it will find done. */
  #admit({ table, mapping }: AppliedTable, entering: Entering, row: Buffer, begun: () => number): void {
    const { format } = table
    format.read(row, 0, this.#asked)
    if (!mapping.filter!.matches(this.#asked)) return
    this.#admitted.add(admissionOf(mapping.oid, entering))
    table.insert(
      this.#asked,
      format.order(column => column),
      begun(),
    )
  }
}
