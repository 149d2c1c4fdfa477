import { NULL, TEXT, TupleView } from '../change/change.js'
import type { TextRow } from '../runtime.js'
import { quoteIdentifier } from '../sql/quote.js'
import type { TableMapping } from './mapping.js'

/** The columns of a mapped table for a SELECT from it as `t`, named by their position, so that no column's name means anything here. */
export function selectList({ columns }: TableMapping): string {
  return columns.map(({ column }, position) => `t.${quoteIdentifier(column)} AS c${position}`).join(', ')
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
