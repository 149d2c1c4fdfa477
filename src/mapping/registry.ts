import type { Assumptions, DecoderLimits } from '../change/limits.js'
import type { SetupProblem } from '../errors.js'
import type { Catalog, CatalogColumn, CatalogPartition, CatalogTable, TableName } from './catalog.js'
import type { DeclaredColumn, Declaration } from './declaration.js'
import { declarationOf, notDeclaredProblem } from './declared.js'
import type { MappedColumn, MappedPartition, Residency, TableMapping } from './mapping.js'
import { columnFor, nearest, propertyFor } from './names.js'
import { overlapProblems, partitionProblems } from './partition-check.js'
import { serverProblems, serverWarnings } from './server.js'
import type { TableFilter } from './table-filter.js'
import { type CallerSession, sessionProblems, sessionWarnings } from './session.js'
import { columnProblems, sameNames, type TableProblem, tableProblems } from './table-check.js'

export interface ResolveOptions {
  readonly decoder: DecoderLimits
  /** What of the decoder's limits the user has taken on. Default: nothing. */
  readonly assumed?: Assumptions
  /** The caller's own `pg` text parser for a type. */
  readonly parserFor: (typeOid: number) => (text: string) => unknown
  /** What a declared `where` means; or, in words, why it can't be kept by. */
  readonly filterFor: (mapping: TableMapping, where: object) => TableFilter | string
  /** The caller's own session settings; not checked where absent. */
  readonly session?: CallerSession
}

const NOTHING_ASSUMED: Assumptions = { finite: false, utc: false }

export interface TableResolution {
  /** One for each declaration without a problem. */
  readonly mappings: readonly TableMapping[]
  /** Everything that keeps the tables from being read; empty if nothing does. */
  readonly problems: readonly SetupProblem[]
}

/** With what keeps the cache from starting, and what it may start with all the same. */
export interface Resolution extends TableResolution {
  readonly warnings: readonly string[]
}

/** The tables that `entities` name, to be looked up in the catalogue. What is not declared is left out, and reported by `resolveMappings`. */
export function declaredTables(entities: readonly unknown[]): TableName[] {
  return entities.flatMap(entity => {
    const declaration = declarationOf(entity)
    return declaration === undefined ? [] : [{ schema: declaration.schema, name: declaration.name }]
  })
}

/** Everything declared, checked against the catalogue and the server. All problems are collected, never just the first. */
export function resolveMappings(
  entities: readonly unknown[],
  catalog: Catalog,
  options: ResolveOptions,
): Resolution {
  const problems: SetupProblem[] = serverProblems(catalog.server, options.decoder)
  const warnings = serverWarnings(catalog.server)
  if (options.session !== undefined) {
    problems.push(...sessionProblems(options.session))
    warnings.push(...sessionWarnings(options.session))
  }
  const tables = resolveTables(entities, catalog, options)
  return { mappings: tables.mappings, problems: [...problems, ...tables.problems], warnings }
}

/**
 * What is declared, checked against the catalogue alone: the server and the caller's session were looked at when the stream began, and what is left for
 * another one, a free replication slot say, is not needed while it runs.
 */
export function resolveTables(
  entities: readonly unknown[],
  catalog: Catalog,
  options: ResolveOptions,
): TableResolution {
  const { declarations, problems: undeclared } = declarationsOf(entities)
  const problems = [...undeclared, ...duplicateTables(declarations)]

  const mappings: TableMapping[] = []
  for (const declaration of declarations) {
    const { mapping, problems: found } = resolveTable(declaration, catalog, options)
    const table = `${declaration.schema}.${declaration.name}`
    problems.push(...found.map(problem => ({ ...problem, table })))
    if (mapping !== null) mappings.push(mapping)
  }
  problems.push(...overlapProblems(mappings))
  return { mappings, problems }
}

function declarationsOf(entities: readonly unknown[]): {
  declarations: Declaration[]
  problems: SetupProblem[]
} {
  const declarations: Declaration[] = []
  const problems: SetupProblem[] = []
  if (entities.length === 0) {
    problems.push({
      kind: 'no-entities',
      message:
        'no tables are declared: give classes with @ReplicatedTable, or results of defineTable, as "entities".',
    })
  }
  for (const entity of entities) {
    const declaration = declarationOf(entity)
    if (declaration !== undefined) declarations.push(declaration)
    else problems.push(notDeclaredProblem(entity))
  }
  return { declarations, problems }
}

