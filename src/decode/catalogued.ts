import { type ChangeSink, NOT_SENT, type TupleView, UNCHANGED, type ValueKind } from '../change/change.js'
import type { Relation, RelationColumn } from '../change/relation.js'
import { sameBytes } from './json-reader.js'

/**
 * A wanted table, as the catalogue has it, for output plugins that name tables and columns in each change and announce neither.
 * Columns that are not in `relation` are not wanted: they are dropped by their names.
 */
export class CataloguedRelation<B> {
  relation: Relation
  /** What the sink remembers about it: undefined until it was announced, null if nobody wants it. */
  table: B | null | undefined
  /** The columns' names as UTF-8. */
  readonly names: readonly Buffer[]

  constructor(relation: Relation) {
    this.relation = relation
    this.names = relation.columns.map(({ name }) => Buffer.from(name))
  }

  /** What the sink remembers about it, after telling it if need be. */
  announced(sink: ChangeSink<B>): B | null {
    if (this.table === undefined) this.table = sink.relation(this.relation)
    return this.table
  }

  /** A column has come with another type than the catalogue said: the relation has another shape now. */
  retyped(column: number, typeOid: number): void {
    const columns = this.relation.columns.map(
      (each, position): RelationColumn =>
        position === column ? { ...each, typeOid, typeModifier: -1 } : each,
    )
    this.relation = { ...this.relation, columns }
    this.table = undefined
  }

  /** Empties `view`: what is not filled in will be of this kind. */
  clear(view: TupleView, kind: typeof UNCHANGED | typeof NOT_SENT): void {
    view.count = this.names.length
    view.kinds.fill(kind, 0, view.count)
  }

  /** The place of the column whose name is `bytes[start, end)`, or -1: `expected`, mostly, since columns come in the table's order. */
  position(bytes: Uint8Array, start: number, end: number, expected: number): number {
    const { names } = this
    if (expected < names.length && sameBytes(bytes, start, end, names[expected]!)) return expected
    for (let column = 0; column < names.length; column++)
      if (sameBytes(bytes, start, end, names[column]!)) return column
    return -1
  }

  /** The first column that `view` has to have and has not: of an old row those of the identity, of a new one those that are never TOASTed. */
  missing(view: TupleView, of: 'row' | 'key' | 'full'): RelationColumn | undefined {
    return this.relation.columns.find(({ typeOid, isKey }, column) => {
      const kind = view.kinds[column] as ValueKind
      if (of === 'row') return kind === UNCHANGED && FIXED_SIZE.has(typeOid)
      return kind === NOT_SENT && (of === 'full' || isKey)
    })
  }
}

/** The wanted tables of one stream, by their names. */
export class CataloguedRelations<B> {
  readonly #relations: readonly Relation[]
  readonly #byName = new Map<string, CataloguedRelation<B>>()

  constructor(relations: readonly Relation[]) {
    this.#relations = relations
    this.reset()
  }

  /** Forgets what was announced. */
  reset(): void {
    for (const relation of this.#relations)
      this.#byName.set(keyOf(relation.schema, relation.name), new CataloguedRelation(relation))
  }

  find(schema: string, name: string): CataloguedRelation<B> | undefined {
    return this.#byName.get(keyOf(schema, name))
  }
}

/** No name has a zero byte. */
function keyOf(schema: string, name: string): string {
  return `${schema}\0${name}`
}

/** Common types that are never TOASTed, so that a value that is missing means that the column is gone. */
const FIXED_SIZE: ReadonlySet<number> = new Set([
  16, 18, 19, 20, 21, 23, 26, 28, 600, 601, 603, 628, 700, 701, 718, 774, 790, 829, 1082, 1083, 1114, 1184,
  1186, 1266, 2950, 3220, 5069,
])
