import { TupleView } from '../change/change.js'
import type { TableMapping } from '../mapping/mapping.js'
import { createRowFactory, type RowFactory } from '../mapping/values.js'

/** Makes rows of some of a table's columns: plain objects, frozen, each a reader's own. */
export class Projection {
  /** Positions in the mapping, ascending. */
  readonly #columns: readonly number[]
  readonly #rows: RowFactory
  readonly #view = new TupleView()

  constructor(mapping: TableMapping, columns: readonly number[]) {
    this.#columns = columns
    this.#rows = createRowFactory({
      ...mapping,
      columns: columns.map(column => mapping.columns[column]!),
      prototype: null,
      construct: null,
    })
  }

  /** The selected part of the row that `view` shows in the mapping's order. */
  row(view: TupleView, ascii: boolean): object {
    const { kinds, starts, ends, bytes } = view
    const part = this.#view
    part.bytes = bytes
    part.count = this.#columns.length
    for (const [to, column] of this.#columns.entries()) {
      part.kinds[to] = kinds[column]!
      part.starts[to] = starts[column]!
      part.ends[to] = ends[column]!
    }
    return this.read(part, ascii)
  }

  /** The row whose values are the selected columns alone. */
  read(view: TupleView, ascii: boolean): object {
    return this.#rows.read(this.#rows.decode(view, ascii))
  }
}

/** Different selections of a table that are kept prepared. */
const KEPT_MAX = 64

/** The projections of one table, prepared once each. */
export class Projections {
  readonly #mapping: TableMapping
  readonly #kept = new Map<string, Projection>()

  constructor(mapping: TableMapping) {
    this.#mapping = mapping
  }

  of(columns: readonly number[]): Projection {
    const name = columns.join()
    const kept = this.#kept.get(name)
    if (kept !== undefined) return kept
    const projection = new Projection(this.#mapping, columns)
    if (this.#kept.size === KEPT_MAX) this.#kept.clear()
    this.#kept.set(name, projection)
    return projection
  }
}
