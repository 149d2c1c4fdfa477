import { NULL, TEXT, TupleView, UNCHANGED } from '../../src/change/change.js'

export type TupleValue = string | null | typeof UNCHANGED

/** A tuple of these values, in this order. */
export function tupleOf(...values: readonly TupleValue[]): TupleView {
  const view = new TupleView()
  const texts = values.map(value => (typeof value === 'string' ? value : ''))
  view.bytes = Buffer.from(texts.join(''))
  view.count = values.length
  let at = 0
  for (const [column, value] of values.entries()) {
    view.kinds[column] = value === null ? NULL : value === UNCHANGED ? UNCHANGED : TEXT
    view.starts[column] = at
    at += Buffer.byteLength(texts[column]!)
    view.ends[column] = at
  }
  return view
}

/** The text of a value in a tuple; null for NULL. */
export function textAt(view: TupleView, column: number): string | null {
  if (view.kinds[column] === NULL) return null
  const { buffer, byteOffset, byteLength } = view.bytes
  return Buffer.from(buffer, byteOffset, byteLength).toString('utf8', view.starts[column], view.ends[column])
}
