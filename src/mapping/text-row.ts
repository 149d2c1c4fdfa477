import { NULL, TEXT, TupleView } from '../change/change.js'
import { TableReloadingError } from '../errors.js'
import type { TextRow } from '../runtime.js'
import { quoteIdentifier, quoteQualified } from '../sql/quote.js'
import type { TableMapping } from './mapping.js'

/** The columns of a mapped table for a SELECT from it as `t`, named by their position, so that no column's name means anything here. */
export function selectList({ columns }: TableMapping): string {
  return columns.map(({ column }, position) => `t.${quoteIdentifier(column)} AS c${position}`).join(', ')
}

/**
 * An SQL expression for whether the mapped columns have, in the very statement, the types that their texts are read by. An ALTER TABLE is noticed only
 * later, and until the table has been read anew as well: an integer that has become a text would be read as some number.
 *
 * The row type of a table is that of its columns; no row is looked at.
 */
export function sameTypes({ schema, table, columns }: TableMapping): string {
  const types = columns.map(
    ({ column }) =>
      `pg_catalog.pg_typeof((NULL::${quoteQualified(schema, table)}).${quoteIdentifier(column)})`,
  )
  return `ARRAY[${types.join(', ')}]::pg_catalog.oid[]::text = '{${columns.map(({ typeOid }) => typeOid).join(',')}}'`
}

/** @throws {TableReloadingError} if what `sameTypes` says in this row, under the name `same`, is no. */
export function mustBeSame({ name }: TableMapping, row: TextRow): void {
  if (row['same'] !== 't') throw new TableReloadingError(name, 'was altered: its columns have other types')
}

/** Of the columns that `selectList` gives, so many as were needed so far. */
const names: string[] = []

/** Points `view` at the values of a row that has the columns `c0`, `c1`, ...; to be used again for the next row, since a view is large. */
export function tupleOfRow(columns: number, row: TextRow, view: TupleView): TupleView {
  for (let column = names.length; column < columns; column++) names.push(`c${column}`)
  let texts = ''
  let at = 0
  for (let column = 0; column < columns; column++) {
    const text = row[names[column]!] ?? null
    view.kinds[column] = text === null ? NULL : TEXT
    view.starts[column] = at
    if (text !== null) {
      texts += text
      at += Buffer.byteLength(text)
    }
    view.ends[column] = at
  }
  view.bytes = Buffer.from(texts)
  view.count = columns
  return view
}
