import { beforeEach, describe, expect, test } from 'vitest'
import { TEXT } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import { ChangeFeed } from '../../src/feed/feed.js'
import type { RowFilter } from '../../src/feed/filter.js'
import type { FeedTable } from '../../src/feed/ring.js'
import { MORE, type Subscription } from '../../src/feed/subscription.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { seed } from '../support/seed.js'
import { textAt, tupleOf } from '../support/tuple.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

let runtime: VirtualRuntime
let store: Store
let table: TableStore
let order: Int32Array
let lsn: bigint
/** How often a filter looked at a row. */
let looks: number

beforeEach(() => {
  runtime = new VirtualRuntime()
  store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 26, hashSeed: 1 })
  table = store.addTable({
    name: 'public.t',
    columns: 2,
    key: [0],
    integerKey: true,
    decode: view => [textAt(view, 0), textAt(view, 1)],
    read: decoded => decoded,
  })
  order = table.format.order(column => column)
  lsn = 0n
  looks = 0
})

const feedOf = (limitBytes = 2 ** 24, historyMs = 0): ChangeFeed =>
  new ChangeFeed({ limitBytes, historyMs, timers: runtime.timers })

type Write = (seq: number) => void
const insert =
  (id: number, value: string): Write =>
  seq =>
    table.insert(tupleOf(String(id), value), order, seq)
const update =
  (id: number, value: string): Write =>
  seq =>
    table.update(null, false, tupleOf(String(id), value), order, seq)
const remove =
  (id: number): Write =>
  seq =>
    table.remove(tupleOf(String(id), ''), order, seq)

function commit(feed: ChangeFeed, ...writes: Write[]): void {
  const seq = store.begin()
  for (const write of writes) write(seq)
  store.publish(++lsn as Lsn)
  feed.published(lsn as Lsn)
}

/** Rows whose second column is one of these. */
function valueIn(texts: readonly string[], isLookedUp: boolean): () => RowFilter {
  return () => ({
    matches: row => {
      looks++
      return row.kinds[1] === TEXT && texts.includes(textAt(row, 1) ?? '')
    },
    mayMatch: () => true,
    equality: isLookedUp ? { column: 1, texts } : null,
  })
}

function follow(feed: ChangeFeed, filter?: () => RowFilter, since?: bigint | null): Subscription<FeedTable> {
  return feed.subscribe({
    table: 0,
    live: { table, store },
    midTransaction: false,
    ...(filter === undefined ? {} : { filter }),
    ...(since === undefined ? {} : { since: since as Lsn | null }),
  })
}

/** What is there for the reader: old row, new row, the commit, and whether it is its last. */
function readAll(reader: Subscription<FeedTable>): string[] {
  const shown: string[] = []
  for (let entry = reader.read(); entry !== null; entry = reader.read()) {
    if (entry === MORE) continue
    const { record, position, last } = entry
    const end = `@${position}${last ? '.' : ''}`
    if (record.kind === 'gap') shown.push(`gap: ${record.reason} ${end}`)
    else if (record.kind === 'truncate') shown.push(`truncate ${end}`)
    else {
      const text = (row: typeof record.old): string =>
        row === null ? '-' : (table.decodePacked(row) as string[]).join('')
      shown.push(`${text(record.old)}>${text(record.next)} ${end}`)
    }
  }
  return shown
}

