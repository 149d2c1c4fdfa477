import { beforeEach, describe, expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { ChangeIterator } from '../../src/feed/changes.js'
import { ChangeFeed } from '../../src/feed/feed.js'
import type { FeedEntry } from '../../src/feed/ring.js'
import { MORE } from '../../src/feed/subscription.js'
import { systemRuntime } from '../../src/runtime.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { textAt, tupleOf } from '../support/tuple.js'

let store: Store
let table: TableStore
let order: Int32Array
let lsn: bigint

beforeEach(() => {
  store = newStore()
  table = tableIn(store)
  order = table.format.order(column => column)
  lsn = 0n
})

const newStore = (): Store => new Store({ limitBytes: 2 ** 24, tableLimitBytes: 2 ** 24, hashSeed: 1 })

const tableIn = (of: Store): TableStore =>
  of.addTable({
    name: 'public.t',
    columns: 2,
    key: [0],
    integerKey: true,
    decode: view => [textAt(view, 0), textAt(view, 1)],
    read: decoded => decoded,
  })

const feedOf = (limitBytes: number, historyMs = 0): ChangeFeed =>
  new ChangeFeed({ limitBytes, historyMs, timers: systemRuntime.timers })

function commit(feed: ChangeFeed, write: (seq: number) => void): void {
  write(store.begin())
  store.publish(++lsn as Lsn)
  feed.published(lsn as Lsn)
}

const shown = ({ record, last }: FeedEntry): unknown =>
  record.kind === 'write'
    ? [
        record.old === null ? null : table.decodePacked(record.old),
        record.next === null ? null : table.decodePacked(record.next),
        last,
      ]
    : [record.kind, last]

describe('ChangeFeed', () => {
  test('gives each reader every change from its beginning on, with the commit’s last one marked', () => {
    const feed = feedOf(2 ** 20)
    commit(feed, seq => table.insert(tupleOf('1', 'a'), order, seq))
    const reader = feed.subscribe({ table: 0, live: { table, store }, midTransaction: false })
    expect(reader.read()).toBeNull()
    commit(feed, seq => {
      table.update(null, false, tupleOf('1', 'b'), order, seq)
      table.update(null, false, tupleOf('1', 'c'), order, seq)
      table.update(tupleOf('1', ''), false, tupleOf('2', 'c'), order, seq)
    })
    commit(feed, seq => table.remove(tupleOf('2', ''), order, seq))
    commit(feed, seq => table.truncate(seq))
    expect([1, 2, 3, 4, 5].map(() => shown(reader.read() as FeedEntry))).toEqual([
      [['1', 'a'], ['1', 'b'], false],
      [['1', 'b'], ['1', 'c'], false],
      [['1', 'c'], ['2', 'c'], true],
      [['2', 'c'], null, true],
      ['truncate', true],
    ])
    expect(reader.read()).toBeNull()
  })

  test('shows nothing of a transaction that was taken back', () => {
    const feed = feedOf(2 ** 20)
    const reader = feed.subscribe({ table: 0, live: { table, store }, midTransaction: false })
    table.insert(tupleOf('1', 'a'), order, store.begin())
    while (store.abort(10));
    feed.aborted()
    commit(feed, seq => table.insert(tupleOf('2', 'b'), order, seq))
    expect(shown(reader.read() as FeedEntry)).toEqual([null, ['2', 'b'], true])
    expect(reader.read()).toBeNull()
  })

  test('tells a reader that is too slow of a gap, and goes on behind it; memory stays within its bound', () => {
    const limit = 20_000
    const feed = feedOf(limit)
    const reader = feed.subscribe({ table: 0, live: { table, store }, midTransaction: false })
    for (let id = 0; id < 500; id++)
      commit(feed, seq => table.insert(tupleOf(String(id), 'x'.repeat(100)), order, seq))
    expect(feed.bytes).toBeLessThanOrEqual(limit)
    expect(shown(reader.read() as FeedEntry)).toEqual(['gap', true])
    expect(reader.read()).toBeNull()
    commit(feed, seq => table.insert(tupleOf('999', 'y'), order, seq))
    expect(shown(reader.read() as FeedEntry)).toEqual([null, ['999', 'y'], true])
  })

  test('after another history was taken over, gives changes whose positions are below those that were told', () => {
    const feed = feedOf(2 ** 20)
    const live = { table, store }
    for (const id of ['1', '2', '3']) commit(feed, seq => table.insert(tupleOf(id, 'a'), order, seq))
    const reader = feed.subscribe({ table: 0, live, midTransaction: false, since: lsn as Lsn })
    const put = newStore()
    const back = tableIn(put)
    feed.reloaded(() => ({ table: back, store: put }), false)
    expect(shown(reader.read() as FeedEntry)).toEqual(['gap', true])
    back.insert(tupleOf('4', 'b'), order, put.begin())
    put.publish(1n as Lsn)
    feed.published(1n as Lsn)
    expect(reader.read()).toMatchObject({ position: 1n, last: true })
  })

  test('a commit larger than the ring is a gap, not half a commit', () => {
    const feed = feedOf(5_000)
    const reader = feed.subscribe({ table: 0, live: { table, store }, midTransaction: false })
    commit(feed, seq => {
      for (let id = 0; id < 100; id++) table.insert(tupleOf(String(id), 'x'.repeat(100)), order, seq)
    })
    expect(shown(reader.read() as FeedEntry)).toEqual(['gap', true])
    expect(reader.read()).toBeNull()
  })

  test('a reader that comes in the middle of a transaction is told that it missed a part', () => {
    const feed = feedOf(2 ** 20)
    const seq = store.begin()
    table.insert(tupleOf('1', 'a'), order, seq)
    const reader = feed.subscribe({ table: 0, live: { table, store }, midTransaction: true })
    table.insert(tupleOf('2', 'b'), order, seq)
    store.publish(++lsn as Lsn)
    feed.published(lsn as Lsn)
    expect(shown(reader.read() as FeedEntry)).toEqual(['gap', true])
    expect(reader.read()).toBeNull()
  })

  test('costs nothing without readers', () => {
    const feed = feedOf(2 ** 20)
    feed.unsubscribe(feed.subscribe({ table: 0, live: { table, store }, midTransaction: false }))
    expect(table.observer).toBeNull()
    commit(feed, seq => table.insert(tupleOf('1', 'a'), order, seq))
    expect(feed.bytes).toBe(0)
  })
})

describe('ChangeIterator', () => {
  function follow(feed: ChangeFeed, signal?: AbortSignal) {
    const subscription = feed.subscribe({ table: 0, live: { table, store }, midTransaction: false })
    return new ChangeIterator({
      timers: systemRuntime.timers,
      feed,
      subscription,
      read: () => {
        const entry = subscription.read()
        return entry === null || entry === MORE ? entry : shown(entry)
      },
      signal,
      closing: new AbortController().signal,
    })
  }

  test('waits for the next change, and ends when its signal aborts', async () => {
    const feed = feedOf(2 ** 20)
    const end = new AbortController()
    const changes = follow(feed, end.signal)
    const first = changes.next()
    commit(feed, seq => table.insert(tupleOf('1', 'a'), order, seq))
    expect(await first).toEqual({ done: false, value: [null, ['1', 'a'], true] })
    const second = changes.next()
    end.abort()
    expect(await second).toEqual({ done: true, value: undefined })
    expect(feed.subscribers).toBe(0)
  })

  test('lets go when the loop is left', async () => {
    const feed = feedOf(2 ** 20)
    const changes = follow(feed)
    commit(feed, seq => table.insert(tupleOf('1', 'a'), order, seq))
    for await (const change of changes) {
      expect(change).toEqual([null, ['1', 'a'], true])
      break
    }
    expect(feed.subscribers).toBe(0)
  })
})
