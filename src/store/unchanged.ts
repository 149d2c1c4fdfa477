import { NULL, TEXT, type TupleView } from '../change/change.js'
import type { RecordFormat } from './record.js'

/** Where an update's unchanged TOAST values come from, best first: its old tuple, then the row in memory. */
export interface UnchangedSources {
  /** The old tuple, in the new one's order. Its first `oldColumns` places may be read: the key's, or all. */
  readonly old: TupleView | null
  readonly oldColumns: number
  /** The row before the update, in SELECT order. */
  readonly base: TupleView | null
}

/**
 * One whole tuple, in a record's order: the values of `row`, and those of `sources` where it has none. False if a value is in
 * neither. Slow, and rare: all values are copied into one run of bytes.
 */
export function mergeUnchanged(
  format: RecordFormat,
  row: TupleView,
  order: Int32Array,
  sources: UnchangedSources,
  into: TupleView,
): boolean {
  const picked: { view: TupleView; at: number }[] = []
  let bytes = 0
  for (let i = 0; i < format.columns; i++) {
    const pick = pickValue(format, row, order, sources, i)
    if (pick === null) return false
    bytes += pick.view.kinds[pick.at] === TEXT ? pick.view.ends[pick.at]! - pick.view.starts[pick.at]! : 0
    picked.push(pick)
  }
  const merged = Buffer.allocUnsafe(bytes)
  let to = 0
  for (const [i, { view, at }] of picked.entries()) {
    into.kinds[i] = view.kinds[at]!
    into.starts[i] = to
    if (view.kinds[at] === TEXT) {
      merged.set(view.bytes.subarray(view.starts[at]!, view.ends[at]!), to)
      to += view.ends[at]! - view.starts[at]!
    }
    into.ends[i] = to
  }
  into.bytes = merged
  into.count = format.columns
  return true
}

function pickValue(
  format: RecordFormat,
  row: TupleView,
  order: Int32Array,
  { old, oldColumns, base }: UnchangedSources,
  place: number,
): { view: TupleView; at: number } | null {
  const at = order[place]!
  if (isValue(row.kinds[at]!)) return { view: row, at }
  if (old !== null && place < oldColumns && isValue(old.kinds[at]!)) return { view: old, at }
  return base === null ? null : { view: base, at: format.column(place) }
}

function isValue(kind: number): boolean {
  return kind === TEXT || kind === NULL
}