describe.each([
  ['looked up by value', true],
  ['applied to each change', false],
])('a filter that is %s', (_, isLookedUp) => {
  test('shows a row that begins to match as an insert, one that ceases as a delete', () => {
    const feed = feedOf()
    const reader = follow(feed, valueIn(['a'], isLookedUp))
    commit(feed, insert(1, 'a'), insert(2, 'b'))
    commit(feed, update(1, 'b'), update(2, 'a'))
    commit(feed, update(1, 'c'))
    commit(feed, remove(1))
    commit(feed, update(2, 'a'))
    commit(feed, remove(2))
    expect(readAll(reader)).toEqual(['->1a @1.', '1a>- @2', '->2a @2.', '2a>2a @5.', '2a>- @6.'])
  })

  test('marks the last change of each commit that it has left, also when others follow it there', () => {
    const feed = feedOf()
    const reader = follow(feed, valueIn(['a', 'b'], isLookedUp))
    commit(feed, insert(1, 'a'), insert(2, 'x'), insert(3, 'b'), insert(4, 'x'))
    commit(feed, insert(5, 'x'))
    commit(feed, insert(6, 'x'), insert(7, 'a'))
    expect(readAll(reader)).toEqual(['->1a @1', '->3b @1.', '->7a @3.'])
    commit(feed, insert(8, 'b'))
    expect(readAll(reader)).toEqual(['->8b @4.'])
  })

  test('passes a truncation on, and a gap', () => {
    const feed = feedOf(2_000)
    const reader = follow(feed, valueIn(['a'], isLookedUp))
    commit(feed, insert(1, 'a'))
    commit(feed, seq => table.truncate(seq))
    commit(feed, insert(1, 'x'))
    expect(readAll(reader)).toEqual(['->1a @1.', 'truncate @2.'])
    commit(feed, ...Array.from({ length: 100 }, (__, i) => insert(100 + i, 'x')))
    expect(readAll(reader)).toEqual(['gap: slow reader @4.'])
    commit(feed, insert(2, 'a'))
    expect(readAll(reader)).toEqual(['->2a @5.'])
  })

  test('is made anew for the tables of a reload, which comes as a gap', () => {
    const feed = feedOf()
    const reader = follow(feed, valueIn(['a'], isLookedUp))
    commit(feed, insert(1, 'a'))
    feed.reloaded(() => ({ table, store }), false)
    commit(feed, insert(2, 'a'), insert(3, 'x'))
    expect(readAll(reader)).toEqual(['gap: reload @2.'])
    commit(feed, insert(4, 'a'), insert(5, 'x'))
    expect(readAll(reader)).toEqual(['->4a @3.'])
  })

  test('is woken by what concerns it', () => {
    const feed = feedOf()
    const reader = follow(feed, valueIn(['a'], isLookedUp))
    let woken = 0
    reader.wake = () => woken++
    commit(feed, insert(1, 'x'))
    expect(woken).toBe(isLookedUp ? 0 : 1)
    commit(feed, insert(2, 'a'))
    expect(woken).toBe(isLookedUp ? 1 : 2)
  })

  test('tells a reader of a gap that has left too much unread', () => {
    const feed = feedOf(10_000)
    const reader = follow(feed, valueIn(['a'], isLookedUp))
    for (let i = 0; i < 200; i++) commit(feed, insert(i, 'a'))
    expect(readAll(reader)).toEqual(['gap: slow reader @200.'])
    commit(feed, insert(1000, 'a'))
    expect(readAll(reader)).toEqual(['->1000a @201.'])
  })

  test('resumes behind a token, and goes on with what comes', () => {
    const feed = feedOf()
    follow(feed)
    commit(feed, insert(1, 'a'))
    commit(feed, insert(2, 'a'), insert(3, 'x'))
    commit(feed, insert(4, 'x'), insert(5, 'a'))
    const reader = follow(feed, valueIn(['a'], isLookedUp), 1n)
    commit(feed, insert(6, 'x'))
    commit(feed, insert(7, 'a'))
    expect(readAll(reader)).toEqual(['->2a @2.', '->5a @3.', '->7a @5.'])
    const later = follow(feed, valueIn(['a'], isLookedUp), 6n)
    commit(feed, insert(8, 'a'))
    commit(feed, insert(9, 'a'))
    expect(readAll(later)).toEqual(['->9a @7.'])
  })
})

describe('a thousand readers that each want another value', () => {
  test('look only at what concerns them', () => {
    const feed = feedOf()
    const readers = Array.from({ length: 1_000 }, (_, i) => follow(feed, valueIn([`v${i}`], true)))
    for (let i = 0; i < 100; i++) commit(feed, insert(i, `v${i * 7}`))
    const told = readers.map(reader => readAll(reader).length)
    expect(told.filter(count => count === 1)).toHaveLength(100)
    expect(told.filter(count => count === 0)).toHaveLength(900)
    expect(looks).toBe(100)
  })

  test('are not told any more when they have left', () => {
    const feed = feedOf()
    const stays = follow(feed, valueIn(['a'], true))
    const leaves = follow(feed, valueIn(['a'], true))
    feed.unsubscribe(leaves)
    commit(feed, insert(1, 'a'))
    expect(readAll(leaves)).toEqual([])
    expect(readAll(stays)).toEqual(['->1a @1.'])
  })
})