function duplicateTables(declarations: readonly Declaration[]): SetupProblem[] {
  const labels = new Map<string, string[]>()
  for (const { schema, name, label } of declarations) {
    const table = `${schema}.${name}`
    labels.set(table, [...(labels.get(table) ?? []), label])
  }
  return [...labels]
    .filter(([, of]) => of.length > 1)
    .map(([table, of]) => ({
      kind: 'duplicate-table',
      table,
      message: `declared more than once: ${of.join(', ')}. Declare it once.`,
    }))
}

interface ResolvedTable {
  readonly mapping: TableMapping | null
  readonly problems: readonly TableProblem[]
}

function resolveTable(declaration: Declaration, catalog: Catalog, options: ResolveOptions): ResolvedTable {
  const table = catalog.tables.find(
    ({ schema, name }) => schema === declaration.schema && name === declaration.name,
  )
  if (table === undefined) return { mapping: null, problems: [missingTable(declaration, catalog)] }

  const { decoder, assumed = NOTHING_ASSUMED } = options
  const problems = [...tableProblems(table, declaration), ...partitionProblems(table)]
  const { columns, problems: unmapped } = mapColumns(declaration, table)
  problems.push(...unmapped)
  for (const { property, source } of columns)
    problems.push(...columnProblems(source, property, table, decoder, assumed))
  const { key, problems: keyless } = mapKey(declaration, table, columns)
  const { indexes, problems: indexless } = mapIndexes(declaration, columns)
  problems.push(...keyless, ...indexless)
  if (problems.length > 0) return { mapping: null, problems }

  const mapping: TableMapping = {
    name: `${table.schema}.${table.name}`,
    oid: table.oid,
    schema: table.schema,
    table: table.name,
    replicaIdentity: table.replicaIdentity,
    declaration: declaration.identity,
    prototype: declaration.prototype,
    construct: declaration.construct,
    columns: columns.map(({ property, source }) => mappedColumn(property, source, options)),
    key,
    indexes,
    uniqueKeys: mapUniqueKeys(table, columns),
    keep: residencyOf(declaration),
    filter: null,
    partitions: table.kind === 'p' ? (table.partitions ?? []).map(mappedPartition) : null,
    estimatedRows: table.estimatedRows,
    blocks: table.blocks,
  }
  return declaration.where === undefined
    ? { mapping, problems }
    : withFilter(mapping, declaration.where, options)
}

/** The mapping with the rows that are kept of it. */
function withFilter(
  mapping: TableMapping,
  where: object,
  { filterFor }: Pick<ResolveOptions, 'filterFor'>,
): ResolvedTable {
  const filter = filterFor(mapping, where)
  return typeof filter === 'string'
    ? { mapping: null, problems: [{ kind: 'table-filter', message: filter }] }
    : { mapping: { ...mapping, filter }, problems: [] }
}

function missingTable({ schema, name }: Declaration, { tables, otherTables }: Catalog): TableProblem {
  const known = [...tables, ...otherTables]
  const elsewhere = known.filter(table => table.name === name).map(table => `${table.schema}.${table.name}`)
  const similar = nearest(
    name,
    known.filter(table => table.schema === schema).map(table => table.name),
  )
  const suggestions = [...new Set([...elsewhere, ...similar.map(table => `${schema}.${table}`)])]
  return {
    kind: 'missing-table',
    message: `there is no such table.${didYouMean(suggestions)} Names are compared exactly, in upper and lower case.`,
  }
}

function didYouMean(suggestions: readonly string[]): string {
  return suggestions.length === 0 ? '' : ` Did you mean ${suggestions.map(name => `"${name}"`).join(' or ')}?`
}

function mappedPartition({ oid, schema, name, kind, replicaIdentity }: CatalogPartition): MappedPartition {
  return { oid, schema, table: name, isLeaf: kind !== 'p', replicaIdentity }
}

function residencyOf({ keep }: Declaration): Residency {
  return keep === 'all' ? 'all' : { maxRows: keep.maxRows ?? null, maxBytes: keep.maxBytes ?? null }
}

interface ColumnOfRow {
  readonly property: string
  readonly source: CatalogColumn
}

