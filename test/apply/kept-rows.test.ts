import { describe, expect, test } from 'vitest'
import { liveTable } from '../../src/cache/live-table.js'
import { UNCHANGED } from '../../src/change/change.js'
import { DivergedError } from '../../src/errors.js'
import type { TableMapping } from '../../src/mapping/mapping.js'
import { keptRows } from '../../src/query/kept-rows.js'
import { type ScriptChange, type ScriptRow, ScriptSource } from '../../src/source/script-source.js'
import type { WriteObserver } from '../../src/store/table.js'
import { NONE } from '../../src/store/address.js'
import { Store } from '../../src/store/store.js'
import { applierOf, applyAll } from '../support/applier.js'
import { mappingOf, relationOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'

const plain = mappingOf('docs', ['id', 'state', 'body'], ['id'])
const relation = relationOf(plain)

function filtered(where: object): TableMapping {
  const filter = keptRows(plain, where)
  if (typeof filter === 'string') throw new Error(filter)
  return { ...plain, filter }
}

const insert = (id: number, state: string | null, body: ScriptRow[string] = 'text'): ScriptChange => ({
  kind: 'insert',
  relation,
  row: { id: String(id), state, body },
})
const update = (
  id: number,
  state: ScriptRow[string],
  body: ScriptRow[string] = 'text',
  oldId?: number,
): ScriptChange => ({
  kind: 'update',
  relation,
  old: oldId === undefined ? null : { id: String(oldId) },
  row: { id: String(id), state, body },
})
const remove = (id: number): ScriptChange => ({ kind: 'delete', relation, old: { id: String(id) } })

type Told = [before: string | null, after: string | null]

function open(where: object, server: Readonly<Record<number, readonly [string | null, string]>> = {}) {
  const store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 26, hashSeed: 1 })
  const live = liveTable(store, filtered(where))
  const { table } = live
  const asked: string[] = []
  const told: Told[] = []
  let silent = 0
  const stateOf = (record: number): string | null =>
    record === NONE ? null : (table.decode(record) as { state: string }).state
  table.observer = {
    wrote: (before, after) => told.push([stateOf(before), stateOf(after)]),
    told: () => undefined,
    truncated: () => undefined,
    failed: () => undefined,
  } satisfies WriteObserver
  const applier = applierOf(store, [live], {
    onSilentCommit: () => void silent++,
    onEntering: async (_, key, xid) => {
      table.format.readKey(key, 0, view)
      const id = key.toString('utf8', view.starts[0], view.ends[0])
      asked.push(`${id} of ${xid}`)
      const row = server[Number(id)]
      if (row === undefined) throw new DivergedError('docs', 'it is not there.')
      const tuple = tupleOf(id, ...row)
      const order = table.format.order(column => column)
      const bytes = Buffer.alloc(table.format.measure(tuple, order, 3))
      table.format.write(tuple, order, 3, bytes, 0)
      return bytes
    },
  })
  const view = tupleOf('', '', '')
  return {
    asked,
    told,
    silent: () => silent,
    rows: () => [...live.finder.findMany({}, store.visible)].map(row => Object.values(row)),
    apply: (...transactions: readonly (readonly ScriptChange[])[]): Promise<void> =>
      applyAll(applier, new ScriptSource(transactions.map(changes => ({ changes })))),
  }
}

