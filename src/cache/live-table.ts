import type { AppliedTable } from '../apply/binding.js'
import type { TableMapping } from '../mapping/mapping.js'
import { createRowFactory, type RowFactory } from '../mapping/values.js'
import { AddedIndexes } from '../query/added-indexes.js'
import { Finder } from '../query/find.js'
import { hasIntegerKey, KeyReader } from '../query/key.js'
import type { LiveTable } from '../query/live.js'
import { UniqueKeys } from '../query/unique.js'
import type { Store } from '../store/store.js'
import type { TableLayout } from '../store/table.js'

/** A mapped table in a store of its own generation; `apart`: it is no part of that yet. It has the declared indexes and those that were added. */
export function liveTable(
  store: Store,
  mapping: TableMapping,
  place: 'within' | 'apart' = 'within',
  added = new AddedIndexes(),
): LiveTable & AppliedTable {
  const rows: RowFactory = createRowFactory(mapping)
  const layout: TableLayout = {
    name: mapping.name,
    columns: mapping.columns.length,
    key: mapping.key,
    integerKey: hasIntegerKey(mapping),
    ...(mapping.keep === 'all' ? {} : { bounds: mapping.keep }),
    decode: (values, ascii) => rows.decode(values, ascii),
    read: decoded => rows.read(decoded),
  }
  const table = place === 'within' ? store.addTable(layout) : store.makeTable(layout)
  return {
    mapping,
    keys: new KeyReader(mapping),
    uniques: new UniqueKeys(mapping),
    rows,
    finder: new Finder(mapping, table, rows, added.columnsOf(mapping)),
    store,
    table,
    filler: null,
  }
}
