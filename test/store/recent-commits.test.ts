import { describe, expect, test } from 'vitest'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import { MemoryLimitError } from '../../src/errors.js'
import { RecentCommits } from '../../src/store/recent-commits.js'
import type { TableStore } from '../../src/store/table.js'
import { shows } from '../support/shows.js'

// Only their identity counts here, and whether they are read from memory.
const users = { failed: null } as TableStore
const orders = { failed: null } as TableStore
const broken = { failed: new MemoryLimitError('public.broken', 1) as TableStore['failed'] } as TableStore
const at = SqlSnapshot.parse

describe('recent commits', () => {
  test('are ahead of a snapshot that does not see them, for the tables that they changed', () => {
    const recent = new RecentCommits()
    recent.add(700, [users])
    expect(recent.isAheadOf(at('700:701:700'), users)).toBe(true)
    expect(recent.isAheadOf(at('700:701:700'), orders)).toBe(false)
    expect(recent.isAheadOf(at('702:702:'), users)).toBe(false)
    // Running, and not among the completed ones yet.
    expect(recent.isAheadOf(at('699:700:'), users)).toBe(true)
  })

  test('are each ahead for a table that is not read from memory any more: nobody looks what they do to it', () => {
    const recent = new RecentCommits()
    recent.add(700, [users])
    recent.add(701, [])
    expect(recent.isAheadOf(at('700:702:700'), broken)).toBe(true)
    expect(recent.isAheadOf(at('701:702:701'), broken)).toBe(true)
    expect(recent.isAheadOf(at('701:702:701'), users)).toBe(false)
    const query = recent.sending()
    expect(recent.wasAheadOf(query, at('701:702:701'), broken)).toBe(true)
    expect(recent.wasAheadOf(query, at('702:702:'), broken)).toBe(false)
  })

  test('go once an answer has seen them, and one that hangs holds back only those after it', () => {
    const recent = new RecentCommits()
    for (const xid of [700, 701, 702]) recent.add(xid, [users])
    recent.confirm(at('701:703:701'))
    expect(recent.size).toBe(2)
    recent.confirm(at('703:703:'))
    expect(recent.size).toBe(0)
  })

  test('are kept for a query that was sent before they were confirmed, and answers late', () => {
    const recent = new RecentCommits()
    recent.add(700, [users])
    const late = recent.sending()
    recent.confirm(at('701:701:'))
    expect(recent.isAheadOf(at('700:701:700'), users)).toBe(true)
    recent.answered(late)
    expect(recent.size).toBe(0)
  })

  test('are compared across the wrap of 32-bit ids', () => {
    shows('I16')
    const recent = new RecentCommits()
    recent.add(2 ** 32 - 1, [users])
    recent.add(5, [users])
    const young = 2n ** 32n + 6n
    expect(recent.isAheadOf(at(`${young}:${young}:`), users)).toBe(false)
    expect(recent.isAheadOf(at(`${2n ** 32n - 1n}:${young}:${2n ** 32n - 1n}`), users)).toBe(true)
  })

  test('are bounded: what had to go unconfirmed makes every older snapshot doubtful', () => {
    const recent = new RecentCommits()
    for (let xid = 1_000; xid < 1_000 + 65_537; xid++) recent.add(xid, [orders])
    expect(recent.size).toBe(65_536)
    expect(recent.isAheadOf(at('900:100000:900'), users)).toBe(true)
    expect(recent.isAheadOf(at('1001:100000:'), users)).toBe(false)
  })
})
