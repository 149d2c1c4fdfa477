import { OptionError, QueryError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'

/** Indexes that were asked for while their tables were running, by declaration: what is loaded from then on has them from its first row. */
export class AddedIndexes {
  /** The properties of each, as JSON. */
  readonly #of = new Map<object, Set<string>>()

  add({ declaration }: TableMapping, properties: readonly string[]): void {
    const known = this.#of.get(declaration) ?? new Set()
    this.#of.set(declaration, known.add(JSON.stringify(properties)))
  }

  remove({ declaration }: TableMapping, properties: readonly string[]): void {
    this.#of.get(declaration)?.delete(JSON.stringify(properties))
  }

  /** The properties of each of this table's. */
  of({ declaration }: TableMapping): (readonly string[])[] {
    return [...(this.#of.get(declaration) ?? [])].map(each => JSON.parse(each) as string[])
  }

  /** The positions of each one's columns. */
  columnsOf(mapping: TableMapping): (readonly number[])[] {
    return this.of(mapping).map(properties => indexColumns(mapping, properties))
  }
}

/** The positions of an index's columns. @throws {QueryError} for a property that the table does not have. @throws {OptionError} for no list of properties. */
export function indexColumns({ name, columns }: TableMapping, properties: readonly string[]): number[] {
  if (!Array.isArray(properties) || properties.length === 0)
    throw new OptionError('createIndex', 'give a list of properties.')
  if (new Set(properties).size < properties.length)
    throw new OptionError('createIndex', 'name each property once.')
  return properties.map(property => {
    const column = columns.findIndex(each => each.property === property)
    if (column < 0) throw new QueryError(name, `createIndex: the table has no property ${String(property)}.`)
    return column
  })
}
