import type pg from 'pg'
import type { DataSource, EntityMetadata, EntityTarget, ObjectLiteral } from 'typeorm'
import { type DefinedTable, defineTable, OptionError } from '../../index.js'

/** TypeORM does not export it by its name. */
export type ColumnMetadata = EntityMetadata['columns'][number]

/** A row by the names of its columns, as the cache hands it out. */
export type ColumnRow = Readonly<Record<string, unknown>>

/** What walcache needs to know of one entity: all of it comes from TypeORM's metadata. */
export interface CachedEntity {
  readonly metadata: EntityMetadata
  readonly table: DefinedTable<ColumnRow>
  /** The columns that the cache holds, by their path within the entity, such as `address.city`. */
  readonly columns: ReadonlyMap<string, ColumnMetadata>
  /** Paths of embedded entities. */
  readonly embedded: ReadonlySet<string>
  /** What a read that selects nothing gets; null if the cache does not hold all of it. */
  readonly selected: readonly ColumnMetadata[] | null
  readonly keyColumns: readonly string[]
}

/** As much of TypeORM's driver for Postgres as is used here; it is not among TypeORM's exports. */
interface PostgresDriver {
  readonly master: pg.Pool
  readonly searchSchema?: string
  readonly spatialTypes: readonly ColumnMetadata['type'][]
}

const entities = new WeakMap<EntityMetadata, CachedEntity>()

/**
 * The tables of these entities, for the option `entities` of `openCache`: names, columns and indexes as TypeORM's metadata has them. The same
 * objects for the same data source each time.
 *
 * Left out, and so never in this process's memory, are columns with `select: false`: reads that want one are answered by Postgres.
 *
 * @throws {OptionError} for a data source that is not Postgres or not initialised, and for entities that are no plain table: views, and those
 * that share a table by inheritance.
 */
export function tablesOf(
  dataSource: DataSource,
  targets: readonly EntityTarget<ObjectLiteral>[],
): DefinedTable<ColumnRow>[] {
  postgresDriver(dataSource)
  return targets.map(target => cachedEntity(dataSource.getMetadata(target)).table)
}

/** The data source's own pool, for the option `pool` of `openCache`: its configuration and its type parsers. @throws {OptionError} as `tablesOf`. */
export function poolOf(dataSource: DataSource): pg.Pool {
  return postgresDriver(dataSource).master
}

/** @throws {OptionError} */
export function cachedEntity(metadata: EntityMetadata): CachedEntity {
  const known = entities.get(metadata)
  if (known !== undefined) return known
  const made = describe(metadata)
  entities.set(metadata, made)
  return made
}

function postgresDriver(dataSource: DataSource): PostgresDriver {
  if (dataSource.options.type !== 'postgres')
    throw new OptionError('dataSource', `give one of type 'postgres', not '${dataSource.options.type}'.`)
  if (!dataSource.isInitialized)
    throw new OptionError('dataSource', 'await dataSource.initialize() before you pass it on.')
  return dataSource.driver as unknown as PostgresDriver
}

function describe(metadata: EntityMetadata): CachedEntity {
  const driver = postgresDriver(metadata.dataSource)
  refuseSharedTables(metadata)
  // A column that TypeORM selects by an expression comes back as something else than what is stored.
  const isHeld = (column: ColumnMetadata): boolean =>
    column.isSelect && !column.isVirtualProperty && !driver.spatialTypes.includes(column.type)
  const readable = metadata.columns.filter(column => !column.isVirtual)
  const held = readable.filter(isHeld)
  const selected = readable.filter(column => column.isSelect)
  const names = new Set(held.map(column => column.databaseName))
  return {
    metadata,
    table: defineTable<ColumnRow>({
      name: metadata.tableName,
      schema: metadata.schema ?? driver.searchSchema ?? 'public',
      columns: [...names],
      indexes: indexesOf(metadata, names),
    }),
    columns: new Map(held.map(column => [column.propertyPath, column])),
    embedded: new Set(metadata.allEmbeddeds.map(({ propertyPath }) => propertyPath)),
    selected: selected.every(isHeld) ? selected : null,
    keyColumns: metadata.primaryColumns.map(column => column.databaseName),
  }
}

function refuseSharedTables(metadata: EntityMetadata): void {
  const shared =
    metadata.tableType !== 'regular' ||
    metadata.discriminatorColumn !== undefined ||
    metadata.childEntityMetadatas.length > 0
  if (shared)
    throw new OptionError(
      'entities',
      `${metadata.name} is not a table of its own, but ${metadata.tableType === 'regular' ? 'one that entities share' : `of type '${metadata.tableType}'`}; read it through TypeORM.`,
    )
}

/** Indexes and unique constraints whose columns are all held; one on an expression, or on a part of the rows, proves nothing about all rows. */
function indexesOf(metadata: EntityMetadata, held: ReadonlySet<string>): string[][] {
  const whole = metadata.indices.filter(
    index => index.where === undefined && !index.isSpatial && !index.isFulltext,
  )
  const lists = [...whole, ...metadata.uniques].map(({ columns }) =>
    columns.map(column => column.databaseName),
  )
  const usable = lists.filter(columns => columns.length > 0 && columns.every(column => held.has(column)))
  return [...new Map(usable.map(columns => [JSON.stringify(columns), columns])).values()]
}
