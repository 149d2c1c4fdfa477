import { isDeepStrictEqual } from 'node:util'
import type { TableChange } from '../../src/index.js'
import { keyOf, type Row, type StatementTable } from './schema.js'

/** A table as its changes tell it, each applied to what the changes before have left. */
export class Told {
  readonly rows = new Map<string, Row>()
  readonly #table: StatementTable
  readonly #read: () => Iterable<Row>
  /** Why what is told does not fit. */
  problem: string | undefined
  commits = 0
  gaps = 0
  #open: bigint | null = null
  #newest = 0n
  /** After a gap rows are read, and what was told of them already may come once more. */
  #readUpTo = 0n

  constructor(table: StatementTable, changes: AsyncIterable<TableChange<Row>>, read: () => Iterable<Row>) {
    this.#table = table
    this.#read = read
    this.#readAll()
    this.#follow(changes).catch((error: unknown) => {
      this.problem ??= `The changes of ${table.name} can't be followed: ${String(error)}`
    })
  }

  #readAll(): void {
    this.rows.clear()
    for (const row of this.#read()) this.rows.set(keyOf(this.#table, row), row)
  }

  async #follow(changes: AsyncIterable<TableChange<Row>>): Promise<void> {
    for await (const change of changes) {
      if (change.kind === 'gap') {
        this.gaps++
        this.#open = null
        this.#readUpTo = change.lsn
        this.#readAll()
        continue
      }
      if (change.lsn <= this.#readUpTo) continue
      if (this.#open === null ? change.lsn <= this.#newest : change.lsn !== this.#open)
        this.problem ??= `${this.#table.name}: a change at ${change.lsn} came when it was not its commit's turn.`
      this.#open = change.lsn
      this.#newest = change.lsn
      if (change.kind === 'truncate') this.rows.clear()
      else this.#apply(change.old ?? null, change.new ?? null)
      if (change.last) {
        this.#open = null
        this.commits++
      }
    }
  }

  #apply(old: Row | null, next: Row | null): void {
    if (old !== null) {
      const key = keyOf(this.#table, old)
      if (!isDeepStrictEqual(this.rows.get(key), old))
        this.problem ??= `${this.#table.name} ${key}: the old row is not the one that was told before.`
      this.rows.delete(key)
    }
    if (next === null) return
    const key = keyOf(this.#table, next)
    if (this.rows.has(key))
      this.problem ??= `${this.#table.name} ${key}: a new row has the key of another one.`
    this.rows.set(key, next)
  }
}
