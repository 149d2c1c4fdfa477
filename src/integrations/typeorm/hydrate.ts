import type { EntityMetadata, ObjectLiteral } from 'typeorm'
import type { ColumnMetadata, ColumnRow } from './entity.js'

/**
 * The entities that TypeORM would have made of these rows: instances of the entity's class that belong to the caller, with embedded entities,
 * transformers and AfterLoad listeners. A row of which nothing but NULLs was selected makes no entity, there as here.
 */
export async function hydrate<Entity extends ObjectLiteral>(
  metadata: EntityMetadata,
  columns: readonly ColumnMetadata[],
  rows: readonly ColumnRow[],
): Promise<Entity[]> {
  const entities: Entity[] = []
  for (const row of rows) {
    const entity = entityOf<Entity>(metadata, columns, row)
    if (entity !== null) entities.push(entity)
  }
  if (entities.length > 0 && hasListeners(metadata)) await tellLoaded(metadata, entities)
  return entities
}

function entityOf<Entity extends ObjectLiteral>(
  metadata: EntityMetadata,
  columns: readonly ColumnMetadata[],
  row: ColumnRow,
): Entity | null {
  const { driver } = metadata.dataSource
  const entity = metadata.create(undefined, { fromDeserializer: true }) as Entity
  let hasData = false
  for (const column of columns) {
    const value = row[column.databaseName]
    if (value !== null) hasData = true
    column.setEntityValue(entity, driver.prepareHydratedValue(ownCopy(value), column))
  }
  return hasData ? entity : null
}

/** Rows are shared between readers, and frozen; entities are for their caller to change. */
function ownCopy(value: unknown): unknown {
  return typeof value === 'object' && value !== null && Object.isFrozen(value)
    ? structuredClone(value)
    : value
}

function hasListeners({ afterLoadListeners, dataSource }: EntityMetadata): boolean {
  return afterLoadListeners.length > 0 || dataSource.subscribers.length > 0
}

/** Listeners and subscribers may ask for the query runner of the read, so there is one; it takes no connection until it is used. */
async function tellLoaded(metadata: EntityMetadata, entities: readonly ObjectLiteral[]): Promise<void> {
  const queryRunner = metadata.dataSource.createQueryRunner()
  try {
    await queryRunner.broadcaster.broadcast('Load', metadata, [...entities])
  } finally {
    await queryRunner.release()
  }
}
