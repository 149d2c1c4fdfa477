import { NULL, TEXT, TupleView } from '../change/change.js'
import { DivergedError } from '../errors.js'
import type { TableFilter } from '../mapping/table-filter.js'
import type { RecordFormat } from '../store/record.js'
import type { TableStore } from '../store/table.js'

// A table with a filter is what is in memory of it: of the rows outside nothing is kept. So what a change means goes by whether the row
// before it is in memory, and whether the filter holds for the row after it. Old tuples are not needed for that: the stream seldom has them.

/** A table's filter, prepared for the tuples of one shape of its relation. */
export interface BoundFilter {
  readonly filter: TableFilter
  /** For each of its columns, where it is in the relation's tuples, and in a record. */
  readonly inTuple: Int32Array
  readonly inRecord: Int32Array
}

/** The relation of a table with a filter. */
interface FilteredRelation {
  readonly mapping: { readonly name: string; readonly oid: number }
  readonly table: TableStore
  readonly order: Int32Array
}

/** A row that may have come in from outside, by an update that does not say all of it: a TOASTed value was left alone, and nothing else has it. */
export interface Entering {
  /** Its key, as a record begins with it. */
  readonly key: Buffer
}

export function bindFilter(
  filter: TableFilter,
  format: RecordFormat,
  positionOf: (column: number) => number,
): BoundFilter {
  const columnAt = format.order(column => column)
  return {
    filter,
    inTuple: Int32Array.from(filter.columns, positionOf),
    inRecord: Int32Array.from(filter.columns, column => columnAt.indexOf(column)),
  }
}

/** One tuple at a time is looked at. */
const seen = new TupleView()

/** Whether the values that the filter looks at were all sent. */
function isTold(places: Int32Array, { kinds }: TupleView): boolean {
  for (let i = 0; i < places.length; i++) if (!isValue(kinds[places[i]!]!)) return false
  return true
}

function isKept({ columns, matches }: TableFilter, places: Int32Array, tuple: TupleView): boolean {
  seen.bytes = tuple.bytes
  for (let i = 0; i < places.length; i++) {
    const column = columns[i]!
    const place = places[i]!
    seen.kinds[column] = tuple.kinds[place]!
    seen.starts[column] = tuple.starts[place]!
    seen.ends[column] = tuple.ends[place]!
  }
  return matches(seen)
}

function isValue(kind: number): boolean {
  return kind === TEXT || kind === NULL
}

/** Adds the row if it is to be kept. `begun` gives the number to write under; called only if something is written. Throws as the table does. */
export function insertKept(
  { table, mapping, order }: FilteredRelation,
  { filter, inTuple }: BoundFilter,
  row: TupleView,
  begun: () => number,
): Entering | null {
  if (!isTold(inTuple, row)) return entering(table.format, order, null, row)
  if (!isKept(filter, inTuple, row)) {
    if (table.holds(row, order))
      throw new DivergedError(mapping.name, 'a row was inserted whose key is there already.')
    return null
  }
  if (table.format.measure(row, order, table.format.columns) < 0)
    return entering(table.format, order, null, row)
  table.insert(row, order, begun())
  return null
}

/**
 * The row goes on being kept, comes in, leaves, or stays outside. As `insertKept`. Rows of `admitted` (`admissionOf`) are in memory as the
 * transaction in progress leaves them, not as they are before this change, and so have no values for it.
 */
export function updateKept(
  { table, mapping, order }: FilteredRelation,
  { filter, inTuple, inRecord }: BoundFilter,
  old: TupleView | null,
  oldIsFull: boolean,
  row: TupleView,
  begun: () => number,
  admitted: ReadonlySet<string>,
): Entering | null {
  const isHeld = table.holds(old ?? row, order)
  if (
    isHeld &&
    admitted.size > 0 &&
    admitted.has(admissionOf(mapping.oid, entering(table.format, order, null, old ?? row)))
  ) {
    if (table.whole(old, oldIsFull, row, order, false) === null) {
      table.remove(old ?? row, order, begun())
      return entering(table.format, order, old, row)
    }
  }
  let keep: boolean
  if (isTold(inTuple, row)) keep = isKept(filter, inTuple, row)
  else {
    const whole = table.whole(old, oldIsFull, row, order, isHeld)
    if (whole === null) return entering(table.format, order, old, row)
    keep = isKept(filter, inRecord, whole)
  }
  if (isHeld) {
    if (keep) table.update(old, oldIsFull, row, order, begun())
    else table.remove(old ?? row, order, begun())
    return null
  }
  if (!keep) return null
  if (table.format.measure(row, order, table.format.columns) >= 0) table.insert(row, order, begun())
  else {
    const whole = table.whole(old, oldIsFull, row, order, false)
    if (whole === null) return entering(table.format, order, old, row)
    table.insert(whole, table.wholeOrder, begun())
  }
  return null
}

/** Removes the row if it is there. */
export function removeKept(
  { table, order }: FilteredRelation,
  old: TupleView,
  oldIsFull: boolean,
  begun: () => number,
): void {
  if (table.holds(old, order)) table.remove(old, order, begun(), oldIsFull)
}

/** What stands for a row that was asked for and admitted. */
export function admissionOf(oid: number, { key }: Entering): string {
  return `${oid}:${key.toString('latin1')}`
}

/** A part of the key that was TOASTed and left alone is in the old key. */
function entering(format: RecordFormat, order: Int32Array, old: TupleView | null, row: TupleView): Entering {
  const parts = Array.from({ length: format.keyColumns }, (_, place) => {
    const at = order[place]!
    const { bytes, starts, ends } = isValue(row.kinds[at]!) || old === null ? row : old
    return bytes.subarray(starts[at]!, ends[at]!)
  })
  return { key: format.pack(parts) }
}
