import { describe, expect, test } from 'vitest'
import { CommitLog } from '../../src/apply/commit-log.js'
import { type MergedKey, mergeCommits } from '../../src/apply/fill-image.js'
import type { Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import type { Xid8 } from '../../src/change/xid.js'
import { KeyBuffer } from '../../src/store/record.js'
import { Store } from '../../src/store/store.js'
import { tupleOf } from '../support/tuple.js'

const store = new Store({ limitBytes: 2 ** 24, tableLimitBytes: 2 ** 24, hashSeed: 1 })
const table = store.addTable({
  name: 'public.t',
  columns: 2,
  key: [0],
  integerKey: true,
  bounds: { maxRows: 10, maxBytes: null },
  read: decoded => decoded,
  decode: () => ({}),
})
const order = table.format.order(column => column)
const NONE_SEEN = SqlSnapshot.parse('1:1:')

function keyOf(id: number): Buffer {
  const key = new KeyBuffer()
  key.appendInteger(id)
  return Buffer.from(key.bytes.subarray(0, key.length))
}

/** Publishes a transaction that updates these rows. */
function commit(log: CommitLog, xid: number, ids: readonly number[]): void {
  log.begin(xid)
  for (const id of ids) log.put(table, null, false, tupleOf(String(id), `by ${xid}`), order)
  log.commit(BigInt(xid) as Lsn)
}

/** What a query that saw no row under the key, and none of the commits, comes to. */
function merged(log: CommitLog, id: number, snapshot = NONE_SEEN): MergedKey['kind'] {
  const key = keyOf(id).toString('latin1')
  const entries = log.after(0, snapshot)!
  return mergeCommits(new Map([[key, null]]), table, entries, ({ xid }) => snapshot.sees(xid)).get(key)!.kind
}

describe('CommitLog', () => {
  test('keeps a commit until a query has seen it, and no fill that was sent before needs it', () => {
    const log = new CommitLog(1n as Xid8)
    commit(log, 10, [1])
    commit(log, 11, [2])
    commit(log, 12, [3])
    log.confirm(SqlSnapshot.parse('11:12:11'))
    expect([log.confirmed, log.size]).toEqual([1, 2])
    log.keepAfter(1)
    log.confirm(SqlSnapshot.parse('13:13:'))
    expect([log.confirmed, log.size]).toEqual([3, 2])
    log.keepAfter(Number.POSITIVE_INFINITY)
    expect([log.size, log.bytes]).toEqual([0, 0])
    commit(log, 13, [1])
    expect([log.newest, log.after(3, NONE_SEEN)!.map(({ number }) => number)]).toEqual([4, [4]])
  })

  test('forgets the changes of a giant commit and keeps its keys, so that its rows are asked for again', () => {
    const log = new CommitLog(1n as Xid8, { changes: 100, bytes: 2 ** 20 })
    commit(log, 10, [7])
    log.begin(11)
    for (let id = 1000; id < 1500; id++) log.put(table, null, false, tupleOf(String(id), 'x'), order)
    expect(log.pendingTouches(table, keyOf(1499))).toBe(true)
    expect(log.pendingTouches(table, keyOf(5))).toBe(false)
    log.commit(11n as Lsn)
    expect([merged(log, 7), merged(log, 1000), merged(log, 1499), merged(log, 5)]).toEqual([
      'known',
      'ask again',
      'ask again',
      'known',
    ])
    expect(merged(log, 1000, SqlSnapshot.parse('12:12:'))).toBe('known')
  })

  test('is bounded in bytes, whatever is committed while nothing is confirmed', () => {
    const log = new CommitLog(1n as Xid8, { changes: 10_000, bytes: 100_000 })
    for (let xid = 10; xid < 600; xid++) commit(log, xid, [xid, xid + 1])
    expect(log.bytes).toBeLessThanOrEqual(100_000)
    expect([merged(log, 10), merged(log, 599)]).toEqual(['ask again', 'known'])
  })

  test('forgets a transaction that was taken back', () => {
    const log = new CommitLog(1n as Xid8)
    log.begin(10)
    log.put(table, null, false, tupleOf('1', 'never'), order)
    log.truncate(table)
    log.abort()
    expect([log.size, log.bytes, log.pendingTouches(table, keyOf(1))]).toEqual([0, 0, false])
  })

  test('asks again when a query saw a commit on a key but not the one before', () => {
    const log = new CommitLog(1n as Xid8)
    commit(log, 10, [1])
    commit(log, 11, [1])
    expect(merged(log, 1, SqlSnapshot.parse('10:12:10'))).toBe('ask again')
  })
})
