/** What followers of a bounded table are told: every commit, the row before as far as it is known, and what is not known by name. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { Random } from '../../simulation/random.js'
import { type Cache, openCache, type RowChange, type Table, type TableChange } from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import {
  boundedItems,
  isLast,
  type Item,
  ItemHistory,
  itemsSql,
  KEYS,
  writeMany,
} from '../support/item-stage.js'
import { seed } from '../support/seed.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

async function given(setup = ''): Promise<{ db: TestDatabase; cache: Cache; items: Table<Item> }> {
  const db = await testDatabase()
  await db.query(`${itemsSql}; ${setup}`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [boundedItems], feedBytes: 2 ** 28 })
  onTestFinished(() => cache.close())
  return { db, cache, items: cache.table(boundedItems) }
}

/** What came, in few words. */
function brief(change: TableChange<Item>): unknown {
  if (change.kind === 'gap') return ['gap', change.reason]
  if (change.kind === 'truncate') return ['truncate']
  const row = (item: Item | null | undefined): unknown => (item == null ? item : [item.id, item.grp, item.n])
  return [change.kind, change.key.id, row(change.old), row(change.new)]
}

/** The next `count` changes. */
async function take(changes: AsyncIterator<TableChange<Item>>, count: number): Promise<TableChange<Item>[]> {
  const taken: TableChange<Item>[] = []
  while (taken.length < count) {
    const { value, done } = await changes.next()
    if (done === true) throw new Error('There is no next change.')
    taken.push(value)
  }
  return taken
}

