import { isDeepStrictEqual } from 'node:util'
import type { TableChange } from '../src/index.js'
import type { TableView } from './compare.js'
import { keyText, type Row, type SimulatedTable } from './tables.js'

type Shown = Record<string, unknown>

/**
 * A table as its change feed tells it: nothing is read, each change is applied to what the changes before have left.
 * Each must fit (after a gap, from the next `settle` on): the old row is the one that is here, the new one's place is free, and commits come in their order.
 */
export class FeedReplica implements TableView {
  readonly #rows = new Map<string, Shown>()
  #commit = { lsn: 0n, ended: true }
  #broken: Error | undefined
  /** The rows were read again: they may hold what changes still on their way will tell once more. */
  #unsettled = false

  constructor(
    readonly table: SimulatedTable,
    changes: AsyncIterable<TableChange<Shown>>,
    /** All rows as they are now. */
    readonly read: () => Iterable<Shown>,
  ) {
    this.#follow(changes).catch((error: unknown) => {
      this.#broken = new Error(`The changes of ${table.name} can't be followed.`, { cause: error })
    })
  }

  get size(): number {
    return this.#checked().size
  }

  get(key: Row): unknown {
    return this.#checked().get(keyText(this.table, key))
  }

  rows(): Iterable<unknown> {
    return this.#checked().values()
  }

  /** Everything has been told that was told so far: from here on, changes must fit. */
  settle(): void {
    this.#unsettled = false
  }

  #checked(): ReadonlyMap<string, Shown> {
    if (this.#broken !== undefined) throw this.#broken
    return this.#rows
  }

  async #follow(changes: AsyncIterable<TableChange<Shown>>): Promise<void> {
    for await (const change of changes) {
      if (change.kind === 'gap') {
        if (change.reason !== 'reload') throw new Error(`There is a gap: ${change.reason}.`)
        this.#readAgain()
        continue
      }
      this.#expectOrder(change)
      if (change.kind === 'truncate') this.#rows.clear()
      else if (change.old === undefined || change.new === undefined)
        throw new Error('The table is whole, and a row is not known.')
      else this.#apply(change.old, change.new)
    }
  }

  #readAgain(): void {
    this.#rows.clear()
    for (const row of this.read()) this.#rows.set(keyText(this.table, row as Row), row)
    this.#unsettled = true
  }

  #expectOrder({ lsn, last }: { readonly lsn: bigint; readonly last: boolean }): void {
    const fits = this.#commit.ended ? lsn > this.#commit.lsn : lsn === this.#commit.lsn
    if (!fits) throw new Error('A change is not of the commit whose turn it is.')
    this.#commit = { lsn, ended: last }
  }

  #apply(before: Shown | null, after: Shown | null): void {
    if (before !== null) {
      const key = keyText(this.table, before as Row)
      if (!this.#unsettled && !isDeepStrictEqual(this.#rows.get(key), before))
        throw new Error('An old row is not the one that was told before.')
      this.#rows.delete(key)
    }
    if (after !== null) {
      const key = keyText(this.table, after as Row)
      if (!this.#unsettled && this.#rows.has(key)) throw new Error('A new row has the key of another one.')
      this.#rows.set(key, after)
    }
  }
}
