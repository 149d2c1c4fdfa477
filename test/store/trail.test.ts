import { expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import { Store } from '../../src/store/store.js'

const store = (): Store => new Store({ limitBytes: 2 ** 20, tableLimitBytes: 2 ** 20, hashSeed: 1 })

/** Publishes one commit for each of these transactions. */
function commit(into: Store, ...xids: readonly number[]): void {
  for (const xid of xids) {
    into.begin()
    into.publish((into.position + 10n) as Lsn, xid)
  }
}

/** The state that a snapshot shows of those after the commits of 101, 102, 103 and the one before; -1 if none. */
function shownBy(snapshot: string): number {
  const states = store()
  commit(states, 100)
  const trail = states.trail()
  commit(states, 101, 102, 103)
  const shown = trail.shownBy(SqlSnapshot.parse(snapshot))
  const number = shown === null ? -1 : shown.seq - 1
  trail.release(shown)
  expect(states.readers.pins).toBe(shown === null ? 0 : 1)
  shown?.release()
  return number
}

test('a snapshot shows the state after the last commit that it sees, if it sees all before that', () => {
  expect(shownBy('101:101:')).toBe(0)
  expect(shownBy('102:102:')).toBe(1)
  expect(shownBy('103:104:103')).toBe(2)
  expect(shownBy('200:200:')).toBe(3)
})

test('it shows none of them if it sees a commit and not one before it', () => {
  expect(shownBy('101:103:101')).toBe(-1)
  expect(shownBy('101:200:101,102')).toBe(-1)
  expect(shownBy('102:200:102')).toBe(-1)
})

test('a state that no commit of the server has made, and too many, leave none that could be told', () => {
  const adopted = store()
  const broken = adopted.trail()
  adopted.begin()
  adopted.adopt(
    adopted.makeTable({
      name: 't',
      columns: 1,
      key: [0],
      integerKey: true,
      decode: () => ({}),
      read: row => row,
    }),
  )
  expect(broken.shownBy(SqlSnapshot.parse('200:200:'))).toBeNull()
  broken.release(null)

  const many = store()
  const trail = many.trail()
  for (let i = 0; i < 2_000; i++) commit(many, 100 + i)
  expect(trail.shownBy(SqlSnapshot.parse('9000:9000:'))).toBeNull()
  expect(many.readers.pins).toBeLessThan(1_100)
  trail.release(null)
  expect(many.readers.pins).toBe(0)
})

test('a commit that is published later is no part of a trail that was released', () => {
  const states = store()
  states.trail().release(null)
  commit(states, 101)
  expect(states.readers.pins).toBe(0)
})
