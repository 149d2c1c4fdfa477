import { describe, expect, test } from 'vitest'
import { CommitLog } from '../../src/apply/commit-log.js'
import { idOf, mergeCommits } from '../../src/apply/fill-image.js'
import type { BoundRelation } from '../../src/apply/binding.js'
import { liveTable } from '../../src/cache/live-table.js'
import { UNCHANGED } from '../../src/change/change.js'
import type { Lsn } from '../../src/change/lsn.js'
import type { Xid8 } from '../../src/change/xid.js'
import type { TableMapping } from '../../src/mapping/mapping.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import { DivergedError, TableReloadingError } from '../../src/errors.js'
import { keyBytesOf, lookUp } from '../../src/query/live.js'
import type { PackedRow } from '../../src/store/packed-row.js'
import { Store } from '../../src/store/store.js'
import { applierOf } from '../support/applier.js'
import { mappingOf, relationOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'

const whole = mappingOf('users', ['id', 'name'], ['id'])
const mapping = whole
const users = relationOf(mapping)

function open(mapping: TableMapping = whole, log?: CommitLog) {
  const store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 24, hashSeed: 1 })
  const before = liveTable(store, mapping)
  const applier = applierOf(store, [before], log === undefined ? {} : { log })
  let position = 0x100n
  const sink = {
    transaction(xid: number, changes: (bound: BoundRelation) => void): void {
      applier.begin(xid)
      changes(bound)
      position += 0x10n
      applier.commit(position as Lsn, 0)
    },
  }
  applier.begin(1)
  const bound = applier.relation(users)!
  applier.commit(position as Lsn, 0)
  const close = (): void => {
    const closed = liveTable(store, mapping, 'apart')
    const error = new TableReloadingError(mapping.name)
    closed.table.fail(error)
    applier.setAside(mapping.oid, closed)
    store.remove(before.table, error)
  }
  const names = (live: ReturnType<typeof liveTable>): unknown[] =>
    [1, 2, 3, 4].map(id => (lookUp(live, id, store.visible) as { name: string } | undefined)?.name)
  return { store, applier, ...sink, close, names, bound, again: () => liveTable(store, mapping, 'apart') }
}