describe('changes of a bounded table', () => {
  test('tell the row before if memory holds it, and else that it is not known', async () => {
    const { db, items } = await given()
    await items.prefetch([1])
    const changes = items.changes()
    await db.query(`update items set n = 5, big = 'short' where id in (1, 2)`)
    expect((await take(changes, 2)).map(brief)).toEqual([
      ['update', 1, [1, 1, 0], [1, 1, 5]],
      ['update', 2, undefined, [2, 2, 5]],
    ])
    await db.query(`insert into items values (900, 3, 0, 'new')`)
    await db.query('delete from items where id = 1')
    await db.query('delete from items where id = 3')
    await db.query('update items set id = 901 where id = 2')
    expect((await take(changes, 4)).map(brief)).toEqual([
      ['insert', 900, null, [900, 3, 0]],
      ['delete', 1, [1, 1, 5], null],
      ['delete', 3, undefined, null],
      ['update', 2, undefined, [901, 2, 5]],
    ])
    await db.query('truncate items')
    // Of an empty table everything is known.
    await db.query(`insert into items values (7, 0, 0, 'seven')`)
    await db.query('update items set n = 1 where id = 7')
    expect((await take(changes, 3)).map(brief)).toEqual([
      ['truncate'],
      ['insert', 7, null, [7, 0, 0]],
      ['update', 7, [7, 0, 0], [7, 0, 1]],
    ])
    await changes.return?.()
  })

  test('tell what was sent of a row whose value out of line was not, and where to read the rest', async () => {
    const { db, cache, items } = await given()
    await items.prefetch([1])
    const changes = items.changes()
    await db.query('update items set n = 5 where id in (1, 2)')
    const [held, notHeld] = (await take(changes, 2)) as RowChange<Item>[]
    expect(held!.new?.big).toHaveLength(2101)
    expect(held).not.toHaveProperty('told')
    expect(notHeld).toMatchObject({ kind: 'update', key: { id: 2 }, told: { id: 2, grp: 2, n: 5 } })
    expect(notHeld!.told).not.toHaveProperty('big')
    expect([notHeld!.old, notHeld!.new]).toEqual([undefined, undefined])
    await cache.waitFor(notHeld!.position)
    expect(await items.findUnique({ where: { id: 2 } })).toMatchObject({ n: 5, big: `${'a'.repeat(2100)}2` })
    await db.query('update items set id = 902 where id = 3')
    const [moved] = (await take(changes, 1)) as RowChange<Item>[]
    expect(moved).toMatchObject({ kind: 'update', key: { id: 3 }, told: { id: 902, grp: 3, n: 0 } })
    await changes.return?.()
  })

  test('always know the row before under replica identity full', async () => {
    const { db, items } = await given('alter table items replica identity full')
    const changes = items.changes()
    await db.query('update items set n = 5 where id = 2')
    await db.query('update items set id = 902 where id = 3')
    await db.query('delete from items where id = 4')
    const told = await take(changes, 3)
    expect(told.map(brief)).toEqual([
      ['update', 2, [2, 2, 0], [2, 2, 5]],
      ['update', 3, [3, 3, 0], [902, 3, 0]],
      ['delete', 4, [4, 4, 0], null],
    ])
    expect((told[0] as RowChange<Item>).new?.big).toHaveLength(2101)
    await changes.return?.()
  })

  test('with a filter tell all that may concern it, and nothing that a key shows not to', async () => {
    const { db, items } = await given()
    const one = items.changes({ where: { id: 1 } })
    const group = items.changes({ where: { grp: 1, id: { lt: 50 } } })
    await db.query(`update items set n = 1, big = 'x' where id in (2, 3)`)
    await db.query(`update items set grp = 1, big = 'x' where id = 4`)
    await db.query('delete from items where id = 55')
    await db.query('delete from items where id = 5')
    await db.query(`update items set n = 2, big = 'x' where id = 1`)
    await db.query('update items set n = 3 where id in (6, 7)')
    expect((await take(one, 1)).map(brief)).toEqual([['update', 1, undefined, [1, 1, 2]]])
    expect((await take(group, 6)).map(brief)).toEqual([
      // Nobody can tell that they were not in the group before.
      ['delete', 2, undefined, null],
      ['delete', 3, undefined, null],
      ['update', 4, undefined, [4, 1, 0]],
      ['delete', 5, undefined, null],
      ['update', 1, undefined, [1, 1, 2]],
      ['delete', 6, undefined, null],
    ])
    await items.prefetch([8])
    await db.query('update items set n = 4 where id = 8')
    await db.query('update items set n = 4 where id = 7')
    const last = (await take(group, 2)) as RowChange<Item>[]
    expect(last.map(brief)).toEqual([
      ['update', 7, undefined, undefined],
      ['update', 7, undefined, undefined],
    ])
    expect(last.map(({ told }) => told?.n)).toEqual([3, 4])
    await one.return?.()
    await group.return?.()
  })

  test('come with a gap when everything was loaded anew, and rows that were forgotten are not told as deleted', async () => {
    const { db, cache, items } = await given()
    await items.prefetch([1, 2, 3])
    const changes = items.changes()
    await db.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active',
      [db.name],
    )
    expect((await take(changes, 1)).map(brief)).toEqual([['gap', 'reload']])
    await until(() => cache.state === 'live', 'there is a new stream')
    await db.query('delete from items where id = 1')
    expect((await take(changes, 1)).map(brief)).toEqual([['delete', 1, undefined, null]])
    await changes.return?.()
  })

  test('of many writers are those of the whole table, and what is not known is all that is missing', async () => {
    const { db, cache, items } = await given()
    const history = await ItemHistory.open(db)
    const told: TableChange<Item>[] = []
    const ones: TableChange<Item>[] = []
    const follow = async (into: TableChange<Item>[], changes: AsyncIterable<TableChange<Item>>) => {
      for await (const change of changes) into.push(change)
    }
    void follow(told, items.changes())
    void follow(ones, items.changes({ where: { grp: 1 } }))
    await caughtUp(cache)
    const start = history.changes.length
    const inGroup = new Set((await db.query<Item>('select * from items where grp = 1')).map(({ id }) => id))
    const random = new Random(seed)
    let isWriting = true
    const reading = (async () => {
      for (; isWriting; await nextTurn()) await items.findUnique({ where: { id: random.between(1, KEYS) } })
    })()
    await writeMany(db, 3, 40)
    isWriting = false
    await reading
    await history.complete(db)
    await until(() => told.some(isLast), 'all is told')
    await caughtUp(cache)

    const expected = history.changes.slice(start)
    const commits = (changes: readonly TableChange<Item>[]): unknown[] =>
      changes.map(({ kind, lsn }) => [kind, lsn])
    expect(commits(told)).toEqual(commits(expected))
    const unknown = { old: 0, new: 0, known: 0 }
    for (const [i, change] of told.entries()) {
      const whole = expected[i]!
      if (
        change.kind === 'gap' ||
        change.kind === 'truncate' ||
        whole.kind === 'gap' ||
        whole.kind === 'truncate'
      ) {
        expect(change.kind).toBe(whole.kind)
        continue
      }
      const { old, new: next, told: partly, position: _, ...rest } = change
      expect(rest).toEqual({ kind: whole.kind, key: whole.key, lsn: whole.lsn, last: whole.last })
      if (old === undefined) unknown.old++
      else expect(old).toEqual(whole.old)
      if (next === undefined) {
        unknown.new++
        expect(whole.new).toMatchObject(partly!)
      } else expect(next).toEqual(whole.new)
      if (old !== undefined && next !== undefined) unknown.known++
    }
    for (const count of Object.values(unknown)) expect(count).toBeGreaterThan(0)

    await until(() => ones.length > 0, 'the group is told')
    for (const change of ones) {
      if (change.kind === 'gap') throw new Error('There is a gap.')
      if (change.kind === 'truncate') inGroup.clear()
      else {
        inGroup.delete(change.key.id!)
        const now = change.new ?? change.told
        if (now !== undefined && now !== null && change.kind !== 'delete' && now.grp === 1)
          inGroup.add(now.id!)
      }
    }
    const inDatabase = await db.query<Item>('select id from items where grp = 1')
    expect([...inGroup].toSorted((a, b) => a - b)).toEqual(
      inDatabase.map(({ id }) => id).toSorted((a, b) => a - b),
    )
  }, 120_000)
})
