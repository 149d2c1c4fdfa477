import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type TupleView, UNCHANGED } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import type { Bounds } from '../../src/store/recency.js'
import { KeyBuffer } from '../../src/store/record.js'
import type { Installed } from '../../src/store/packed-row.js'
import type { Snapshot } from '../../src/store/snapshot.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { textAt, type TupleValue, tupleOf } from '../support/tuple.js'

/** Key, value, and a value that may be TOASTed. */
type Row = readonly [key: string, value: string | null, big: string]
type State = ReadonlyMap<string, Row>

const UNKNOWN = 'unknown'

function open(
  bounds: Bounds,
  tableLimitBytes = 2 ** 30,
): { store: Store; table: TableStore; order: Int32Array } {
  const store = new Store({ limitBytes: 2 ** 30, tableLimitBytes, hashSeed: 7 })
  const table = store.addTable({
    name: 'public.bounded',
    columns: 3,
    key: [0],
    integerKey: false,
    bounds,
    read: decoded => decoded,
    decode: (values: TupleView) => [0, 1, 2].map(column => textAt(values, column)),
  })
  return { store, table, order: table.format.order(column => column) }
}

function keyOf(key: string): KeyBuffer {
  const buffer = new KeyBuffer()
  buffer.append(key)
  return buffer
}

function bytesOf(key: string): Buffer {
  const { bytes, length } = keyOf(key)
  return Buffer.from(bytes.subarray(0, length))
}

/** What a reader of state `at` gets: the row, undefined if there is none, or that memory does not know. */
function read(store: Store, table: TableStore, key: string, at: number): object | undefined | typeof UNKNOWN {
  const kept = at === store.visible ? table.decoded.get(key) : undefined
  if (kept !== undefined) return kept
  const row = table.get(keyOf(key), key, at)
  if (row !== undefined) return row
  return table.residency!.isAbsent(keyOf(key), at) ? undefined : UNKNOWN
}

/** What a fill does once it has the key's visible state. */
function install(table: TableStore, key: string, row: Row | undefined): Installed {
  const keyBytes = bytesOf(key)
  if (row === undefined) return table.residency!.installer.install(keyBytes, null)
  const view = tupleOf(...row)
  const order = table.format.order(column => column)
  const bytes = Buffer.alloc(table.format.measure(view, order, 3))
  const ascii = table.format.write(view, order, 3, bytes, 0)
  return table.residency!.installer.install(keyBytes, { bytes, ascii })
}

const KEYS = ['0', '1', '2', '3', '4', '5']
const key = fc.constantFrom(...KEYS)
const value = fc.oneof(fc.constant(null), fc.string({ maxLength: 40, unit: 'grapheme' }))
const change = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('put' as const), key, value, toasted: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('remove' as const), key }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('move' as const), key, to: key, toasted: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const) }) },
)
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('transaction' as const),
      changes: fc.array(change, { maxLength: 8 }),
      commit: fc.integer({ min: 0, max: 9 }).map(n => n > 1),
      /** A pin and a fill that come while it is applied, after so many changes. */
      between: fc.option(fc.record({ after: fc.nat(8), pin: fc.boolean(), fill: key, evict: key })),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('fill' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('evict' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('pin' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), which: fc.nat(9) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('maintain' as const), rows: fc.integer({ min: 1, max: 9 }) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('read' as const), key }) },
)
const bounds = fc.constantFrom<Bounds>(
  { maxRows: 2, maxBytes: null },
  { maxRows: 4, maxBytes: null },
  { maxRows: null, maxBytes: 1200 },
  { maxRows: 100, maxBytes: null },
)

