/** Queries of a bounded table that are answered again after each commit that changes them: each answer is the state after one commit. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, QueryError, type Table, type Watched } from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { boundedItems, byKey, type Item, ItemHistory, itemsSql, writeMany } from '../support/item-stage.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

async function given(): Promise<{ db: TestDatabase; cache: Cache; items: Table<Item> }> {
  const db = await testDatabase()
  await db.query(itemsSql)
  const cache = await openCache({ pool: poolOf(db.url), entities: [boundedItems] })
  onTestFinished(() => cache.close())
  return { db, cache, items: cache.table(boundedItems) }
}

async function next<Row>(answers: AsyncIterator<Watched<Row>>): Promise<Watched<Row>> {
  const { value, done } = await answers.next()
  if (done === true) throw new Error('There is no next answer.')
  return value
}

const idsOf = (answer: Watched<{ id: number }>): number[] =>
  answer.rows.map(({ id }) => id).toSorted((a, b) => a - b)

describe('watch on a bounded table', () => {
  test('fills what it is asked, and answers again from memory', async () => {
    const { db, cache, items } = await given()
    const answers = items.watch({ where: { grp: 2 } })
    const first = await next(answers)
    expect(idsOf(first)).toEqual([2, 8, 14, 20, 26, 32, 38, 44, 50, 56])
    await cache.waitFor(first.position, { timeoutMs: 1 })
    await db.query('update items set grp = 2 where id = 1')
    await db.query('delete from items where id = 2')
    let answer = first
    while (!idsOf(answer).includes(1) || idsOf(answer).includes(2)) {
      const later = await next(answers)
      expect(later.lsn > answer.lsn).toBe(true)
      answer = later
    }
    expect(idsOf(answer)).toEqual([1, 8, 14, 20, 26, 32, 38, 44, 50, 56])
    await answers.return?.()
    expect(cache.health().changeReaders).toBe(0)
  })

  test('asks PostgreSQL what is confined to no key and no group, and such as have more rows than fit', async () => {
    const { db, items } = await given()
    const top = items.watch({ orderBy: { n: 'desc' }, take: 2, select: { id: true, n: true } })
    expect((await next(top)).rows).toHaveLength(2)
    await db.query('update items set n = 100 where id = 33')
    expect((await next(top)).rows[0]).toEqual({ id: 33, n: 100 })
    await top.return?.()
    await db.query('update items set grp = 5 where id > 20')
    const large = items.watch({ where: { grp: 5 } })
    expect(idsOf(await next(large)).length).toBeGreaterThan(40)
    await db.query('delete from items where id > 21')
    let answer = await next(large)
    while (idsOf(answer).length > 5) answer = await next(large)
    expect(idsOf(answer)).toEqual([5, 11, 17, 21])
    await large.return?.()
  })

  test('ends when it is told to while an answer is on its way, and refuses what means nothing', async () => {
    const { db, cache, items } = await given()
    expect(() => items.watch({ where: { nothing: 1 } as never })).toThrow(QueryError)
    const locked = await db.connect()
    await locked.query('begin; lock table items')
    const stop = new AbortController()
    const answers = items.watch({ where: { id: 1 }, signal: stop.signal })
    const asked = answers.next()
    await until(async () => {
      const [row] = await db.query<{ waiting: number }>(
        `select count(*)::int as waiting from pg_stat_activity
          where application_name = 'walcache' and wait_event_type = 'Lock' and datname = current_database()`,
      )
      return row!.waiting > 0
    }, 'the fill waits for the lock')
    stop.abort()
    expect(await asked).toEqual({ done: true, value: undefined })
    await locked.query('rollback')
    expect(cache.health().changeReaders).toBe(0)
  })

  test('goes on over a lost stream', async () => {
    const { db, cache, items } = await given()
    const answers = items.watch({ where: { id: 1 } })
    expect((await next(answers)).rows[0]).toMatchObject({ n: 0 })
    await db.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active',
      [db.name],
    )
    await db.query('update items set n = 9 where id = 1')
    expect((await next(answers)).rows[0]).toMatchObject({ n: 9 })
    await caughtUp(cache)
    await answers.return?.()
  })

  test('every answer is the state after one commit while many write, and the last one is the newest', async () => {
    const { db, items } = await given()
    const history = await ItemHistory.open(db)
    const questions = [
      { query: { where: { id: 7 } }, holds: ({ id }: Item) => id === 7 },
      { query: { where: { grp: 1 } }, holds: ({ grp }: Item) => grp === 1 },
      { query: { where: { grp: { in: [2, 3] } } }, holds: ({ grp }: Item) => grp === 2 || grp === 3 },
      { query: { where: { n: { lt: 500_000 } } }, holds: ({ n }: Item) => n < 500_000 },
    ]
    const answers: Watched<Item>[][] = questions.map(() => [])
    for (const [i, { query }] of questions.entries())
      void (async () => {
        for await (const answer of items.watch(query)) answers[i]!.push(answer)
      })()
    await until(() => answers.every(given => given.length > 0), 'all have their first answer')
    await writeMany(db, 3, 50)
    await history.complete(db)
    const final = byKey(history.at(history.changes.at(-1)!.lsn).values())
    const isFinal = (answer: Watched<Item>, i: number): boolean =>
      JSON.stringify(byKey(answer.rows)) === JSON.stringify(final.filter(questions[i]!.holds))
    await until(
      () => answers.every((given, i) => isFinal(given.at(-1)!, i)),
      'the last answers are the newest',
    )
    for (const [i, { holds }] of questions.entries())
      for (const [place, { rows, lsn }] of answers[i]!.entries()) {
        if (place > 0) expect(lsn > answers[i]![place - 1]!.lsn, 'answers go forward').toBe(true)
        expect(byKey(rows)).toEqual(byKey([...history.at(lsn).values()].filter(holds)))
      }
    expect(answers.flat().length).toBeGreaterThan(questions.length)
  }, 120_000)
})

test('of rows that a reader may alter each is his own', async () => {
  const db = await testDatabase()
  await db.query(
    `create table dated (id int primary key, day date); insert into dated values (1, '2020-01-01')`,
  )
  const dated = defineTable<{ id: number; day: Date }>({ name: 'dated', keep: { maxRows: 10 } })
  const cache = await openCache({ pool: poolOf(db.url), entities: [dated] })
  onTestFinished(() => cache.close())
  const answers = cache.table(dated).watch({ where: { id: 1 } })
  const first = await next(answers)
  first.rows[0]!.day.setFullYear(1970)
  await db.query(`update dated set day = '2021-01-01'`)
  expect((await next(answers)).rows[0]!.day.getFullYear()).toBe(2021)
  await answers.return?.()
})
