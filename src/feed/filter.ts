import { TEXT, TupleView } from '../change/change.js'
import type { RecordFormat } from '../store/record.js'
import type { FeedRecord, FeedRow } from './ring.js'

/** Which rows of a table a reader means. */
export interface RowFilter {
  /** Looks at the row's texts, in SELECT order; decodes nothing. */
  readonly matches: (row: TupleView) => boolean
  /** Whether a row may be meant of which the values of these columns, one or more, are not known. */
  readonly mayMatch: (row: TupleView, untold: readonly number[]) => boolean
  /** A column, and the texts that it has in all rows that are meant: so its readers are found by a look-up. Null if there is none. */
  readonly equality: { readonly column: number; readonly texts: readonly string[] } | null
}

/** One row at a time is looked at. */
const view = new TupleView()

/**
 * A change as a reader of the filtered table sees it: a row that begins to match comes, one that ceases to goes. Null if it does not
 * concern the reader. A row of which not all is known counts as one that matches, unless what is known says that it does not.
 */
export function filtered(record: FeedRecord, filter: RowFilter, format: RecordFormat): FeedRecord | null {
  if (record.kind !== 'write') return record
  const { old, next } = record
  const wasThere = old !== null && isMeant(old, filter, format)
  const isThere = next !== null && isMeant(next, filter, format)
  if (wasThere === (old !== null) && isThere === (next !== null)) return record
  if (!wasThere && !isThere) return null
  return { kind: 'write', old: wasThere ? old : null, next: isThere ? next : null }
}

function isMeant({ bytes, untold = [] }: FeedRow, filter: RowFilter, format: RecordFormat): boolean {
  format.read(bytes, 0, view)
  return untold.length === 0 ? filter.matches(view) : filter.mayMatch(view, untold)
}

/** The text that the row has in this column; null for NULL. */
export function textIn({ bytes, ascii }: FeedRow, column: number, format: RecordFormat): string | null {
  format.read(bytes, 0, view)
  if (view.kinds[column] !== TEXT) return null
  return bytes.toString(ascii ? 'latin1' : 'utf8', view.starts[column], view.ends[column])
}
