import { checkTableOptions, type DeclaredColumn, type TableOptions } from './declaration.js'
import { declared } from './declared.js'
import { declarationBase } from './decorators.js'
import type { AnyWhere, Where } from './where-types.js'

type Property<Row> = keyof Row & string

/** Of rows that nothing is said of, any property may be named. */
type WhereOf<Row> = [keyof Row] extends [never] ? AnyWhere : Where<Row>

/** A table declared without a class; `Row` is what its rows look like. */
export interface TableDefinition<Row extends object> extends TableOptions {
  /**
   * The properties that rows have, named by `naming`; or every property with its column. Without it the rows have all
   * columns of the table.
   */
  readonly columns?: readonly Property<Row>[] | { readonly [P in Property<Row>]: string }
  /** The primary key's properties. It must be the key that the database has, which is the default. */
  readonly key?: readonly Property<Row>[]
  readonly indexes?: readonly (readonly Property<Row>[])[]
  readonly where?: WhereOf<NoInfer<Row>>
  readonly construct?: (row: Readonly<Record<string, unknown>>) => Row
}

/** What names a table to the cache, where there is no class. */
export interface DefinedTable<Row extends object> {
  /** Never there: it only carries the type. */
  readonly row?: Row | undefined
  readonly schema: string
  readonly table: string
}

/**
 * Declares a table without decorators; rows are plain objects, deepEqual to what `pg` SELECTs.
 *
 * @throws {OptionError} for options that can't mean anything. What does not fit the database is found when the cache opens.
 */
export function defineTable<Row extends object = Record<string, unknown>>(
  definition: TableDefinition<Row>,
): DefinedTable<Row> {
  checkTableOptions(definition, ['columns', 'key'])
  const { name, schema = 'public', columns, key, indexes } = definition
  const identity: DefinedTable<Row> = Object.freeze({ schema, table: name })
  declared.tables.set(identity, {
    ...declarationBase(identity, `${schema}.${name}`, definition),
    prototype: null,
    columns: declaredColumns(columns),
    key: [...(key ?? [])],
    indexes: (indexes ?? []).map(index => [...index]),
  })
  return identity
}

function declaredColumns(
  columns: readonly string[] | Readonly<Record<string, string>> | undefined,
): DeclaredColumn[] {
  if (columns === undefined) return []
  if (isList(columns)) return columns.map(property => ({ property, column: undefined }))
  return Object.entries(columns).map(([property, column]) => ({ property, column }))
}

// Array.isArray does not narrow a readonly array away from the other case.
function isList(columns: readonly string[] | Readonly<Record<string, string>>): columns is readonly string[] {
  return Array.isArray(columns)
}
