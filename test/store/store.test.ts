import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type TupleView, UNCHANGED } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import { DivergedError, MemoryLimitError } from '../../src/errors.js'
import { NONE } from '../../src/store/address.js'
import { KeyBuffer } from '../../src/store/record.js'
import type { Snapshot } from '../../src/store/snapshot.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { textAt, type TupleValue, tupleOf } from '../support/tuple.js'
import { expectHeads, uniqueKey } from './unique-heads.js'

type Row = readonly TupleValue[]

/** Three columns, of which the second and then the first make the key: so a record's order differs from a SELECT's. */
const layout = {
  name: 'public.pairs',
  columns: 3,
  key: [1, 0],
  integerKey: false,
  read: (decoded: object) => decoded,
  decode(values: TupleView): object {
    return [0, 1, 2].map(column => textAt(values, column))
  },
}

const tuple = (values: Row): TupleView => tupleOf(...values)

function open(tableLimitBytes = 2 ** 30): { store: Store; table: TableStore; order: Int32Array } {
  const store = new Store({ limitBytes: 2 ** 30, tableLimitBytes, hashSeed: 7 })
  const table = store.addTable(layout)
  return { store, table, order: table.format.order(column => column) }
}

const keyText = (row: Row): string => `${String(row[1])}\0${String(row[0])}`

/** The row with this key as a reader would get it, through the decoded rows where they hold it. */
function read(store: Store, table: TableStore, key: string, at: number): object | undefined {
  if (at === store.visible) {
    const kept = table.decoded.get(key)
    if (kept !== undefined) return kept
  }
  const buffer = new KeyBuffer()
  for (const part of key.split('\0')) buffer.append(part)
  return table.get(buffer, key, at)
}

function scan(table: TableStore, at: number): Map<string, object> {
  const rows = new Map<string, object>()
  for (let row = 0; row < table.rowEnd; row++) {
    const record = table.recordAt(row, at)
    if (record === NONE) continue
    const decoded = table.decode(record)
    rows.set(keyText(decoded as unknown as Row), decoded)
  }
  return rows
}

// Few keys, so that a row gets many versions; and rows of which a few fill a page, so that pages become sparse.
const smallKey = fc.integer({ min: 0, max: 2 }).map(String)
const payload = fc.oneof(
  fc.constant(null),
  fc.string({ maxLength: 12, unit: 'grapheme' }),
  fc.integer({ min: 60, max: 400 }).map(length => 'x'.repeat(length)),
  fc.integer({ min: 60_000, max: 250_000 }).map(length => 'y'.repeat(length)),
  fc.integer({ min: 262_000, max: 300_000 }).map(length => 'z'.repeat(length)),
)
const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('put' as const), a: smallKey, b: smallKey, value: payload }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('touch' as const), a: smallKey, b: smallKey }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove' as const), a: smallKey, b: smallKey }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('move' as const), a: smallKey, b: smallKey, c: smallKey }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const) }) },
)
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('transaction' as const),
      operations: fc.array(operation, { maxLength: 14 }),
      commit: fc.integer({ min: 0, max: 9 }).map(n => n > 1),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pin' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(10) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('maintain' as const), rows: fc.integer({ min: 1, max: 12 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('read' as const), a: smallKey, b: smallKey }) },
)

