/** Tables that were loaded anew: their readers are told what differs. */
import { expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { ChangeFeed } from '../../src/feed/feed.js'
import type { FeedEntry, FeedTable } from '../../src/feed/ring.js'
import { MORE, type Subscription } from '../../src/feed/subscription.js'
import { systemRuntime } from '../../src/runtime.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { textAt, tupleOf } from '../support/tuple.js'

let loaded = 1

/** One generation of a table of keys and texts. */
class Loaded implements FeedTable {
  readonly store: Store
  readonly table: TableStore
  readonly order: Int32Array

  constructor(rows: Readonly<Record<string, string>>, position: number) {
    // Hashed otherwise in each, as in life.
    this.store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 26, hashSeed: loaded++ })
    this.table = this.store.addTable({
      name: 'public.t',
      columns: 2,
      key: [0],
      integerKey: true,
      decode: view => [textAt(view, 0), textAt(view, 1)],
      read: decoded => decoded,
    })
    this.order = this.table.format.order(column => column)
    this.commit(position, seq => {
      for (const [key, text] of Object.entries(rows)) this.table.insert(tupleOf(key, text), this.order, seq)
    })
  }

  commit(position: number, write: (seq: number) => void, feed?: ChangeFeed): void {
    write(this.store.begin())
    this.publish(position, feed)
  }

  publish(position: number, feed?: ChangeFeed): void {
    this.store.publish(BigInt(position) as Lsn)
    feed?.published(BigInt(position) as Lsn)
  }
}

const feedOf = (limitBytes = 2 ** 20): ChangeFeed =>
  new ChangeFeed({ limitBytes, historyMs: 0, timers: systemRuntime.timers, areComparable: () => true })

const shown = ({ record, position, last }: FeedEntry, { table }: Loaded): unknown =>
  record.kind === 'write'
    ? [
        Number(position),
        record.old === null ? null : table.decodePacked(record.old),
        record.next === null ? null : table.decodePacked(record.next),
        last,
      ]
    : [Number(position), record.kind === 'gap' ? record.reason : record.kind, last]

/** The next `count` changes, when they come. */
async function take(reader: Subscription, count: number, live: Loaded): Promise<unknown[]> {
  const entries: unknown[] = []
  while (entries.length < count) {
    const entry = reader.read()
    if (entry !== null && entry !== MORE) entries.push(shown(entry, live))
    else await new Promise(resolve => setImmediate(resolve))
  }
  expect(reader.read()).toBeNull()
  return entries
}

test('rows that are gone, other ones and new ones are the changes of one commit; what came meanwhile follows', async () => {
  const feed = feedOf()
  const old = new Loaded({ 1: 'same', 2: 'old', 3: 'gone' }, 10)
  const reader = feed.subscribe({ table: 0, live: old, midTransaction: false })
  old.commit(11, seq => old.table.update(null, false, tupleOf('2', 'older'), old.order, seq), feed)
  const next = new Loaded({ 1: 'same', 2: 'other', 4: 'new' }, 20)
  feed.reloaded(() => next, false, true)
  // It knows the new state already.
  const later = feed.subscribe({ table: 0, live: next, midTransaction: false })
  next.commit(21, seq => next.table.remove(tupleOf('1', ''), next.order, seq), feed)
  expect(await take(reader, 5, next)).toEqual([
    [11, ['2', 'old'], ['2', 'older'], true],
    [20, ['3', 'gone'], null, false],
    [20, ['2', 'older'], ['2', 'other'], false],
    [20, null, ['4', 'new'], true],
    [21, ['1', 'same'], null, true],
  ])
  expect(await take(later, 1, next)).toEqual([[21, ['1', 'same'], null, true]])
  next.commit(22, seq => next.table.insert(tupleOf('5', 'x'), next.order, seq), feed)
  expect(await take(reader, 1, next)).toEqual([[22, null, ['5', 'x'], true]])
})

