import { expect, test } from 'vitest'
import type { BoundRelation } from '../../src/apply/binding.js'
import { RowLostError } from '../../src/apply/filtered-writes.js'
import { liveTable } from '../../src/cache/live-table.js'
import { UNCHANGED } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import { TableReloadingError } from '../../src/errors.js'
import type { TableMapping } from '../../src/mapping/mapping.js'
import { keptRows } from '../../src/query/kept-rows.js'
import { Store } from '../../src/store/store.js'
import { applierOf } from '../support/applier.js'
import { mappingOf, relationOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'

const plain = mappingOf('docs', ['id', 'state', 'body'], ['id'])
const filter = keptRows(plain, { state: 'open' })
if (typeof filter === 'string') throw new Error(filter)
const mapping: TableMapping = { ...plain, filter }

/** A table with a filter that is being read anew; the server has `rows` as their transactions have left them. */
function closed(rows: Readonly<Record<string, string>>) {
  const store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 24, hashSeed: 1 })
  const before = liveTable(store, mapping)
  const asked: number[] = []
  const applier = applierOf(store, [before], {
    onEntering: async ({ table: { format } }, key, xid) => {
      asked.push(xid)
      // The key of one short column: its length, and its text.
      const body = rows[key.toString('utf8', 1)]
      return body === undefined
        ? null
        : format.pack([key.subarray(1), Buffer.from('open'), Buffer.from(body)])
    },
  })
  let position = 0x100n
  const commit = (): void => applier.commit((position += 0x10n) as Lsn, 0)
  applier.begin(1)
  const bound = applier.relation(relationOf(plain))!
  commit()
  const error = new TableReloadingError(mapping.name)
  const shut = liveTable(store, mapping, 'apart')
  shut.table.fail(error)
  applier.setAside(mapping.oid, shut)
  store.remove(before.table, error)
  const live = liveTable(store, mapping, 'apart')
  live.table.load(tupleOf('1', 'open', 'read'), store.visible)
  return {
    applier,
    asked,
    live,
    transaction(xid: number, changes: (bound: BoundRelation) => void): void {
      applier.begin(xid)
      changes(bound)
      commit()
    },
    rows: () => live.finder.findMany({}, store.visible).map(row => Object.values(row)),
  }
}

test('what was set aside comes in and leaves as the filter says, on top of what was read', async () => {
  const { applier, asked, live, transaction, rows } = closed({ 4: 'a long text' })
  transaction(10, bound => applier.insert(bound, tupleOf('9', 'open', 'the query saw it, and then it left')))
  transaction(11, bound => {
    applier.update(bound, null, false, tupleOf('1', 'shut', UNCHANGED))
    applier.insert(bound, tupleOf('2', 'shut', 'text'))
    applier.insert(bound, tupleOf('3', 'open', 'text'))
    applier.update(bound, null, false, tupleOf('4', 'open', UNCHANGED))
    applier.delete(bound, tupleOf('5', null, null), false)
  })
  await applier.adopt(mapping.oid, live, SqlSnapshot.parse('11:11:'))
  expect(rows()).toEqual([
    [3, 'open', 'text'],
    [4, 'open', 'a long text'],
  ])
  expect(asked).toEqual([11])
  transaction(12, bound => applier.update(bound, null, false, tupleOf('3', 'shut', 'text')))
  expect(rows()).toEqual([[4, 'open', 'a long text']])
})

test('a row that is not to be had has the table read once more', async () => {
  const { applier, live, transaction } = closed({})
  transaction(11, bound => applier.update(bound, null, false, tupleOf('4', 'open', UNCHANGED)))
  await expect(applier.adopt(mapping.oid, live, SqlSnapshot.parse('11:11:'))).rejects.toThrow(RowLostError)
})
