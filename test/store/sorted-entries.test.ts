import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Batch, Place, SortedEntries } from '../../src/store/index/sorted-entries.js'
import { MemoryAccount, MemoryBudget } from '../../src/store/memory.js'

const account = (): MemoryAccount => new MemoryAccount('t', 2 ** 30, new MemoryBudget(2 ** 30))

function entriesFrom(entries: SortedEntries, low: number, high: number): [number, number][] {
  const from = new Place()
  const to = new Place()
  const batch = new Batch(7, 1)
  entries.seek(Float64Array.of(low), 1, false, from)
  entries.seekFrom(from, Float64Array.of(high), 1, true, to)
  const sought = new Place()
  entries.seek(Float64Array.of(high), 1, true, sought)
  const count = entries.countBetween(from, to)
  expect(entries.countBetween(from, sought)).toBe(count)
  const found: [number, number][] = []
  for (let n = entries.next(from, to, 9, batch); n > 0; n = entries.next(from, to, 9, batch))
    for (let i = 0; i < n; i++) found.push([batch.keys[i]!, batch.rows[i]!])
  expect(found).toHaveLength(count)
  return found
}

test('entries come in order, each once, whatever was added and removed before', () => {
  const step = fc.record({ add: fc.boolean(), key: fc.nat(40), row: fc.nat(60) })
  fc.assert(
    fc.property(fc.array(step, { minLength: 500, maxLength: 3000 }), steps => {
      const memory = account()
      const entries = new SortedEntries(1, memory)
      const model = new Set<string>()
      for (const { add, key, row } of steps) {
        if (add) entries.add(Float64Array.of(key), row)
        else entries.remove(Float64Array.of(key), row)
        if (add) model.add(`${key}/${row}`)
        else model.delete(`${key}/${row}`)
      }
      const expected = [...model]
        .map(each => each.split('/').map(Number) as [number, number])
        .sort((a, b) => a[0] - b[0] || a[1] - b[1])
      expect(entries.size).toBe(model.size)
      expect(entriesFrom(entries, 0, 40)).toEqual(expected)
      expect(entriesFrom(entries, 7, 12)).toEqual(expected.filter(([key]) => key >= 7 && key <= 12))
      const back = new Place()
      const start = new Place()
      entries.seek(Float64Array.of(40), 1, true, back)
      const backwards: number[] = []
      const batch = new Batch(50, 1)
      for (
        let n = entries.previous(back, start, 3, batch);
        n > 0;
        n = entries.previous(back, start, 3, batch)
      )
        backwards.unshift(...batch.rows.subarray(0, n).toReversed())
      expect(backwards).toEqual(expected.map(([, row]) => row))
      entries.clear()
      expect(memory.usedBytes).toBe(0)
    }),
    { numRuns: 30 },
  )
})

test('ascending keys fill their leaves: an entry takes little more than its number and its row', () => {
  const memory = account()
  const entries = new SortedEntries(1, memory)
  for (let i = 0; i < 100_000; i++) entries.add(Float64Array.of(i), i)
  expect(memory.usedBytes / 100_000).toBeLessThan(12.1)
})
