import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CommitLog } from '../../src/apply/commit-log.js'
import type { TupleView } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import type { Xid8 } from '../../src/change/xid.js'
import type { Chains } from '../../src/store/chains.js'
import type { StoredIndex } from '../../src/store/index/stored-index.js'
import { KeyBuffer } from '../../src/store/record.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { runDeterministic } from '../../simulation/deterministic/scenario.js'
import { InvariantWatch } from '../../simulation/invariants/watch.js'
import { textAt, tupleOf } from '../support/tuple.js'

const layout = {
  name: 'public.users',
  columns: 2,
  key: [0],
  integerKey: false,
  read: (decoded: object) => decoded,
  decode: (values: TupleView): object => [textAt(values, 0), textAt(values, 1)],
}

/** By the length of the second column's text. */
const indexKey = {
  isHash: false,
  isUnique: false,
  columns: [1],
  width: 1,
  write: (view: TupleView, into: Float64Array): void => {
    into[0] = view.ends[1]! - view.starts[1]!
  },
}

interface Stage {
  readonly store: Store
  readonly table: TableStore
  readonly chains: Chains
  readonly index: StoredIndex
  readonly order: Int32Array
}

let found: string[]
let watch: InvariantWatch

beforeEach(() => {
  found = []
  watch = new InvariantWatch({ onViolation: error => found.push(error.message) })
})
afterEach(() => watch.stop())

let position = 100n

function commit({ store, table, order }: Stage, write: (seq: number) => void = () => undefined): void {
  const seq = store.begin()
  write(seq)
  if (seq === 1) {
    table.insert(tupleOf('1', 'Ada'), order, seq)
    table.insert(tupleOf('2', 'Grace'), order, seq)
  } else table.update(null, false, tupleOf('1', `Ada ${seq}`), order, seq)
  store.publish(++position as Lsn, seq)
}

/** Two rows. */
function stage(bounds?: { readonly maxRows: number; readonly maxBytes: null }): Stage {
  const store = new Store({ limitBytes: 2 ** 30, tableLimitBytes: 2 ** 30, hashSeed: 7 })
  const table = store.addTable({ ...layout, ...(bounds === undefined ? {} : { bounds }) })
  const index = table.indexes.add(indexKey)
  const { chains } = table as unknown as { readonly chains: Chains }
  const made = { store, table, chains, index, order: table.format.order(column => column) }
  if (bounds === undefined) commit(made)
  return made
}

function rowOf({ table }: Stage, key: string): number {
  const buffer = new KeyBuffer()
  buffer.append(key)
  return table.find(buffer)
}

test('of a store that is written, taken back, pinned and pruned, all invariants hold', () => {
  const made = stage()
  const { store, table, order } = made
  const snapshot = store.snapshot()
  commit(made)
  commit(made, seq => table.insert(tupleOf('3', null), order, seq))
  table.remove(tupleOf('2', null), order, store.begin())
  while (store.abort(1)) continue
  const buffer = new KeyBuffer()
  buffer.append('1')
  for (let i = 0; i < 4; i++) table.get(buffer, '1', store.visible)
  snapshot.release()
  while (store.maintain(1)) continue
  commit(made, seq => {
    table.truncate(seq)
    table.insert(tupleOf('1', 'Ada'), order, seq)
  })
  expect(found).toEqual([])
  expect(watch.walks).toBeGreaterThan(4)
})