describe('Residency', () => {
  test('never says anything of a row that its commit does not, whatever is filled, evicted, written, cut off and pinned', () => {
    let known = 0
    let unknown = 0
    fc.assert(
      fc.property(bounds, fc.boolean(), fc.array(step, { maxLength: 70 }), (limits, full, steps) => {
        const { store, table, order } = open(limits)
        let state: State = new Map()
        let lsn = 0n
        const pins: { snapshot: Snapshot; state: State }[] = []
        const pin = (): void => void pins.push({ snapshot: store.snapshot(), state })
        const fill = (at: string): void => {
          const installed = install(table, at, state.get(at))
          if (installed === 'installed' || installed === 'known')
            expect(read(store, table, at, store.visible)).toEqual(state.get(at))
        }
        const check = (at: string, seq: number, truth: State): void => {
          const found = read(store, table, at, seq)
          if (found === UNKNOWN) unknown++
          else {
            known++
            expect(found).toEqual(truth.get(at))
          }
        }
        for (const action of steps) {
          switch (action.kind) {
            case 'transaction': {
              const seq = store.begin()
              const next = new Map(state)
              // The log of recent commits knows them, and holds fills of these keys back until the transaction has ended.
              const touched = new Set<string>()
              for (const [i, one] of action.changes.entries()) {
                if (i === action.between?.after) {
                  if (!touched.has(action.between.fill)) fill(action.between.fill)
                  if (action.between.pin) pin()
                  table.residency!.evict(bytesOf(action.between.evict))
                }
                write(table, order, seq, next, one, full)
                for (const at of one.kind === 'truncate'
                  ? KEYS
                  : [one.key, one.kind === 'move' ? one.to : one.key])
                  touched.add(at)
                for (const at of KEYS) check(at, store.visible, state)
              }
              if (action.commit) {
                store.publish(++lsn as Lsn)
                state = next
              } else while (store.abort(2));
              break
            }
            case 'fill':
              fill(action.key)
              break
            case 'evict':
              table.residency!.evict(bytesOf(action.key))
              break
            case 'pin':
              pin()
              break
            case 'release':
              pins.splice(action.which % Math.max(pins.length, 1), 1)[0]?.snapshot.release()
              break
            case 'maintain':
              store.maintain(action.rows)
              break
            case 'read':
              check(action.key, store.visible, state)
          }
          for (const at of KEYS) {
            check(at, store.visible, state)
            for (const pinned of pins) check(at, pinned.snapshot.seq, pinned.state)
          }
          if (limits.maxRows !== null)
            expect(table.residency!.presentRows).toBeLessThanOrEqual(limits.maxRows)
        }
        for (const pinned of pins) pinned.snapshot.release()
        for (let turns = 0; store.maintain(50); turns++) expect(turns).toBeLessThan(1000)
        // Nothing is held but what the lists of known keys hold.
        expect(table.residency!.residueBytes).toBe(0)
      }),
      { numRuns: 400 },
    )
    expect(known).toBeGreaterThan(unknown / 20)
    expect(unknown).toBeGreaterThan(known / 20)
  })
})

/** Writes a change as the stream tells it: `full` is the replica identity, a TOASTed value that stays is not sent. */
function write(
  table: TableStore,
  order: Int32Array,
  seq: number,
  next: Map<string, Row>,
  change: Change,
  full: boolean,
): void {
  const tuple = (values: readonly TupleValue[]): TupleView => tupleOf(...values)
  if (change.kind === 'truncate') {
    table.truncate(seq)
    next.clear()
    return
  }
  const before = next.get(change.key)
  const oldOf = (row: Row): TupleView => tuple(full ? row : [row[0], null, null])
  if (change.kind === 'remove') {
    if (before === undefined) return
    table.remove(oldOf(before), order, seq, full)
    next.delete(change.key)
    return
  }
  if (change.kind === 'put' && before === undefined) {
    const row: Row = [change.key, change.value, `big of ${change.key}`]
    table.insert(tuple(row), order, seq)
    next.set(change.key, row)
    return
  }
  if (before === undefined) return
  const to = change.kind === 'move' ? change.to : change.key
  if (to !== change.key && next.has(to)) return
  const big = change.toasted ? before[2] : `${before[2]}!`.slice(-20)
  const row: Row = [to, change.kind === 'put' ? change.value : before[1], big]
  const sent = change.toasted ? [row[0], row[1], UNCHANGED as TupleValue] : row
  table.update(full || to !== change.key ? oldOf(before) : null, full, tuple(sent), order, seq)
  next.delete(change.key)
  next.set(to, row)
}

type Change =
  | { kind: 'put'; key: string; value: string | null; toasted: boolean }
  | { kind: 'remove'; key: string }
  | { kind: 'move'; key: string; to: string; toasted: boolean }
  | { kind: 'truncate' }

test('a row for whose key there is no room leaves nothing behind', () => {
  // Room for a page of records and the list of rows, and not for the index of their keys.
  const { store, table } = open({ maxRows: 4, maxBytes: null }, 2 ** 20 + 2 ** 17)
  expect(install(table, '1', ['1', 'a', 'b'])).toBe('bypassed')
  expect([table.find(keyOf('1')), table.residency!.residueBytes]).toEqual([-1, 0])
  const snapshot = store.snapshot()
  table.truncate(store.begin())
  store.publish(1n as Lsn)
  snapshot.release()
  while (store.maintain(1)) continue
  expect(table.residency!.residueBytes).toBe(0)
})
