import { describe, expect, test } from 'vitest'
import { Model } from '../../simulation/model.js'
import { type Row, simulatedTables } from '../../simulation/tables.js'

const items = simulatedTables.find(table => table.name === 'items')!
const item = (id: number, title = 'a'): Row => ({ id, title, stock: 1, manual: null })
const insert = (writer: number, ...rows: Row[]) => ({ kind: 'insert', writer, table: items, rows }) as const
const update = (writer: number, id: number, set: Row) =>
  ({ kind: 'update', writer, table: items, keys: [{ id }], set }) as const
const titles = (rows: Iterable<Row>) =>
  [...rows].map(row => `${String(row['id'])} ${String(row['title'])}`).sort()

describe('the model', () => {
  test('shows a row to its writer at once and to others when it has committed', () => {
    const model = new Model(simulatedTables)
    model.apply({ kind: 'begin', writer: 0 })
    model.apply({ kind: 'begin', writer: 1 })
    expect(model.apply(insert(0, item(1), item(2)))).toBe(2)
    expect(model.has(0, items, { id: 1 })).toBe(true)
    expect(model.has(1, items, { id: 1 })).toBe(false)
    model.apply({ kind: 'commit', writer: 0 })
    expect(titles(model.rows(1, items))).toEqual(['1 a', '2 a'])
    expect([model.transactions, model.changes]).toEqual([1, 2])
  })

  test('forgets what was done after a savepoint, and what was rolled back', () => {
    const model = new Model(simulatedTables)
    model.apply({ kind: 'begin', writer: 0 })
    model.apply(insert(0, item(1)))
    model.apply({ kind: 'savepoint', writer: 0, name: 's' })
    model.apply(update(0, 1, { title: 'b' }))
    model.apply({ kind: 'truncate', writer: 0, tables: [items] })
    model.apply(insert(0, item(3)))
    model.apply({ kind: 'rollback to', writer: 0, name: 's' })
    expect(titles(model.rows(0, items))).toEqual(['1 a'])
    model.apply({ kind: 'commit', writer: 0 })
    expect(model.changes).toBe(1)
    model.apply({ kind: 'begin', writer: 0 })
    model.apply({ kind: 'delete', writer: 0, table: items, keys: [{ id: 1 }] })
    model.apply({ kind: 'rollback', writer: 0 })
    expect(titles(model.rows(0, items))).toEqual(['1 a'])
  })

  test('moves a row to its new key, and counts rows that are not there as untouched', () => {
    const model = new Model(simulatedTables)
    model.apply({ kind: 'begin', writer: 0 })
    model.apply(insert(0, item(1)))
    expect(model.apply(update(0, 1, { id: 2, title: 'b' }))).toBe(1)
    expect(model.apply(update(0, 1, { title: 'c' }))).toBe(0)
    expect(titles(model.rows(0, items))).toEqual(['2 b'])
  })

  test('hands out states that later commits leave alone', () => {
    const model = new Model(simulatedTables)
    const before = model.committed
    model.apply({ kind: 'begin', writer: 0 })
    model.apply(insert(0, item(1)))
    model.apply({ kind: 'commit', writer: 0 })
    expect(before.get(items)!.size).toBe(0)
    expect(model.committed.get(items)!.size).toBe(1)
  })

  test('refuses a history that Postgres would refuse', () => {
    const model = new Model(simulatedTables)
    model.apply({ kind: 'begin', writer: 0 })
    model.apply(insert(0, item(1)))
    expect(() => model.apply(insert(0, item(1)))).toThrow('has a row [1] already')
    expect(() => model.apply({ kind: 'commit', writer: 1 })).toThrow('no transaction')
    expect(() => model.apply({ kind: 'release', writer: 0, name: 'x' })).toThrow('no savepoint x')
  })
})
