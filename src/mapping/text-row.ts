import { NULL, TEXT, TupleView } from '../change/change.js'
import type { TextRow } from '../runtime.js'
import { quoteIdentifier } from '../sql/quote.js'
import type { TableMapping } from './mapping.js'

/** The columns of a mapped table for a SELECT from it as `t`, named by their position, so that no column's name means anything here. */
export function selectList({ columns }: TableMapping): string {
  return columns.map(({ column }, position) => `t.${quoteIdentifier(column)} AS c${position}`).join(', ')
}

/** Points `view` at the values of a row that has the columns `c0`, `c1`, ...; to be used again for the next row, since a view is large. */
export function tupleOfRow(columns: number, row: TextRow, view: TupleView): TupleView {
  const texts = Array.from({ length: columns }, (_, position) => row[`c${position}`] ?? null)
  view.bytes = Buffer.from(texts.map(text => text ?? '').join(''))
  view.count = texts.length
  let at = 0
  for (const [column, text] of texts.entries()) {
    view.kinds[column] = text === null ? NULL : TEXT
    view.starts[column] = at
    at += text === null ? 0 : Buffer.byteLength(text)
    view.ends[column] = at
  }
  return view
}