describe('since', () => {
  test('gives every change after the token, if all of them are held', () => {
    const feed = feedOf()
    follow(feed)
    for (let i = 1; i <= 5; i++) commit(feed, insert(i, 'a'))
    expect(readAll(follow(feed, undefined, 3n))).toEqual(['->4a @4.', '->5a @5.'])
    expect(readAll(follow(feed, undefined, 0n))).toHaveLength(5)
    expect(readAll(follow(feed, undefined, 5n))).toEqual([])
  })

  test('gives a gap if something has left the ring, or was never there', () => {
    const feed = feedOf(2_000)
    commit(feed, insert(0, 'unseen'))
    follow(feed)
    expect(readAll(follow(feed, undefined, 0n))).toEqual(['gap: history @1.'])
    for (let i = 1; i <= 20; i++) commit(feed, insert(i, 'a'))
    expect(readAll(follow(feed, undefined, 1n))).toEqual(['gap: history @21.'])
    expect(readAll(follow(feed, undefined, null))).toEqual(['gap: history @21.'])
    const recent = readAll(follow(feed, undefined, 15n))
    expect(recent.at(0)).toBe('->15a @16.')
    expect(recent).toHaveLength(6)
  })

  test('finds what came while nobody followed only if that is held, and for as long', async () => {
    const none = feedOf()
    none.unsubscribe(follow(none))
    expect(table.observer).toBeNull()
    const feed = feedOf(2 ** 20, 1_000)
    feed.unsubscribe(follow(feed))
    commit(feed, insert(1, 'a'))
    await runtime.advance(900)
    const back = follow(feed, undefined, 0n)
    expect(readAll(back)).toEqual(['->1a @1.'])
    await runtime.advance(5_000)
    commit(feed, insert(2, 'a'))
    expect(readAll(back)).toEqual(['->2a @2.'])
    feed.unsubscribe(back)
    await runtime.advance(1_001)
    expect(table.observer).toBeNull()
    expect(feed.bytes).toBe(0)
    expect(readAll(follow(feed, undefined, 1n))).toEqual(['gap: history @2.'])
  })

  test('after the feed has been closed, nothing is held for anybody who might come back', () => {
    const feed = feedOf(2 ** 20, 1_000)
    feed.unsubscribe(follow(feed))
    feed.close()
    expect(table.observer).toBeNull()
    expect(runtime.timersPending).toBe(0)
  })
})

test('a reader that must look at very much gives up its turn in between', () => {
  const feed = feedOf()
  const reader = follow(feed, valueIn(['a'], false))
  commit(feed, ...Array.from({ length: 2_000 }, (_, i) => insert(i, i === 0 || i === 1_999 ? 'a' : 'x')))
  let turns = 0
  const shown: unknown[] = []
  for (let entry = reader.read(); entry !== null; entry = reader.read())
    if (entry === MORE) turns++
    else shown.push(entry.last)
  expect(turns).toBeGreaterThan(2)
  expect(shown).toEqual([false, true])
})

test('random filters, changes and pauses: what a reader keeps is what the filter leaves of the table', () => {
  let state = seed
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return Math.floor((state / 0x80000000) * below)
  }
  const feed = feedOf(2 ** 24)
  const rows = new Map<number, string>()
  const values = ['a', 'b', 'c', 'd']
  const copies = Array.from({ length: 12 }, (_, i) => {
    const wanted = values.filter(() => random(2) === 0)
    return { wanted, reader: follow(feed, valueIn(wanted, i % 2 === 0)), kept: new Set<string>(), open: 0n }
  })
  for (let round = 0; round < 300; round++) {
    const touched = new Set<number>()
    const writes = Array.from({ length: 1 + random(6) }, (): Write => {
      const id = random(40)
      const value = values[random(4)]!
      if (touched.has(id)) return () => undefined
      touched.add(id)
      if (!rows.has(id)) {
        rows.set(id, value)
        return insert(id, value)
      }
      if (random(3) === 0) {
        rows.delete(id)
        return remove(id)
      }
      rows.set(id, value)
      return update(id, value)
    })
    commit(feed, ...writes)
    for (const copy of copies) {
      if (random(4) > 0 && round < 299) continue
      for (const shown of readAll(copy.reader)) {
        const [change, end] = shown.split(' @') as [string, string]
        const [old, next] = change.split('>') as [string, string]
        const at = BigInt(end.replace('.', ''))
        if (copy.open !== 0n) expect(at, `seed ${seed}`).toBe(copy.open)
        copy.open = end.endsWith('.') ? 0n : at
        if (old !== '-') expect(copy.kept.delete(old), `seed ${seed}: ${shown}`).toBe(true)
        if (next !== '-') copy.kept.add(next)
      }
      const expected = [...rows]
        .filter(([, value]) => copy.wanted.includes(value))
        .map(([id, value]) => id + value)
      expect(copy.open, `seed ${seed}`).toBe(0n)
      expect([...copy.kept].toSorted(), `seed ${seed}`).toEqual(expected.toSorted())
    }
  }
})
