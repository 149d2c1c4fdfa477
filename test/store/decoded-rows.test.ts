import { expect, test, vi } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { KeyBuffer } from '../../src/store/record.js'
import { Store } from '../../src/store/store.js'
import { textAt, tupleOf } from '../support/tuple.js'

const ROWS = 24_000

function open() {
  const store = new Store({ limitBytes: 2 ** 28, tableLimitBytes: 2 ** 28, hashSeed: 7 })
  const table = store.addTable({
    name: 'public.items',
    columns: 2,
    key: [0],
    integerKey: true,
    read: decoded => decoded,
    decode: values => ({ id: Number(textAt(values, 0)), text: textAt(values, 1) }),
  })
  const seq = store.begin()
  for (let id = 0; id < ROWS; id++) table.load(tupleOf(`${id}`, `text ${id}`), seq)
  store.publish(1n as Lsn)
  return { store, table }
}

test('rows of answers that do not fit beside each other do not drive each other out, one at each read', () => {
  const { store, table } = open()
  const readAll = (): void => {
    let wrong = 0
    for (let row = 0; row < table.rowEnd; row++) {
      const { id } = table.rowOf(table.recordAt(row, store.visible), row) as { readonly id: number }
      if (id !== row) wrong++
    }
    expect(wrong).toBe(0)
  }
  // Each is read again at once, so that it counts as read lately.
  for (let row = 0; row < table.rowEnd; row++)
    for (let again = 0; again < 3; again++) table.rowOf(table.recordAt(row, store.visible), row)
  expect(table.decoded.size).toBe(table.decoded.max)
  const set = vi.spyOn(table.decoded, 'set')
  for (let round = 0; round < 3; round++) readAll()
  expect(set.mock.calls.length).toBeLessThan(ROWS / 10)
})

test('a row that another one has driven out is kept again once it is read often', () => {
  const { store, table } = open()
  const key = new KeyBuffer()
  const read = (id: number): object | undefined => {
    key.clear()
    key.appendInteger(id)
    return table.get(key, id, store.visible)
  }
  read(5)
  const first = read(5)
  expect(read(5)).toBe(first)
  for (let id = 100; id < ROWS; id++) for (let again = 0; again < 2; again++) read(id)
  expect(table.decoded.has(5)).toBe(false)
  expect(read(5)).not.toBe(first)
  const second = read(5)
  expect(second).toEqual(first)
  expect(read(5)).toBe(second)
})