/** What is damaged, and what is found at the next commit. */
const damages: readonly (readonly [string, RegExp, (made: Stage) => void])[] = [
  [
    'a commit is not the next one',
    /I1 .*5 was followed by/,
    ({ store }) => {
      const begin = store.begin.bind(store)
      store.begin = () => {
        const seq = begin()
        store.readers.visible = 5
        return seq
      }
    },
  ],
  [
    'versions do not descend',
    /I3 .*do not descend/,
    made => {
      const { store, chains } = made
      store.snapshot()
      commit(made)
      const row = rowOf(made, '2')
      const head = chains.rows.head(row)
      const { slab } = chains
      const copy = slab.copy(head)
      slab.setOlder(copy, head)
      chains.findKeyOf(head)
      chains.push(row, copy, head)
    },
  ],
  [
    'a version is another row’s',
    /I3 .*another row's/,
    made => made.chains.slab.setRowId(made.chains.rows.head(rowOf(made, '2')), rowOf(made, '1')),
  ],
  [
    'a version is of no commit',
    /I4 .*version of 9/,
    ({ table, order }) => table.insert(tupleOf('9', 'Mary'), order, 9),
  ],
  [
    'a record is in no chain',
    /I4 .*1 records are in no chain/,
    ({ chains }) => void chains.slab.allocate(8, 0, 1, 0),
  ],
  [
    'a row is kept decoded that is not there',
    /I5 .*1 decoded rows are of no newest version/,
    ({ table }) => void table.decoded.set('8', {}),
  ],
  [
    'a row is kept decoded that has changed',
    /I5 .*kept decoded as another one/,
    made => {
      const buffer = new KeyBuffer()
      buffer.append('2')
      for (let i = 0; i < 4; i++) made.table.get(buffer, '2', made.store.visible)
      made.table.decoded.set('2', ['2', 'Mary'])
    },
  ],
  [
    'the rows are counted wrongly',
    /I5 .*it counts/,
    ({ table }) => {
      const inside = table as unknown as { sizes: { set(from: number, size: number): void } }
      const { set } = inside.sizes
      inside.sizes.set = (from, size) => set.call(inside.sizes, from, size + 1)
    },
  ],
  ['an index has lost its entries', /I7 .*entries instead of/, ({ index }) => index.clear()],
  [
    'an index has an entry for another value',
    /I7 .*does not find row/,
    made => {
      const row = rowOf(made, '2')
      made.index.remove(Float64Array.of('Grace'.length), row)
      made.index.add(Float64Array.of(77), row, made.chains.rows.head(row))
    },
  ],
  [
    'a row is not found by its key',
    /I7 .*not found by its key/,
    made => {
      const { chains } = made
      const head = chains.rows.head(rowOf(made, '2'))
      // Another key in the same record.
      chains.slab.page(head)[chains.slab.dataStart(head) + 1] = 0x37
    },
  ],
  [
    'a cell goes beyond its record',
    /I9 .*beyond its record/,
    made => {
      const { chains } = made
      const head = chains.rows.head(rowOf(made, '2'))
      chains.slab.page(head)[chains.slab.dataStart(head) + 2] = 200
    },
  ],
  [
    'a row that is said to be ASCII is not',
    /I9 .*not ASCII/,
    made => {
      const { chains } = made
      const head = chains.rows.head(rowOf(made, '2'))
      chains.slab.page(head)[chains.slab.dataStart(head) + 3] = 0xc3
    },
  ],
  [
    'what a snapshot sees is pruned',
    /I8 .*has changed/,
    made => {
      made.store.snapshot()
      made.chains.removeRow(rowOf(made, '2'))
    },
  ],
]

describe('the walk sees that', () => {
  test.each(damages)('%s', (_, message, damage) => {
    const made = stage()
    damage(made)
    try {
      commit(made)
    } catch {
      // What is damaged need not be written any more.
    }
    expect(found[0]).toMatch(message)
  })
})

test('a snapshot that is not of the visible commit is seen', () => {
  const { store } = stage()
  store.readers.pin = () => 0
  store.snapshot()
  expect(found[0]).toMatch(/I16 .*a snapshot of 0 was opened when 1 was visible/)
})

test('a fill that is given a log with a gap is seen', () => {
  const { table, order } = stage({ maxRows: 8, maxBytes: null })
  const log = new CommitLog(100n as Xid8)
  for (const xid of [101, 102]) {
    log.begin(xid)
    log.put(table, null, false, tupleOf('1', 'Ada'), order)
    log.commit(BigInt(xid) as Lsn)
  }
  const snapshot = SqlSnapshot.parse('101:101:')
  expect(log.after(0, snapshot)?.length).toBe(2)
  expect(found).toEqual([])
  log.confirmAll()
  log.after(0, snapshot)
  expect(found[0]).toMatch(/I10 .*after 0 and up to 2/)
})

test.each([
  ['fill-without-wait', /^Invariant I11 /],
  ['pin-ignored', /^Invariant I8 /],
])(
  'in a simulation without a protection, an invariant does not hold: %s',
  async (broken, message) => {
    const { failure } = await runDeterministic({
      seed: 1,
      histories: 40,
      decoders: ['pgoutput'],
      mode: 'swarm',
      broken,
    })
    expect(failure?.error.message).toMatch(message)
  },
  300_000,
)
