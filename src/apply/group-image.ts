import { TupleView } from '../change/change.js'
import { type GroupValue, hasValue } from '../store/group-index.js'
import type { RecordFormat } from '../store/record.js'
import type { PackedRow } from '../store/packed-row.js'
import { ASK_AGAIN, type Merged } from './fill-batch.js'
import { fillIn, idOf } from './fill-image.js'
import type { FilledRow } from './fill-sql.js'
import type { TableChanges } from './table-changes.js'

/** What is known of one row: all of it, or that it is in none of the groups, or lacks values of the row that was under `base`. */
type Known =
  | { readonly kind: 'row'; readonly row: PackedRow }
  | { readonly kind: 'out' }
  | {
      readonly kind: 'incomplete'
      readonly base: string
      readonly row: Buffer
      readonly missing: readonly number[]
    }
  | { readonly kind: 'ask again' }

/** One row at a time is looked at. */
const view = new TupleView()

const OUT: Known = { kind: 'out' }

/**
 * What a query saw of some groups, brought to the visible state by the commits that it did not see. What matters of those are not only changes of
 * the rows that were seen: any row may enter a group, also from where no one has looked.
 *
 * The commits of one row that a query sees are those before the ones that it does not see. Should that ever not hold, the query is asked again.
 */
export class GroupImage {
  readonly #format: RecordFormat
  readonly #values: readonly GroupValue[]
  readonly #rows = new Map<string, Known>()
  readonly #enters: boolean
  /** Rows that an invisible commit has changed. */
  readonly #touched = new Set<string>()
  #isLost = false

  /** `rows` are all rows of the groups, and others that were asked for with them. `enters` is false to see what happens without. */
  constructor(
    format: RecordFormat,
    values: readonly GroupValue[],
    rows: ReadonlyMap<string, FilledRow>,
    enters: boolean,
  ) {
    this.#format = format
    this.#values = values
    this.#enters = enters
    for (const [id, { row }] of rows) this.#rows.set(id, { kind: 'row', row })
  }

  /** The changes of the next commit, which the query has seen or not. */
  apply(changes: TableChanges, isSeen: boolean): void {
    if (isSeen && this.#touched.size === 0) return
    if (!changes.isWhole) this.#isLost ||= !isSeen || this.#touchesAny(changes)
    else changes.replay(isSeen ? this.#contradicting : this.#applying)
  }

  #touchesAny(changes: TableChanges): boolean {
    return [...this.#touched].some(id => changes.touches(Buffer.from(id, 'latin1')))
  }

  readonly #applying = {
    put: (key: Buffer, bytes: Buffer, ascii: boolean): void => {
      this.#set(key, bytes, () => ({ kind: 'row', row: { bytes: Buffer.from(bytes), ascii } }))
    },
    putPartly: (key: Buffer, baseKey: Buffer, bytes: Buffer, missing: readonly number[]): void => {
      const base = this.#rows.get(idOf(baseKey))
      if (base?.kind === 'row') {
        const row = fillIn(this.#format, bytes, missing, base.row)
        this.#set(key, row.bytes, () => ({ kind: 'row', row }))
      } else if (this.#mayBeIn(bytes, missing))
        this.#put(idOf(key), {
          kind: 'incomplete',
          base: base?.kind === 'incomplete' ? base.base : idOf(baseKey),
          row: Buffer.from(bytes),
          missing,
        })
      else this.#leave(idOf(key))
    },
    remove: (key: Buffer): void => this.#leave(idOf(key)),
    truncate: (): void => {
      for (const id of this.#rows.keys()) this.#put(id, OUT)
    },
  }

  /** Of a commit that is seen, after one that is not: no row may be in both. */
  readonly #contradicting = {
    put: (key: Buffer): void => this.#contradict(idOf(key)),
    putPartly: (key: Buffer): void => this.#contradict(idOf(key)),
    remove: (key: Buffer): void => this.#contradict(idOf(key)),
    truncate: (): void => {
      for (const id of this.#touched) this.#contradict(id)
    },
  }

  /** A row that is in none of the groups, and was in none, is of no interest. */
  #set(key: Buffer, bytes: Buffer, state: () => Known): void {
    const id = idOf(key)
    const isIn = this.#values.some(value => this.#has(bytes, value))
    if (this.#rows.has(id) || (isIn && this.#enters)) this.#put(id, state())
  }

  #leave(id: string): void {
    if (this.#rows.has(id)) this.#put(id, OUT)
  }

  #put(id: string, state: Known): void {
    this.#touched.add(id)
    if (this.#rows.get(id)?.kind !== 'ask again') this.#rows.set(id, state)
  }

  #contradict(id: string): void {
    if (this.#touched.has(id)) this.#rows.set(id, { kind: 'ask again' })
  }

  #has(bytes: Buffer, value: GroupValue): boolean {
    this.#format.read(bytes, 0, view)
    return hasValue(value, view)
  }

  #mayBeIn(bytes: Buffer, missing: readonly number[]): boolean {
    return this.#values.some(value => this.#mayHave(bytes, missing, value))
  }

  #mayHave(bytes: Buffer, missing: readonly number[], value: GroupValue): boolean {
    return value.index.places.some(place => missing.includes(place)) || this.#has(bytes, value)
  }

  /** What has become of a group. */
  group(value: GroupValue): Merged {
    if (this.#isLost) return ASK_AGAIN
    const rows: PackedRow[] = []
    for (const known of this.#rows.values()) {
      if (known.kind === 'ask again') return ASK_AGAIN
      if (known.kind === 'incomplete' && this.#mayHave(known.row, known.missing, value))
        return { kind: 'incomplete', base: known.base }
      if (known.kind === 'row' && this.#has(known.row.bytes, value)) rows.push(known.row)
    }
    return { kind: 'known', rows }
  }
}