test('tables that are equal are told nothing of', async () => {
  const feed = feedOf()
  const old = new Loaded({ 1: 'a' }, 10)
  const reader = feed.subscribe({ table: 0, live: old, midTransaction: false })
  const next = new Loaded({ 1: 'a' }, 20)
  feed.reloaded(() => next, false, true)
  next.commit(21, seq => next.table.insert(tupleOf('2', 'b'), next.order, seq), feed)
  expect(await take(reader, 1, next)).toEqual([[21, null, ['2', 'b'], true]])
})

test('a transaction in whose middle the new table was taken over is part of the difference', async () => {
  const feed = feedOf()
  const old = new Loaded({ 1: 'a' }, 10)
  const reader = feed.subscribe({ table: 0, live: old, midTransaction: false })
  const next = new Loaded({ 1: 'a' }, 20)
  const seq = next.store.begin()
  next.table.insert(tupleOf('2', 'unseen'), next.order, seq)
  feed.reloaded(() => next, true, true)
  next.table.insert(tupleOf('3', 'seen'), next.order, seq)
  next.publish(21, feed)
  expect(await take(reader, 2, next)).toEqual([
    [21, null, ['2', 'unseen'], false],
    [21, null, ['3', 'seen'], true],
  ])
})

test.each<[string, (feed: ChangeFeed, next: Loaded) => void, boolean?]>([
  [
    'too much differs',
    (feed, next) => {
      next.commit(20, seq => {
        for (let key = 100; key < 400; key++)
          next.table.insert(tupleOf(String(key), 'x'.repeat(1000)), next.order, seq)
      })
      feed.reloaded(() => next, false, true)
    },
  ],
  [
    'too much comes meanwhile',
    (feed, next) => {
      feed.reloaded(() => next, false, true)
      for (let key = 100; key < 400; key++)
        next.commit(
          20 + key,
          seq => next.table.insert(tupleOf(String(key), 'x'.repeat(1000)), next.order, seq),
          feed,
        )
    },
  ],
  ['it is another history', (feed, next) => feed.reloaded(() => next, false, false)],
  [
    'it is loaded anew once more',
    (feed, next) => {
      feed.reloaded(() => next, false, true)
      feed.reloaded(() => next, false, true)
    },
  ],
])('where %s there is a gap', async (_what, reload) => {
  const feed = feedOf(100_000)
  const old = new Loaded({ 1: 'a' }, 10)
  const reader = feed.subscribe({ table: 0, live: old, midTransaction: false })
  const next = new Loaded({ 1: 'b' }, 15)
  reload(feed, next)
  const [[, reason]] = (await take(reader, 1, next)) as [[number, string]]
  expect(reason).toBe('reload')
  next.commit(900, seq => next.table.insert(tupleOf('2', 'b'), next.order, seq), feed)
  expect(await take(reader, 1, next)).toEqual([[900, null, ['2', 'b'], true]])
})

test('a position that was told already is none for a difference', async () => {
  const feed = feedOf()
  const old = new Loaded({ 1: 'a' }, 10)
  const reader = feed.subscribe({ table: 0, live: old, midTransaction: false })
  const next = new Loaded({ 1: 'b' }, 10)
  feed.reloaded(() => next, false, true)
  expect(await take(reader, 1, next)).toEqual([[10, 'reload', true]])
})

test('large tables are compared in turns of the event loop, and nothing is held afterwards', async () => {
  const feed = feedOf()
  const rows = Object.fromEntries(Array.from({ length: 5_000 }, (_, key) => [key, 'x']))
  const old = new Loaded(rows, 10)
  const reader = feed.subscribe({ table: 0, live: old, midTransaction: false })
  const next = new Loaded({ ...rows, 7: 'y' }, 20)
  feed.reloaded(() => next, false, true)
  expect(reader.read()).toBeNull()
  expect([old.store.readers.pins, next.store.readers.pins]).toEqual([1, 1])
  expect(await take(reader, 1, next)).toEqual([[20, ['7', 'x'], ['7', 'y'], true]])
  expect([old.store.readers.pins, next.store.readers.pins]).toEqual([0, 0])
  feed.unsubscribe(reader)
})
