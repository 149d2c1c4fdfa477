import type { Random } from './random.js'
import { types, type Literal, type ValueType } from './values.js'

/** A row, or some of its columns. */
export type Row = Readonly<Record<string, Literal>>

export interface SimulatedColumn {
  readonly name: string
  readonly type: ValueType
  readonly nullable: boolean
}

/** A table that the simulation writes to. */
export interface SimulatedTable {
  readonly schema: string
  readonly name: string
  readonly columns: readonly SimulatedColumn[]
  /** The primary key's columns, in the key's own order; of types whose literals are what `pg` gives. */
  readonly key: readonly string[]
  readonly identity: 'default' | 'full'
  /** One of a small set of keys, so that keys are met again. */
  randomKey(random: Random): Row
  /** Of a table with many rows; the others begin empty, and a statement concerns a few of their rows. */
  readonly crowd?: {
    /** The first transaction inserts them. No TRUNCATE takes them away. */
    readonly firstRows: number
    /** A statement may concern so many times as many rows as one of another table. */
    readonly statementFactor: number
  }
}

/** How many keys each table can ever have. */
const KEYS = 160

const column = (name: string, type: ValueType, nullable = true): SimulatedColumn => ({ name, type, nullable })
const keyColumn = (name: string, type: ValueType): SimulatedColumn => column(name, type, false)

const keyTexts = [
  '',
  'a',
  'A',
  'ä',
  'a\u0308',
  "o'k",
  'q"',
  '\\',
  '\\N',
  'NULL',
  ' ',
  '漢',
  '🦭',
  '\t',
  '\ufeff',
  ',{}',
]

export const simulatedTables: readonly SimulatedTable[] = [
  {
    schema: 'public',
    name: 'items',
    columns: [
      keyColumn('id', types.int4),
      column('title', types.text),
      column('stock', types.int4),
      column('manual', types.toasted),
    ],
    key: ['id'],
    identity: 'default',
    randomKey: random => ({ id: random.below(KEYS) - 20 }),
  },
  {
    schema: 'public',
    name: 'tags',
    columns: [
      column('manual', types.toasted),
      keyColumn('code', types.text),
      column('label', types.text, false),
    ],
    key: ['code'],
    identity: 'default',
    randomKey: random => ({
      code: random.pick(keyTexts) + (random.chance(0.1) ? '' : random.below(KEYS / keyTexts.length)),
    }),
  },
  {
    // The key's order is not the columns' order, and the names need quoting.
    schema: 'Odd schema',
    name: 'Mem"bers',
    columns: [
      keyColumn('group', types.int4),
      column('Note', types.text),
      keyColumn('userName', types.text),
      column('is active', types.bool, false),
      column('bio', types.toasted),
    ],
    key: ['userName', 'group'],
    identity: 'default',
    randomKey: random => ({ userName: random.pick(keyTexts), group: random.below(KEYS / keyTexts.length) }),
  },
  {
    schema: 'public',
    name: 'journal',
    columns: [keyColumn('id', types.int8), column('message', types.toasted), column('level', types.int4)],
    key: ['id'],
    identity: 'full',
    // Beyond 2^53, where two neighbours are one JavaScript number.
    randomKey: random => ({ id: String(9_007_199_254_740_992n + BigInt(random.below(KEYS))) }),
  },
  {
    schema: 'public',
    name: 'specimens',
    columns: [
      keyColumn('id', types.uuid),
      column('big', types.int8),
      column('exact', types.numeric),
      column('rough', types.float8),
      column('flag', types.bool),
      column('at', types.timestamptz),
      column('doc', types.jsonb),
      column('blob', types.bytea),
      column('list', types.textArray),
      column('other', types.uuid),
      column('long', types.toasted),
    ],
    key: ['id'],
    identity: 'default',
    randomKey: random => ({
      id: `c0ffee00-0000-4000-8000-${random.below(KEYS).toString(16).padStart(12, 'a')}`,
    }),
  },
]

/** The same, without NaN and the infinities. */
export const finiteTables: readonly SimulatedTable[] = simulatedTables.map(table => ({
  ...table,
  columns: table.columns.map(each =>
    each.type === types.numeric ? { ...each, type: types.finiteNumeric } : each,
  ),
}))

/** How many keys the table with many rows can have. */
const CROWD_KEYS = 2_400

/**
 * A table with many rows, most of which stay as they are: a load takes a while, and what goes wrong in the middle of one, or what
 * is told of it, concerns all of them.
 */
export const crowdedTable: SimulatedTable = {
  schema: 'public',
  name: 'parts',
  columns: [
    keyColumn('id', types.int4),
    column('name', types.text),
    column('price', types.finiteNumeric),
    column('made', types.timestamptz),
    column('details', types.jsonb),
  ],
  key: ['id'],
  identity: 'default',
  randomKey: random => ({ id: random.below(CROWD_KEYS) }),
  crowd: { firstRows: 2_000, statementFactor: 60 },
}

/** The key's columns of a row. */
export function keyOf(table: SimulatedTable, row: Row): Row {
  return Object.fromEntries(table.key.map(name => [name, row[name]!]))
}

/** A row's key as one string: equal for equal keys only. */
export function keyText(table: SimulatedTable, row: Row): string {
  return JSON.stringify(table.key.map(name => row[name]))
}

export function randomValue(column: SimulatedColumn, random: Random): Literal {
  return column.nullable && random.chance(0.15) ? null : column.type.random(random)
}

/** The row as `pg` gives it for a SELECT of all columns. */
export function seenRow(table: SimulatedTable, row: Row): Record<string, unknown> {
  return Object.fromEntries(table.columns.map(column => [column.name, seenValue(column, row[column.name]!)]))
}

export function seenValue(column: SimulatedColumn, literal: Literal): unknown {
  return literal === null ? null : column.type.seen(literal)
}
