import type { GroupIndex } from '../store/group-index.js'
import type { PackedRow } from '../store/packed-row.js'
import type { CommitLog, LogEntry } from './commit-log.js'
import { FillBatch, type Kept, type Merged } from './fill-batch.js'
import type { AppliedTable } from './binding.js'
import type { FillRules } from './fill-rules.js'
import { groupsSql, type Statement } from './fill-sql.js'
import { GroupImage } from './group-image.js'
import type { WantedGroup } from './wanted.js'

/** Values of a unique index that one query asks for; of any other index each is asked for by itself. */
const VALUES_MAX = 500

/** Groups of one index that one query asks for. */
export class GroupBatch extends FillBatch<WantedGroup> {
  readonly #index: GroupIndex
  /** Rows that the query gives at most: then there may be more. */
  #limit = 0

  constructor(table: AppliedTable, rules: FillRules, index: GroupIndex) {
    super(table, rules)
    this.#index = index
  }

  get isFull(): boolean {
    return this.wanted.size >= (this.#index.unique ? VALUES_MAX : 1)
  }

  #companions(): Map<string, Buffer> {
    return new Map([...this.wanted.values()].flatMap(({ companions }) => [...companions]))
  }

  statement(): Statement {
    const { mapping, table } = this.table
    const values = [...this.wanted.values()].map(({ value }) => value)
    const companions = [...this.#companions().values()]
    const rowsMax = Math.max(this.#index.unique ? values.length : 0, table.residency!.groups.rowsMax)
    // One more than are kept, so that it shows whether there are.
    this.#limit = rowsMax + companions.length + 1
    return groupsSql(mapping, table.format, values, companions, this.#limit)
  }

  merge(entries: readonly LogEntry[]): (id: string) => Merged {
    const { rows } = this.reply!
    if (rows.size >= this.#limit) return () => ({ kind: 'too large' })
    const { table } = this.table
    const values = [...this.wanted.values()].map(({ value }) => value)
    const image = new GroupImage(table.format, values, rows, this.rules.enter)
    for (const entry of entries) {
      const changes = entry.tables.get(table)
      if (changes !== undefined) image.apply(changes, this.sees(entry))
    }
    return id => image.group(this.wanted.get(id)!.value)
  }

  /** Of what is not there, and of a row that has moved elsewhere, no transaction id tells. */
  isFast(): boolean {
    return false
  }

  isPending({ value }: WantedGroup, rows: readonly PackedRow[], log: CommitLog): boolean {
    const { table } = this.table
    if (!log.pendingChanges(table)) return false
    const { format } = table
    return (
      log.pendingEnters(table, value) ||
      rows.some(({ bytes }) => log.pendingTouches(table, bytes.subarray(0, format.keyEnd(bytes, 0))))
    )
  }

  install({ value }: WantedGroup, rows: readonly PackedRow[]): Kept | null {
    const installed = this.table.table.residency!.groups.install(value, rows)
    return installed === 'pending' ? null : this.passOn(undefined, rows)
  }

  /** Since when it was the same, its rows say, each by its versions. */
  passOn(_: unknown, rows: readonly PackedRow[]): Kept {
    return { rows, since: Number.POSITIVE_INFINITY }
  }
}