describe('Store', () => {
  test('shows every reader its own state, whatever is written, cut off, emptied, pruned and moved meanwhile', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), steps => {
        const { store, table, order } = open()
        const index = table.indexes.add(uniqueKey(2))
        let model = new Map<string, Row>()
        let lsn = 0n
        const pins: { snapshot: Snapshot; model: Map<string, Row> }[] = []
        const expectRow = (key: string): void =>
          expect(read(store, table, key, store.visible)).toEqual(model.get(key))
        for (const action of steps) {
          if (action.kind === 'transaction') {
            const seq = store.begin()
            const next = new Map(model)
            for (const op of action.operations) {
              applyTo(table, order, seq, next, op)
              if (op.kind !== 'truncate') expectRow(`${op.b}\0${op.a}`)
            }
            if (action.commit) {
              store.publish(++lsn as Lsn)
              model = next
            } else while (store.abort(3));
          } else if (action.kind === 'pin') pins.push({ snapshot: store.snapshot(), model })
          else if (action.kind === 'release')
            pins.splice(action.which % Math.max(pins.length, 1), 1)[0]?.snapshot.release()
          else if (action.kind === 'maintain') store.maintain(action.rows)
          else {
            expectRow(`${action.b}\0${action.a}`)
          }
          expect(scan(table, store.visible)).toEqual(model)
          for (const a of ['0', '1', '2']) for (const b of ['0', '1', '2']) expectRow(`${b}\0${a}`)
          expect(table.sizeAt(store.visible)).toBe(model.size)
          expectHeads(store, table, index)
          for (const pin of pins) {
            expect(scan(table, pin.snapshot.seq)).toEqual(pin.model)
            expect(table.sizeAt(pin.snapshot.seq)).toBe(pin.model.size)
          }
        }
        for (const pin of pins) pin.snapshot.release()
        for (let turns = 0; store.maintain(50); turns++) expect(turns).toBeLessThan(1000)
        expect(scan(table, store.visible)).toEqual(model)
        expect(expectHeads(store, table, index)).toBe(true)
      }),
      { numRuns: 200 },
    )
  })

  test('gives the memory of deleted rows back', () => {
    const { store, table, order } = open()
    for (const [from, to] of [
      [0, 12_000],
      [12_000, 24_000],
    ] as const) {
      const seq = store.begin()
      for (let i = from; i < to; i++) table.insert(tuple([String(i), 'k', 'v'.repeat(700)]), order, seq)
      store.publish(BigInt(to) as Lsn)
    }
    const full = table.bytes
    const seq = store.begin()
    for (let i = 0; i < 24_000; i++) if (i % 10 !== 0) table.remove(tuple([String(i), 'k', null]), order, seq)
    store.publish(90_000n as Lsn)
    while (store.maintain(1000));
    expect(table.bytes).toBeLessThan(full / 2)
    expect(table.sizeAt(store.visible)).toBe(2400)
    expect(read(store, table, 'k\x0023990', store.visible)).toEqual(['23990', 'k', 'v'.repeat(700)])
  })

  test('moves records out of sparse pages under readers of old and new versions', () => {
    const { store, table, order } = open()
    const index = table.indexes.add(uniqueKey(0))
    let model = new Map<string, Row>()
    let state = 1
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0
      return (state >>> 8) % below
    }
    const pins: { snapshot: Snapshot; model: Map<string, Row> }[] = []
    for (let round = 1; round <= 40; round++) {
      const seq = store.begin()
      const next = new Map(model)
      const share = round % 8 === 0 ? 9 : 3
      for (let id = 0; id < 3000; id++) {
        if (random(10) >= share) continue
        const row = [String(id), 'k', 'v'.repeat(1000 + random(2000))]
        const present = next.has(keyText(row))
        if (present && (share === 9 || random(3) === 0)) {
          table.remove(tuple(row), order, seq)
          next.delete(keyText(row))
        } else {
          if (present) table.update(null, false, tuple(row), order, seq)
          else table.insert(tuple(row), order, seq)
          next.set(keyText(row), row)
        }
      }
      store.publish(BigInt(round) as Lsn)
      model = next
      if (random(2) === 0) pins.push({ snapshot: store.snapshot(), model })
      if (pins.length > 2) pins.shift()!.snapshot.release()
      while (store.maintain(500));
      expect(scan(table, store.visible)).toEqual(model)
      for (const pin of pins) expect(scan(table, pin.snapshot.seq)).toEqual(pin.model)
    }
    for (const pin of pins) pin.snapshot.release()
    const seq = store.begin()
    for (const [key, row] of model) if (!key.endsWith('7')) table.remove(tuple(row), order, seq)
    store.publish(1_000n as Lsn)
    while (store.maintain(500));
    expect(expectHeads(store, table, index)).toBe(true)
  })

  test('takes the unchanged TOAST value from the row in memory, also when the key changes', () => {
    const { store, table, order } = open()
    let seq = store.begin()
    const big = 'b'.repeat(5000)
    table.insert(tuple(['1', 'k', big]), order, seq)
    store.publish(1n as Lsn)
    seq = store.begin()
    table.update(tuple(['1', 'k', null]), false, tuple(['2', 'k', UNCHANGED]), order, seq)
    store.publish(2n as Lsn)
    expect(read(store, table, 'k\x002', store.visible)).toEqual(['2', 'k', big])
    expect(read(store, table, 'k\x001', store.visible)).toBeUndefined()
  })

  test('says so when a change contradicts what it holds', () => {
    const { store, table, order } = open()
    const seq = store.begin()
    expect(() => table.remove(tuple(['1', 'k', null]), order, seq)).toThrow(DivergedError)
    expect(() => table.update(null, false, tuple(['2', 'k', null]), order, seq)).toThrow(DivergedError)
    table.insert(tuple(['3', 'k', null]), order, seq)
    expect(() => table.insert(tuple(['3', 'k', null]), order, seq)).toThrow(DivergedError)
  })

  test('stops at its memory limit before it takes the memory', () => {
    const limit = 3 * 2 ** 20
    const { store, table, order } = open(limit)
    const seq = store.begin()
    const fill = () => {
      for (let i = 0; i < 100_000; i++) table.insert(tuple([String(i), 'k', 'v'.repeat(200)]), order, seq)
    }
    expect(fill).toThrow(MemoryLimitError)
    expect(table.bytes).toBeLessThanOrEqual(limit)
    table.fail(new MemoryLimitError('public.pairs', limit))
    expect(table.bytes).toBe(0)
    expect(store.bytes).toBe(0)
  })
})

function applyTo(
  table: TableStore,
  order: Int32Array,
  seq: number,
  model: Map<string, Row>,
  op:
    | { kind: 'put'; a: string; b: string; value: string | null }
    | { kind: 'touch' | 'remove'; a: string; b: string }
    | { kind: 'move'; a: string; b: string; c: string }
    | { kind: 'truncate' },
): void {
  if (op.kind === 'truncate') {
    table.truncate(seq)
    model.clear()
    return
  }
  const key = `${op.b}\0${op.a}`
  const present = model.get(key)
  if (op.kind === 'put') {
    const row = [op.a, op.b, op.value]
    if (present === undefined) table.insert(tuple(row), order, seq)
    else table.update(null, false, tuple(row), order, seq)
    model.set(key, row)
  } else if (op.kind === 'touch' && present !== undefined) {
    table.update(tuple(present), true, tuple([op.a, op.b, UNCHANGED]), order, seq)
  } else if (op.kind === 'remove' && present !== undefined) {
    table.remove(tuple([op.a, op.b, null]), order, seq)
    model.delete(key)
  } else if (op.kind === 'move' && present !== undefined) {
    const moved = [op.c, op.b, present[2]!]
    if (model.has(keyText(moved)) && keyText(moved) !== key) return
    table.update(tuple([op.a, op.b, null]), false, tuple([op.c, op.b, UNCHANGED]), order, seq)
    model.delete(key)
    model.set(keyText(moved), moved)
  }
}
