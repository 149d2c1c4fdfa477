import { beforeEach, describe, expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { ClosedError, InternalError, MemoryLimitError, NotReadyError } from '../../src/errors.js'
import { ChangeIterator } from '../../src/feed/changes.js'
import { ChangeFeed } from '../../src/feed/feed.js'
import type { FeedEntry, FeedTable } from '../../src/feed/ring.js'
import { MORE } from '../../src/feed/subscription.js'
import { systemRuntime } from '../../src/runtime.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { textAt, tupleOf } from '../support/tuple.js'

let store: Store
let tables: TableStore[]
let order: Int32Array
let lsn: bigint
let closing: AbortController
const { timers } = systemRuntime

beforeEach(() => {
  store = new Store({ limitBytes: 2 ** 24, tableLimitBytes: 2 ** 24, hashSeed: 1 })
  tables = ['quiet', 'busy'].map(name =>
    store.addTable({
      name,
      columns: 2,
      key: [0],
      integerKey: true,
      decode: view => [textAt(view, 0), textAt(view, 1)],
      read: decoded => decoded,
    }),
  )
  order = tables[0]!.format.order(column => column)
  lsn = 0n
  closing = new AbortController()
})

function insert(feed: ChangeFeed, table: number, key: number): void {
  tables[table]!.insert(tupleOf(String(key), 'x'.repeat(1000)), order, store.begin())
  store.publish(++lsn as Lsn)
  feed.published(lsn as Lsn)
}

function follow(
  feed: ChangeFeed,
  table: number,
  toChange = ({ record, position }: FeedEntry): unknown => [record.kind, position],
): ChangeIterator<FeedTable, unknown> {
  const subscription = feed.subscribe({
    table,
    live: { table: tables[table]!, store },
    midTransaction: false,
  })
  return new ChangeIterator({
    timers,
    feed,
    subscription,
    read: () => {
      const entry = subscription.read()
      return entry === null || entry === MORE ? entry : toChange(entry)
    },
    signal: undefined,
    closing: closing.signal,
  })
}

describe('a reader of changes', () => {
  test('that keeps up with a quiet table is told of no gap, however much others write', async () => {
    const feed = new ChangeFeed({ limitBytes: 10_000, historyMs: 0, timers })
    const quiet = follow(feed, 0)
    follow(feed, 1)
    const first = quiet.next()
    for (let i = 0; i < 100; i++) insert(feed, 1, i)
    insert(feed, 0, 1)
    expect((await first).value).toEqual(['write', 101n])
    for (let i = 100; i < 200; i++) insert(feed, 1, i)
    insert(feed, 0, 2)
    expect((await quiet.next()).value).toEqual(['write', 202n])
  })

  test('is told of a gap even if nothing at all fits into the feed', async () => {
    const feed = new ChangeFeed({ limitBytes: 1, historyMs: 0, timers })
    const reader = follow(feed, 0)
    insert(feed, 0, 1)
    expect((await reader.next()).value).toEqual(['gap', 1n])
    const next = reader.next()
    insert(feed, 0, 2)
    expect((await next).value).toEqual(['gap', 2n])
    expect(feed.bytes).toBe(0)
  })

  test('may ask for several changes at once, and gets them in their order', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 20, historyMs: 0, timers })
    const reader = follow(feed, 0)
    const asked = [reader.next(), reader.next(), reader.next()]
    insert(feed, 0, 1)
    insert(feed, 0, 2)
    insert(feed, 0, 3)
    const positions = (await Promise.all(asked)).map(({ value }) => (value as unknown[])[1])
    expect(positions).toEqual([1n, 2n, 3n])
  })

  test('gets a gap at what is newest: what was published behind it is not told again', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 20, historyMs: 0, timers })
    const reader = follow(feed, 0)
    insert(feed, 0, 1)
    feed.reloaded(table => ({ table: tables[table]!, store }), false)
    insert(feed, 0, 2)
    insert(feed, 1, 1)
    expect((await reader.next()).value).toEqual(['gap', 3n])
    insert(feed, 0, 4)
    expect((await reader.next()).value).toEqual(['write', 4n])
  })

  test('leaves others their turn before it looks, so that nothing is published between a look and its answer', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 22, historyMs: 0, timers })
    const subscription = feed.subscribe({
      table: 0,
      live: { table: tables[0]!, store },
      midTransaction: false,
    })
    const reader = new ChangeIterator({
      timers: {
        yield: async () => insert(feed, 0, Number(lsn)),
      },
      feed,
      subscription,
      read: () => {
        const entry = subscription.read()
        return entry === null || entry === MORE ? entry : [entry.record.kind, entry.position, lsn]
      },
      signal: undefined,
      closing: closing.signal,
    })
    for (let i = 0; i < 255; i++) insert(feed, 0, i)
    for (let i = 0; i < 255; i++) await reader.next()
    feed.reloaded(table => ({ table: tables[table]!, store }), false)
    // The turn falls due with the 256th: what is published in it lies behind the gap.
    expect((await reader.next()).value).toEqual(['gap', 255n, 255n])
    expect((await reader.next()).value).toEqual(['write', 256n, 256n])
  })

  test('that loops over much that is there already lets others have their turn', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 22, historyMs: 0, timers })
    const reader = follow(feed, 0)
    for (let i = 0; i < 1_000; i++) insert(feed, 0, i)
    let turns = 0
    let reading = true
    const count = (): void => {
      turns++
      if (reading) setImmediate(count)
    }
    setImmediate(count)
    const positions: unknown[] = []
    for (let i = 0; i < 1_000; i++) positions.push(((await reader.next()).value as unknown[])[1])
    reading = false
    expect(turns).toBeGreaterThan(2)
    expect(positions).toEqual(positions.map((_, i) => BigInt(i + 1)))
  })

  test('leaves nothing behind when a row of a change can’t be parsed', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 20, historyMs: 0, timers })
    const reader = follow(feed, 0, () => {
      throw new Error('A parser of the caller’s.')
    })
    insert(feed, 0, 1)
    await expect(reader.next()).rejects.toThrow('A parser of the caller’s.')
    expect(feed.subscribers).toBe(0)
    expect(await reader.next()).toEqual({ done: true, value: undefined })
  })

  test('gets what is there, and then why the table was given up', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 20, historyMs: 0, timers })
    const reader = follow(feed, 0)
    insert(feed, 0, 1)
    const error = new MemoryLimitError('quiet', 1)
    tables[0]!.insert(tupleOf('2', 'half of a transaction'), order, store.begin())
    tables[0]!.fail(error)
    store.publish(++lsn as Lsn)
    feed.published(lsn as Lsn)
    expect((await reader.next()).value).toEqual(['write', 1n])
    await expect(reader.next()).rejects.toBe(error)
    expect(await reader.next()).toEqual({ done: true, value: undefined })
    expect(feed.subscribers).toBe(0)
  })

  test('waits through a time without memory for the reload that ends it', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 20, historyMs: 0, timers })
    const reader = follow(feed, 0)
    const next = reader.next()
    tables[0]!.fail(new NotReadyError())
    feed.reloaded(table => ({ table: tables[table]!, store }), false)
    expect((await next).value).toEqual(['gap', 0n])
  })

  test('ends quietly when the cache is closed, and with the reason when it has failed', async () => {
    const feed = new ChangeFeed({ limitBytes: 2 ** 20, historyMs: 0, timers })
    const closed = follow(feed, 0)
    closing.abort(new ClosedError())
    expect(await closed.next()).toEqual({ done: true, value: undefined })

    closing = new AbortController()
    const failed = follow(feed, 0)
    const next = failed.next()
    const reason = new ClosedError({ cause: new InternalError('Broken.') })
    closing.abort(reason)
    await expect(next).rejects.toBe(reason)
    expect(await failed.next()).toEqual({ done: true, value: undefined })
    expect(feed.subscribers).toBe(0)
  })
})
