import { NULL, TEXT, type TupleView } from '../change/change.js'
import type { ToldRow } from './packed-row.js'
import type { RecordFormat } from './record.js'

/** Where values of a row are: in the first `count` places of `order`, in a record's order. */
export interface Telling {
  readonly view: TupleView
  readonly order: Int32Array
  readonly count: number
}

/** A copy of what these tuples tell of one row, the first that has a value for it. */
export function toldRow(format: RecordFormat, ...tellings: readonly Telling[]): ToldRow {
  const [first] = tellings
  const length =
    first?.count === format.columns ? format.measure(first.view, first.order, format.columns) : -1
  if (first === undefined || length < 0) return partlyTold(format, tellings)
  const bytes = Buffer.allocUnsafe(length)
  const ascii = format.write(first.view, first.order, format.columns, bytes, 0)
  return { bytes, ascii, untold: [] }
}

function partlyTold(format: RecordFormat, tellings: readonly Telling[]): ToldRow {
  const values: (Uint8Array | null)[] = []
  const untold: number[] = []
  for (let place = 0; place < format.columns; place++) {
    const telling = tellings.find(({ view, order, count }) => place < count && isValue(view, order[place]!))
    if (telling === undefined) untold.push(format.column(place))
    values.push(telling === undefined ? null : valueAt(telling.view, telling.order[place]!))
  }
  return { bytes: format.pack(values), ascii: false, untold }
}

function isValue({ kinds }: TupleView, at: number): boolean {
  return kinds[at] === TEXT || kinds[at] === NULL
}

function valueAt({ kinds, bytes, starts, ends }: TupleView, at: number): Uint8Array | null {
  return kinds[at] === TEXT ? bytes.subarray(starts[at]!, ends[at]!) : null
}