/** The declared columns, in SELECT order; all of the table's where none is declared. */
function mapColumns(
  declaration: Declaration,
  table: CatalogTable,
): { columns: ColumnOfRow[]; problems: TableProblem[] } {
  const { naming } = declaration
  const wanted: readonly DeclaredColumn[] =
    declaration.columns.length > 0
      ? declaration.columns
      : table.columns.map(({ name }) => ({ property: propertyFor(name, naming), column: name }))
  const columns: ColumnOfRow[] = []
  const problems: TableProblem[] = []
  for (const { property, column: given } of wanted) {
    const column = given ?? columnFor(property, naming)
    const source = table.columns.find(({ name }) => name === column)
    if (source === undefined) {
      const suggestions = nearest(
        column,
        table.columns.map(({ name }) => name),
      )
      problems.push({
        kind: 'missing-column',
        property,
        column,
        message: `the table has no such column.${didYouMean(suggestions)}`,
      })
    } else {
      columns.push({ property, source })
    }
  }
  problems.push(...duplicateColumns(columns))
  return { columns: columns.sort((a, b) => a.source.attnum - b.source.attnum), problems }
}

function duplicateColumns(columns: readonly ColumnOfRow[]): TableProblem[] {
  const problems: TableProblem[] = []
  columns.forEach(({ property, source }, i) => {
    const before = columns.slice(0, i)
    const sameColumn = before.find(other => other.source === source)
    if (sameColumn !== undefined) {
      problems.push({
        kind: 'duplicate-column',
        property,
        column: source.name,
        message: `property ${sameColumn.property} is mapped to this column already. Map each column once.`,
      })
    } else if (before.some(other => other.property === property)) {
      problems.push({
        kind: 'duplicate-property',
        property,
        column: source.name,
        message: 'another column has this property already. Name the properties yourself.',
      })
    }
  })
  return problems
}

/** Positions of the primary key's columns, in the key's order. */
function mapKey(
  declaration: Declaration,
  table: CatalogTable,
  columns: readonly ColumnOfRow[],
): { key: number[]; problems: TableProblem[] } {
  // Reported as such already.
  if (table.primaryKey === null) return { key: [], problems: [] }
  const problems: TableProblem[] = []
  const names = table.primaryKey.columns
  const key = names.map(name => columns.findIndex(({ source }) => source.name === name))
  names.forEach((column, i) => {
    if (key[i] === -1)
      problems.push({
        kind: 'unmapped-key',
        column,
        message:
          'this column of the primary key is not mapped, and rows are found by it. Declare it with @PrimaryKey().',
      })
  })
  if (declaration.key.length > 0 && problems.length === 0) {
    const declaredNames = declaration.key.map(
      property => columns.find(column => column.property === property)?.source.name ?? property,
    )
    if (!sameNames(declaredNames, names)) {
      problems.push({
        kind: 'different-primary-key',
        message: `the declared primary key is (${declaredNames.join(', ')}), but the table's is (${names.join(', ')}). Declare the table's own, or none.`,
      })
    }
  }
  return { key, problems }
}

function mapIndexes(
  { indexes }: Declaration,
  columns: readonly ColumnOfRow[],
): { indexes: number[][]; problems: TableProblem[] } {
  const problems: TableProblem[] = []
  const positions = indexes.map(index =>
    index.map(property => {
      const position = columns.findIndex(column => column.property === property)
      if (position === -1)
        problems.push({
          kind: 'unmapped-index',
          property,
          message:
            'an index names this property, but it is not mapped to a column. Declare it with @Column().',
        })
      return position
    }),
  )
  return { indexes: positions, problems }
}

/** Positions of the columns of each unique index; those with a column that is not mapped are left out. */
function mapUniqueKeys({ uniqueKeys }: CatalogTable, columns: readonly ColumnOfRow[]): number[][] {
  return uniqueKeys
    .map(names => names.map(name => columns.findIndex(({ source }) => source.name === name)))
    .filter(positions => !positions.includes(-1))
}

function mappedColumn(property: string, source: CatalogColumn, { parserFor }: ResolveOptions): MappedColumn {
  return {
    property,
    column: source.name,
    attnum: source.attnum,
    typeOid: source.typeOid,
    baseTypeOid: source.baseTypeOid,
    typeModifier: source.typeModifier,
    typeName: source.typeName,
    typeKind: source.typeKind,
    hasArrayType: source.hasArrayType,
    compositeType: source.compositeType,
    notNull: source.notNull,
    deterministic: source.deterministic,
    codePointOrder: source.codePointOrder,
    enumLabels: source.enumLabels,
    foldsAscii: source.foldsAscii,
    parse: parserFor(source.baseTypeOid),
  }
}
