import type { Relation } from '../change/relation.js'
import { DivergedError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { TableStore } from '../store/table.js'
import { bindFilter, type BoundFilter } from './kept-rows.js'
import type { TableLog } from './table-log.js'

/** A mapped table, and where its rows are kept. */
export interface AppliedTable {
  readonly mapping: TableMapping
  readonly table: TableStore
}

/** A relation in the shape it was announced in. The decoder keeps it, so what changes is changed in place. */
export interface BoundRelation {
  readonly relation: Relation
  mapping: TableMapping
  table: TableStore
  /** Where in the relation's tuples the values of a record are. */
  order: Int32Array
  /** Which of the rows are kept; null: all. */
  filter: BoundFilter | null
  /** Keeps the changes while the table is read anew; it can't be written then. */
  log: TableLog | null
  /** The table has another shape now; its changes will be announced in that. */
  isStale: boolean
}

/**
 * The table that `relation` is, prepared for its tuples: once for each shape it is announced in.
 *
 * @throws {DivergedError} if the relation no longer has what was mapped: the catalogue has to be looked at again.
 */
export function bindRelation(relation: Relation, { mapping, table }: AppliedTable): BoundRelation {
  const positions = new Map(relation.columns.map((column, position) => [column.name, position]))
  for (const column of mapping.columns) {
    const position = positions.get(column.column)
    if (position === undefined) throw changed(mapping.name, `column ${column.column} is no longer sent`)
    if (relation.columns[position]!.typeOid !== column.typeOid)
      throw changed(mapping.name, `column ${column.column} has another type`)
  }
  const keyIsSent = mapping.key.every(
    column => relation.columns[positions.get(mapping.columns[column]!.column)!]!.isKey,
  )
  if (!keyIsSent) throw changed(mapping.name, 'its replica identity no longer covers the primary key')
  const positionOf = (column: number): number => positions.get(mapping.columns[column]!.column)!
  const order = table.format.order(positionOf)
  const filter = mapping.filter === null ? null : bindFilter(mapping.filter, table.format, positionOf)
  return { relation, mapping, table, order, filter, log: null, isStale: false }
}

function changed(table: string, what: string): DivergedError {
  return new DivergedError(table, `its shape has changed since it was loaded (${what}).`)
}