describe('changes that are set aside while a table is read anew', () => {
  test('belong to a transaction in progress, though it has written nothing else', () => {
    const { applier, close, bound, store } = open()
    close()
    expect(applier.isBetween).toBe(true)
    applier.begin(10)
    applier.insert(bound, tupleOf('1', 'Ada'))
    expect(store.writing).toBe(false)
    expect(applier.isBetween).toBe(false)
    applier.commit(0x1000n as Lsn, 0)
    expect(applier.isBetween).toBe(true)
  })

  test('are applied on top of what was read, except those that the query saw, and appear as one commit', async () => {
    const { store, applier, transaction, close, names, again } = open()
    close()
    transaction(10, bound => applier.insert(bound, tupleOf('1', 'seen')))
    transaction(11, bound => applier.insert(bound, tupleOf('2', 'not seen')))
    transaction(12, bound => {
      applier.update(bound, null, false, tupleOf('3', UNCHANGED))
      applier.delete(bound, tupleOf('4', null), false)
    })
    const live = again()
    live.table.load(tupleOf('1', 'seen'), store.visible)
    live.table.load(tupleOf('3', 'toasted'), store.visible)
    live.table.load(tupleOf('4', 'deleted later'), store.visible)
    const visible = store.visible
    await applier.adopt(mapping.oid, live, SqlSnapshot.parse('11:12:11'))
    expect(names(live)).toEqual(['seen', 'not seen', 'toasted', undefined])
    expect(store.visible).toBe(visible + 1)
    transaction(13, bound => applier.update(bound, null, false, tupleOf('1', 'later')))
    expect(names(live)).toEqual(['later', 'not seen', 'toasted', undefined])
    expect(live.table.sizeAt(store.visible)).toBe(3)
  })

  test('keep their order, TRUNCATE included', async () => {
    const { store, applier, transaction, close, names, again } = open()
    close()
    transaction(10, bound => applier.insert(bound, tupleOf('2', 'before')))
    transaction(11, bound => applier.truncate([bound]))
    transaction(12, bound => applier.insert(bound, tupleOf('3', 'after')))
    const live = again()
    live.table.load(tupleOf('1', 'read'), store.visible)
    await applier.adopt(mapping.oid, live, SqlSnapshot.parse('10:10:'))
    expect(names(live)).toEqual([undefined, undefined, 'after', undefined])
    expect(live.table.sizeAt(store.visible)).toBe(1)
  })

  test('of a bounded table are in the log of recent commits, for queries that do not see them either', async () => {
    const log = new CommitLog(1n as Xid8)
    const bounded = { ...whole, keep: { maxRows: 10, maxBytes: null } }
    const { applier, transaction, close, again } = open(bounded, log)
    close()
    transaction(10, bound => applier.insert(bound, tupleOf('1', 'seen')))
    transaction(11, bound => applier.update(bound, null, false, tupleOf('2', 'not seen')))
    expect(log.size).toBe(0)
    const live = again()
    await applier.adopt(whole.oid, live, SqlSnapshot.parse('11:12:11'))
    transaction(12, bound => applier.delete(bound, tupleOf('3', null), false))
    const entries = log.after(0, SqlSnapshot.parse('11:12:11'))!
    expect(entries.map(({ xid }) => xid)).toEqual([11n, 12n])
    const image = new Map(['1', '2', '3'].map(id => [idOf(keyBytesOf(live, id)), null]))
    const merged = mergeCommits(image, live.table, entries, () => false)
    expect([...merged.values()].map(({ kind }) => kind)).toEqual(['known', 'known', 'known'])
    const second = merged.get(idOf(keyBytesOf(live, '2'))) as { row: PackedRow }
    expect(live.table.decodePacked(second.row)).toEqual({ id: 2, name: 'not seen' })
  })

  test('of a transaction that is cut off, or comes twice, are forgotten', async () => {
    const { store, applier, transaction, close, names, again, bound } = open()
    close()
    applier.begin(10)
    applier.insert(bound, tupleOf('1', 'cut off'))
    await applier.cutOff()
    transaction(10, again => applier.insert(again, tupleOf('1', 'whole')))
    applier.begin(10)
    applier.insert(bound, tupleOf('1', 'twice'))
    applier.commit(store.position, 0)
    const live = again()
    await applier.adopt(mapping.oid, live, SqlSnapshot.parse('10:10:'))
    expect(names(live)).toEqual(['whole', undefined, undefined, undefined])
  })

  test('that contradict what was read leave nothing behind', async () => {
    const { store, applier, transaction, close, again } = open()
    close()
    transaction(10, bound => applier.update(bound, null, false, tupleOf('1', 'nobody')))
    const { visible } = store
    await expect(applier.adopt(mapping.oid, again(), SqlSnapshot.parse('10:10:'))).rejects.toThrow(
      DivergedError,
    )
    expect([store.writing, store.visible]).toEqual([false, visible])
  })
})

test('nothing is delivered while the server is asked about a relation that was announced', async () => {
  const { store } = open()
  const live = liveTable(store, mapping)
  const asked: unknown[] = []
  let answer: () => void = () => undefined
  const applier = applierOf(store, [live], {
    onAnnounced: (xid, oids) => {
      asked.push([xid, [...oids]])
      return new Promise(resolve => {
        answer = resolve
      })
    },
  })
  let bound: BoundRelation | null = null
  let steps = 0
  const applied = applier.apply({
    deliver: sink => {
      if (sink.held === true) return true
      steps++
      if (steps === 1) {
        sink.begin(7, null)
        bound = sink.relation(users)
      } else if (steps === 2) {
        sink.insert(bound!, tupleOf('1', 'Ada'))
        sink.commit(0x500n as Lsn, 0)
      }
      return steps < 2
    },
  })
  expect([asked, steps, store.writing]).toEqual([[[7, [mapping.oid]]], 1, false])
  answer()
  await applied
  expect(lookUp(live, 1, store.visible)).toMatchObject({ name: 'Ada' })
})
