import { defineTable } from '../../src/index.js'

/** The types that are simulated: one for each way in which a decoder may send a value. */
export type TypeName = 'int4' | 'int8' | 'bool' | 'text'

export const TYPE_OIDS: Readonly<Record<TypeName, number>> = { bool: 16, int8: 20, int4: 23, text: 25 }

export interface ColumnSpec {
  readonly name: string
  readonly type: TypeName
  readonly notNull: boolean
  /** Long values are stored out of line: an UPDATE that leaves one alone does not log it. */
  readonly external: boolean
}

export interface TableSpec {
  readonly name: string
  readonly oid: number
  readonly columns: readonly ColumnSpec[]
  /** Positions of the primary key's columns. */
  readonly key: readonly number[]
  readonly identity: 'default' | 'full'
  /** Rows that memory keeps; null: all. */
  readonly maxRows: number | null
  /** Whether the cache declares it; another one is somebody else's. */
  readonly isMapped: boolean
  /** A column whose sum over its tables no commit changes; -1 if there is none. */
  readonly balance: number
}

/** A row as PostgreSQL's texts. */
export type Texts = readonly (string | null)[]

/** From so many characters on a value is stored out of line. */
export const EXTERNAL_LENGTH = 48

const column = (name: string, type: TypeName, options: Partial<ColumnSpec> = {}): ColumnSpec => ({
  name,
  type,
  notNull: false,
  external: false,
  ...options,
})
const key = (name: string, type: TypeName): ColumnSpec => column(name, type, { notNull: true })
const big = column('big', 'text', { external: true })

const table = (
  name: string,
  oid: number,
  columns: readonly ColumnSpec[],
  rest: Partial<TableSpec> = {},
): TableSpec => ({
  name,
  oid,
  columns,
  key: [0],
  identity: 'default',
  maxRows: null,
  isMapped: true,
  balance: -1,
  ...rest,
})

export const accounts = table('accounts', 16_401, [
  key('id', 'int4'),
  column('owner', 'text'),
  column('visits', 'int8'),
  column('active', 'bool'),
  big,
])
/** A key of two columns, out of the table's order, and old rows that are sent whole. */
export const lines = table(
  'lines',
  16_402,
  [column('note', 'text'), key('no', 'int4'), big, key('sku', 'text'), column('amount', 'int4')],
  { key: [3, 1], identity: 'full' },
)
export const cash = table('cash', 16_403, [key('id', 'int4'), column('amount', 'int4')], { balance: 1 })
export const bank = table('bank', 16_404, [key('id', 'int4'), column('amount', 'int4')], {
  balance: 1,
  identity: 'full',
})
/** Of this one memory keeps the rows used last. */
export const items = table(
  'items',
  16_405,
  [key('id', 'int4'), column('grp', 'int4'), column('n', 'int8'), big],
  { maxRows: 12 },
)
/** The same, and old rows are sent whole. */
export const events = table(
  'events',
  16_407,
  [key('id', 'int4'), column('what', 'text'), big, column('seen', 'bool')],
  { maxRows: 9, identity: 'full' },
)
/** Another application's. */
export const foreign = table('foreign_log', 16_406, [key('id', 'int4'), column('what', 'text')], {
  isMapped: false,
})

export const TABLES: readonly TableSpec[] = [accounts, lines, cash, bank, items, events, foreign]

export type Row = Readonly<Record<string, unknown>>

export type Declaration = ReturnType<typeof defineTable<Row>>

/** What the cache is told of a table. A declaration is good for one cache. */
export function declarationOf({ name, columns, maxRows }: TableSpec): Declaration {
  return defineTable<Row>({
    name,
    columns: columns.map(each => each.name),
    ...(maxRows === null ? {} : { keep: { maxRows } }),
  })
}

/** The key's texts as one: what a row is found by. */
export function keyOf(spec: TableSpec, texts: Texts): string {
  return spec.key.length === 1 ? texts[spec.key[0]!]! : spec.key.map(at => texts[at]).join('\u001f')
}

/** The key of a row that somebody shows. */
export function keyOfRow(spec: TableSpec, row: Row): string {
  return keyOf(
    spec,
    spec.columns.map(({ name }, at) => (spec.key.includes(at) ? String(row[name]) : null)),
  )
}

/** A key as a reader asks for it: by its properties. */
export function propertiesOf(spec: TableSpec, key: string): Row {
  const parts = key.split('\u001f')
  return Object.fromEntries(
    spec.key.map((at, part) => [spec.columns[at]!.name, jsValue(spec.columns[at]!.type, parts[part]!)]),
  )
}

/** What `pg` makes of a text, written apart from what the cache uses. */
export function jsValue(type: TypeName, text: string | null): unknown {
  if (text === null) return null
  if (type === 'int4') return Number(text)
  if (type === 'bool') return text === 't'
  return text
}
