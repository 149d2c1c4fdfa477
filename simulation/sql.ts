import pg from 'pg'
import { type View, viewOfRows } from './compare.js'
import type { RowOperation, WriterOperation } from './operation.js'
import type { Row, SimulatedTable } from './tables.js'
import type { Literal } from './values.js'

export interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
}

const quoted = (name: string): string => pg.escapeIdentifier(name)

export function qualifiedName(table: Pick<SimulatedTable, 'schema' | 'name'>): string {
  return `${quoted(table.schema)}.${quoted(table.name)}`
}

/** What creates the table. */
export function createTableSql(table: SimulatedTable): string {
  const columns = table.columns.map(
    column => `${quoted(column.name)} ${column.type.sql}${column.nullable ? '' : ' not null'}`,
  )
  const key = `primary key (${table.key.map(quoted).join(', ')})`
  const identity =
    table.identity === 'full' ? `alter table ${qualifiedName(table)} replica identity full;` : ''
  return `create schema if not exists ${quoted(table.schema)};
    create table ${qualifiedName(table)} (${[...columns, key].join(', ')});
    ${identity}`
}

/** `gid` names the writer's prepared transaction: one namespace for the whole server. */
export function statementOf(operation: WriterOperation, gid: string): Statement {
  switch (operation.kind) {
    case 'begin':
    case 'commit':
    case 'rollback':
      return { text: operation.kind, values: [] }
    case 'prepare':
      return { text: `prepare transaction ${pg.escapeLiteral(gid)}`, values: [] }
    case 'commit prepared':
      return { text: `commit prepared ${pg.escapeLiteral(gid)}`, values: [] }
    case 'savepoint':
    case 'release':
    case 'rollback to':
      return { text: `${operation.kind} ${quoted(operation.name)}`, values: [] }
    case 'insert':
    case 'update':
    case 'delete':
    case 'truncate':
      return rowStatement(operation)
  }
}

function rowStatement(operation: RowOperation): Statement {
  if (operation.kind === 'truncate') {
    return { text: `truncate ${operation.tables.map(qualifiedName).join(', ')}`, values: [] }
  }
  const { table } = operation
  const parameters = new Parameters(table)
  if (operation.kind === 'insert') {
    const names = table.columns.map(column => column.name)
    const rows = operation.rows.map(row => parameters.tuple(names, row))
    const columns = names.map(quoted).join(', ')
    return {
      text: `insert into ${qualifiedName(table)} (${columns}) values ${rows.join(', ')}`,
      values: parameters.values,
    }
  }
  const assignments = operation.kind === 'update' ? parameters.assignments(operation.set) : ''
  const keys = operation.keys.map(key => parameters.tuple(table.key, key))
  const where = `where (${table.key.map(quoted).join(', ')}) in (${keys.join(', ')})`
  const text =
    operation.kind === 'update'
      ? `update ${qualifiedName(table)} set ${assignments} ${where}`
      : `delete from ${qualifiedName(table)} ${where}`
  return { text, values: parameters.values }
}

/** Collects the values of one statement and numbers them. */
class Parameters {
  readonly values: unknown[] = []

  constructor(readonly table: SimulatedTable) {}

  tuple(names: readonly string[], row: Row): string {
    return `(${names.map(name => this.#add(name, row[name]!)).join(', ')})`
  }

  assignments(set: Row): string {
    return Object.entries(set)
      .map(([name, literal]) => `${quoted(name)} = ${this.#add(name, literal)}`)
      .join(', ')
  }

  #add(name: string, literal: Literal): string {
    const { type } = this.table.columns.find(column => column.name === name)!
    this.values.push(literal === null ? null : type.parameter(literal))
    return `$${this.values.length}`
  }
}

/** All rows of all tables, as of one SQL snapshot. */
export async function selectAll(client: pg.Client, tables: readonly SimulatedTable[]): Promise<View> {
  const rows = new Map<SimulatedTable, Record<string, unknown>[]>()
  await client.query('begin isolation level repeatable read read only')
  for (const table of tables) {
    const result = await client.query<Record<string, unknown>>(`select * from ${qualifiedName(table)}`)
    rows.set(table, result.rows)
  }
  await client.query('commit')
  return viewOfRows(table => rows.get(table)!)
}
