import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashNumber } from '../../src/sql/hash-bytes.js'
import { FEW_ROWS_MAX, HashEntries } from '../../src/store/index/hash-entries.js'
import { Batch, Place } from '../../src/store/index/sorted-entries.js'
import { MemoryAccount, MemoryBudget } from '../../src/store/memory.js'

const account = (): MemoryAccount => new MemoryAccount('t', 2 ** 30, new MemoryBudget(2 ** 30))

/** Of few rows by the table, of many by the leaves. */
function rowsOf(entries: HashEntries, hash: number): number[] {
  const batch = new Batch(FEW_ROWS_MAX, 1)
  const few = entries.few(hash, batch)
  if (few >= 0) {
    expect([...batch.keys.subarray(0, few)]).toEqual(new Array(few).fill(hash))
    return [...batch.rows.subarray(0, few)].sort((a, b) => a - b)
  }
  const key = Float64Array.of(hash)
  const place = new Place()
  const until = new Place()
  entries.many.seek(key, 1, false, place)
  entries.many.seekFrom(place, key, 1, true, until)
  const rows: number[] = []
  for (
    let n = entries.many.next(place, until, 9, batch);
    n > 0;
    n = entries.many.next(place, until, 9, batch)
  )
    rows.push(...batch.rows.subarray(0, n))
  return rows.sort((a, b) => a - b)
}

/** What was said when the entry was added. */
function expectHeads(entries: HashEntries, hash: number): void {
  const batch = new Batch(FEW_ROWS_MAX, 1)
  const heads = new Uint32Array(FEW_ROWS_MAX)
  for (let i = entries.fewHeads(hash, batch, heads); --i >= 0; ) expect(heads[i]).toBe(batch.rows[i]! + 7)
}

// All in one segment, and beginning at the same slot or next to it.
const HASHES = [5, 6, 5 + 1024, 2 ** 31 + 5, 2 ** 32 - 1]

test('a hash has the rows that were added and not removed, be they few or many', () => {
  const step = fc.record({ add: fc.boolean(), hash: fc.constantFrom(...HASHES), row: fc.nat(40) })
  fc.assert(
    fc.property(fc.array(step, { minLength: 300, maxLength: 2000 }), fc.boolean(), (steps, withHeads) => {
      const memory = account()
      const entries = new HashEntries(memory, withHeads)
      const model = new Map(HASHES.map(hash => [hash, new Set<number>()]))
      for (const { add, hash, row } of steps) {
        if (add) entries.add(Float64Array.of(hash), row, row + 7)
        else entries.remove(Float64Array.of(hash), row)
        if (add) model.get(hash)!.add(row)
        else model.get(hash)!.delete(row)
      }
      expect(entries.size).toBe([...model.values()].reduce((sum, rows) => sum + rows.size, 0))
      for (const [hash, rows] of model) expect(rowsOf(entries, hash)).toEqual([...rows].sort((a, b) => a - b))
      if (withHeads) for (const hash of HASHES) expectHeads(entries, hash)
      entries.clear()
      expect(memory.usedBytes).toBe(0)
      expect(rowsOf(entries, 5)).toEqual([])
    }),
    { numRuns: 30 },
  )
})

test('a row may have several values at a time, each with an entry of its own', () => {
  const entries = new HashEntries(account(), false)
  entries.add(Float64Array.of(5), 1, 1 + 7)
  entries.add(Float64Array.of(6), 1, 1 + 7)
  entries.add(Float64Array.of(5 + 1024), 1, 1 + 7)
  entries.remove(Float64Array.of(6), 1)
  expect(HASHES.map(hash => rowsOf(entries, hash))).toEqual([[1], [], [1], [], []])
})

test('an entry takes less than 19 bytes, and a value that most rows have makes none of them slow', () => {
  const memory = account()
  const entries = new HashEntries(memory, false)
  for (let i = 0; i < 300_000; i++) entries.add(Float64Array.of(hashNumber(i, 1)), i, i + 7)
  expect(memory.usedBytes / 300_000).toBeLessThan(19)
  expect(rowsOf(entries, hashNumber(4711, 1))).toEqual([4711])
  for (let i = 0; i < 50_000; i++) entries.add(Float64Array.of(5), i, i + 7)
  expect(rowsOf(entries, 5)).toHaveLength(50_000)
  for (let i = 0; i < 50_000; i++) entries.remove(Float64Array.of(5), i)
  expect(rowsOf(entries, 5)).toEqual([])
  expect(entries.many.size).toBe(0)
})