describe('a table with a filter', () => {
  test('takes rows in and lets them go as the filter says of the row after the change', async () => {
    const { apply, rows, told } = open({ state: 'open' })
    await apply([
      insert(1, 'open'),
      insert(2, 'shut'),
      insert(3, null),
      update(1, 'shut'),
      update(2, 'open'),
      update(2, 'open', 'other'),
      update(3, 'shut'),
      remove(1),
      insert(4, 'open'),
      remove(4),
    ])
    expect(rows()).toEqual([[2, 'open', 'other']])
    expect(told).toEqual([
      [null, 'open'],
      ['open', null],
      [null, 'open'],
      ['open', 'open'],
      [null, 'open'],
      ['open', null],
    ])
  })

  test('follows a row whose key changes, in and out', async () => {
    const { apply, rows } = open({ state: 'open' })
    await apply([
      insert(1, 'open'),
      insert(2, 'shut'),
      update(11, 'open', 'text', 1),
      update(12, 'open', 'text', 2),
      insert(3, 'open'),
      update(13, 'shut', 'text', 3),
    ])
    expect(rows()).toEqual([
      [11, 'open', 'text'],
      [12, 'open', 'text'],
    ])
  })

  test('goes by what is in memory where the value that it looks at was left alone', async () => {
    const { apply, rows, asked } = open({ body: { startsWith: 'long' } }, { 2: ['c', 'short'] })
    await apply(
      [insert(1, 'a', 'long text'), insert(2, 'a', 'short')],
      [update(1, 'b', UNCHANGED)],
      // Of a row outside nothing is known but that it was outside before.
      [update(2, 'c', UNCHANGED)],
    )
    expect(rows()).toEqual([[1, 'b', 'long text']])
    expect(asked).toHaveLength(1)
  })

  test('asks for a row that comes in without a value that was left alone, before anything else is applied', async () => {
    const { apply, rows, asked } = open({ state: 'open' }, { 1: ['open', 'a long text'] })
    await apply(
      [insert(1, 'shut', 'a long text'), update(5, 'shut', UNCHANGED)],
      [update(1, 'open', UNCHANGED), insert(2, 'open')],
      [update(1, 'open', UNCHANGED)],
    )
    expect(asked).toHaveLength(1)
    expect(rows()).toEqual([
      [1, 'open', 'a long text'],
      [2, 'open', 'text'],
    ])
  })

  test('does not take in a row that its own transaction makes leave again', async () => {
    const { apply, rows, asked } = open({ state: 'open' }, { 1: ['shut', 'a long text'] })
    await apply([update(1, 'open', UNCHANGED), update(1, 'shut', UNCHANGED)])
    expect(asked).toHaveLength(1)
    expect(rows()).toEqual([])
  })

  test('never takes values for a row from one that was asked for under the key that it leaves', async () => {
    // 1 comes in, becomes 9, and 2 becomes 1: what the server has under 1 is what was 2.
    const { apply, rows, asked } = open(
      { state: 'open' },
      { 1: ['open', 'what was 2'], 9: ['open', 'what was 1'] },
    )
    await apply([
      update(1, 'open', UNCHANGED),
      update(9, 'open', UNCHANGED, 1),
      update(1, 'open', UNCHANGED, 2),
    ])
    expect(rows()).toEqual([
      [1, 'open', 'what was 2'],
      [9, 'open', 'what was 1'],
    ])
    expect(asked.map(text => text.split(' ')[0])).toEqual(['1', '9', '1'])
  })

  test('takes the values of a row from its old tuple where that is whole', async () => {
    const { apply, rows, asked } = open({ state: 'open' })
    await apply([
      {
        kind: 'update',
        relation: { ...relation, replicaIdentity: 'full' },
        old: { id: '1', state: 'shut', body: 'a long text' },
        row: { id: '1', state: 'open', body: UNCHANGED },
      },
    ])
    expect(rows()).toEqual([[1, 'open', 'a long text']])
    expect(asked).toEqual([])
  })

  test('is no hint of a TRUNCATE that is not told: the commit did change rows of the table', async () => {
    const { apply, silent } = open({ state: 'open' })
    await apply([insert(1, 'shut')], [update(1, 'shut', 'other')])
    expect(silent()).toBe(0)
  })

  test('says so when the stream contradicts memory', async () => {
    const { apply } = open({ state: 'open' })
    await apply([insert(1, 'open')])
    await expect(apply([insert(1, 'shut')])).rejects.toThrow(DivergedError)
  })
})
