import type { CachedEntity, ColumnMetadata } from './entity.js'
import { type Condition, conditionOf, isPlainObject, ORIGINAL } from './where.js'

/** A read in walcache's words. */
export interface EntityQuery {
  readonly where: Condition | null
  readonly orderBy: readonly Condition[]
  readonly skip: number
  /** Undefined: all rows. */
  readonly take: number | undefined
  /** Whose values the entities get. */
  readonly columns: readonly ColumnMetadata[]
}

type Options = Readonly<Record<string, unknown>>

const FIND: ReadonlySet<string> = new Set([
  'where',
  'order',
  'select',
  'skip',
  'take',
  'withDeleted',
  'loadEagerRelations',
])
const COUNT: ReadonlySet<string> = new Set(['where', 'withDeleted', 'loadEagerRelations'])

/** What `find(options)` asks for, or null where only TypeORM can ask for it. */
export function findQuery(entity: CachedEntity, options: unknown): EntityQuery | null {
  if (!isReadable(entity, options, FIND)) return null
  const where = whereOf(entity, options)
  const columns = selectedColumns(entity, options['select'])
  const orderBy = orderOf(entity, options['order'])
  const { skip = 0, take } = options
  // TypeORM takes 0 for no limit, and has its own words for what is no number.
  const isPage = isCount(skip) && (take === undefined || (isCount(take) && take > 0))
  if (where === ORIGINAL || columns === null || orderBy === null || !isPage) return null
  return { where, orderBy, columns, skip, take }
}

/** The condition of `count(options)` and `exists(options)`, or ORIGINAL. */
export function countCondition(entity: CachedEntity, options: unknown): Condition | null | typeof ORIGINAL {
  return isReadable(entity, options, COUNT) ? whereOf(entity, options) : ORIGINAL
}

function isReadable(entity: CachedEntity, options: unknown, known: ReadonlySet<string>): options is Options {
  if (!isPlainObject(options)) return false
  const { metadata } = entity
  if (metadata.eagerRelations.length > 0 && options['loadEagerRelations'] !== false) return false
  // Each is loaded by a query of its own.
  if (metadata.relationIds.length > 0) return false
  return Object.entries(options).every(([option, value]) => value === undefined || known.has(option))
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function whereOf(entity: CachedEntity, options: Options): Condition | null | typeof ORIGINAL {
  const where = conditionOf(entity, options['where'])
  const { deleteDateColumn } = entity.metadata
  if (where === ORIGINAL || deleteDateColumn === undefined || options['withDeleted'] === true) return where
  if (!entity.columns.has(deleteDateColumn.propertyPath)) return ORIGINAL
  const isLive = { [deleteDateColumn.databaseName]: null }
  return where === null ? isLive : { AND: [where, isLive] }
}

function selectedColumns(entity: CachedEntity, select: unknown): readonly ColumnMetadata[] | null {
  if (select === undefined) return entity.selected
  const chosen = new Set<ColumnMetadata>()
  if (!choose(entity, select, '', chosen)) return null
  // TypeORM takes an empty choice for everything.
  if (chosen.size === 0) return entity.selected
  return [...entity.columns.values()].filter(column => chosen.has(column))
}

function choose(entity: CachedEntity, select: unknown, prefix: string, chosen: Set<ColumnMetadata>): boolean {
  if (!isPlainObject(select)) return false
  for (const [property, choice] of Object.entries(select)) {
    if (choice === undefined || choice === false) continue
    const path = prefix + property
    const column = entity.columns.get(path)
    if (column !== undefined && choice === true) chosen.add(column)
    else if (!entity.embedded.has(path) || !choose(entity, choice, `${path}.`, chosen)) return false
  }
  return true
}

function orderOf(entity: CachedEntity, order: unknown): Condition[] | null {
  const sorting: Condition[] = []
  if (order !== undefined && !sort(entity, order, '', sorting)) return null
  // The entity's own default order applies to a read without one.
  if (sorting.length === 0 && entity.metadata.orderBy !== undefined) return null
  return sorting
}

function sort(entity: CachedEntity, order: unknown, prefix: string, sorting: Condition[]): boolean {
  if (!isPlainObject(order)) return false
  for (const [property, value] of Object.entries(order)) {
    if (value === undefined) continue
    const path = prefix + property
    const column = entity.columns.get(path)
    if (column !== undefined) {
      const direction = isPlainObject(value) ? value['direction'] : value
      const nulls = nullsOf(isPlainObject(value) ? value['nulls'] : undefined)
      if (nulls === null) return false
      const isDescending = direction === 'DESC' || direction === 'desc' || direction === -1
      sorting.push({ [column.databaseName]: { sort: isDescending ? 'desc' : 'asc', ...nulls } })
    } else if (!entity.embedded.has(path) || !sort(entity, value, `${path}.`, sorting)) return false
  }
  return true
}

function nullsOf(nulls: unknown): { readonly nulls?: 'first' | 'last' } | null {
  if (nulls === undefined) return {}
  const word = typeof nulls === 'string' ? nulls.toLowerCase() : null
  return word === 'first' || word === 'last' ? { nulls: word } : null
}
