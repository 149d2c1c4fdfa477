import { expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotLocalError,
  openCache,
  SnapshotMissError,
  TableReloadingError,
} from '../../src/index.js'
import { caughtUp, poolOf, recordingLogger, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Item {
  readonly id: number
  readonly name: string
}

const items = defineTable<Item>({ name: 'items', keep: { maxRows: 100 } })
const bystanders = defineTable<{ id: number }>({ name: 'bystanders' })

interface Opened {
  readonly db: TestDatabase
  readonly cache: Cache
  /** Resolves when the table has been taken up again, `times` in all. */
  readonly takenUp: (times?: number) => Promise<void>
}

async function open(): Promise<Opened> {
  const db = await testDatabase()
  await db.query(`
    create table items (id int primary key, name text not null);
    insert into items select i, 'item ' || i from generate_series(1, 50) i;
    create table bystanders (id int primary key);
    insert into bystanders values (1)`)
  const logger = recordingLogger()
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [items, bystanders],
    logger,
    // However slow the machine: what is asked for here is right, not soon.
    maxStaleness: 60_000,
    fillWaitMs: 30_000,
  })
  onTestFinished(() => cache.close())
  const takenUp = (times = 1): Promise<void> =>
    until(
      () => logger.lines.filter(line => line.endsWith('items was read anew.')).length >= times,
      'the altered table is taken up again',
    )
  return { db, cache, takenUp }
}

const REWRITE = `alter table items alter name type text using 'new ' || name`

test('a bounded table that is altered forgets what it knew, and the others go on', async () => {
  const { db, cache, takenUp } = await open()
  const table = cache.table(items)
  await table.prefetch([1, 2, 1000])
  await db.query(REWRITE)
  await takenUp()
  for (const id of [1, 2, 1000]) expect(() => table.local.get(id)).toThrow(NotLocalError)
  expect(await table.findUnique({ where: { id: 1 }, onUnknown: 'throw' })).toEqual({
    id: 1,
    name: 'new item 1',
  })
  await db.query(`update items set name = 'later' where id in (1, 3)`)
  await caughtUp(cache)
  expect(table.local.get(1)).toEqual({ id: 1, name: 'later' })
  expect(await table.findUnique({ where: { id: 3 } })).toEqual({ id: 3, name: 'later' })
  expect(cache.table(bystanders).local.get(1)).toEqual({ id: 1 })
  expect(cache.health()).toMatchObject({ reconnects: 0, state: 'live' })
})

test('a column that is added is in the rows that are read from then on', async () => {
  const { db, cache, takenUp } = await open()
  await cache.table(items).prefetch([1])
  await db.query('alter table items add column rank int default 7')
  await takenUp()
  const row = { id: 1, name: 'item 1', rank: 7 }
  expect(await cache.table(items).findUnique({ where: { id: 1 } })).toEqual(row)
  expect(cache.table(items).local.get(1)).toEqual(row)
})

test('a snapshot that was open when the table was altered says so, and a new one reads it', async () => {
  const { db, cache, takenUp } = await open()
  await cache.table(items).prefetch([1])
  using before = cache.snapshot()
  await db.query(REWRITE)
  await takenUp()
  expect(() => before.table(items).local.get(1)).toThrow(TableReloadingError)
  await expect(before.table(items).findUnique({ where: { id: 1 } })).rejects.toThrow(TableReloadingError)
  expect(before.table(bystanders).local.get(1)).toEqual({ id: 1 })
  using after = cache.snapshot()
  await db.query(`update items set name = 'later' where id = 2`)
  await caughtUp(cache)
  expect(await after.table(items).findUnique({ where: { id: 1 } })).toEqual({ id: 1, name: 'new item 1' })
  await expect(after.table(items).findUnique({ where: { id: 2 } })).rejects.toThrow(SnapshotMissError)
})

test('rows that were written while the table was altered, read at any moment, are never those of before', async () => {
  const { db, cache, takenUp } = await open()
  const table = cache.table(items)
  let written = 0
  let isDone = false
  const floors = new Map<number, number>()
  const reading = (async () => {
    while (!isDone)
      for (const id of [1, 2, 3]) {
        const floor = floors.get(id) ?? 0
        const { token } = await cache.write(client => client.query('select 1'))
        const row = await table.findUnique({ where: { id }, after: token })
        const seen = Number(/\d+$/.exec(row!.name)![0])
        if (floor > 0) expect(seen).toBeGreaterThanOrEqual(floor)
      }
  })()
  for (let round = 1; round <= 3; round++) {
    for (const id of [1, 2, 3]) {
      await db.query('update items set name = $2 where id = $1', [id, `v ${1000 + ++written}`])
      floors.set(id, 1000 + written)
    }
    await db.query(`alter table items alter name type text using name || ''`)
    await db.query('update items set name = $2 where id = $1', [1, `v ${1000 + ++written}`])
    floors.set(1, 1000 + written)
    await takenUp(round)
  }
  isDone = true
  await reading
  expect(cache.health().reconnects).toBe(0)
})
