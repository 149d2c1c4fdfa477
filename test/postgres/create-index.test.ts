import { afterAll, beforeAll, expect, test } from 'vitest'
import { defineTable, NotLocalError, OptionError, openCache, QueryError } from '../../src/index.js'
import { caughtUp, poolOf } from '../support/cache.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

interface Item {
  readonly id: number
  readonly owner: number | null
  readonly title: string
  readonly document: unknown
}

const items = defineTable<Item>({ name: 'items' })
const bounded = defineTable<Item>({ name: 'items', keep: { maxRows: 1_000 } })

let db: TestDatabase

beforeAll(async () => {
  db = await testDatabase()
  await db.query(`create table items (id int primary key, owner int, title text not null, document jsonb)`)
  await db.query(
    `insert into items select i, i % 100, 'title ' || i % 1000, '{}' from generate_series(1, 30000) i`,
  )
})

afterAll(() => db.query('drop table items'))

const where = { owner: 7 }

test('an index is made while the table is written, and serves snapshots that were open before', async () => {
  await using cache = await openCache({ pool: poolOf(db.url), entities: [items], sliceMs: 1 })
  const table = cache.table(items)
  expect(() => table.local.count({ where })).toThrow(NotLocalError)
  expect(table.explain({ where })).toMatchObject({ local: false, reason: 'scan limit' })
  using before = cache.snapshot()
  let slices = 0
  const made = table.createIndex(['owner'], { onProgress: () => slices++ })
  await db.query('update items set owner = owner + 1 where owner between 6 and 7')
  await Promise.all([made, table.createIndex(['title', 'owner']), table.createIndex(['owner'])])
  await caughtUp(cache)
  expect(slices).toBeGreaterThan(0)
  expect(table.local.count({ where })).toBe(300)
  expect(table.local.count({ where: { owner: 8 } })).toBe(600)
  expect(before.table(items).local.count({ where })).toBe(300)
  expect(before.table(items).local.count({ where: { owner: 8 } })).toBe(300)
  expect(table.explain({ where })).toMatchObject({ local: true, plan: 'index', index: ['owner'] })
  expect(await table.count({ where, maxStaleness: 0, onStale: 'database' })).toBe(300)
  const both = { OR: [{ owner: 7 }, { title: 'title 8' }, { id: 9 }] }
  const union = [
    { plan: 'index', index: ['owner'] },
    { plan: 'index', index: ['title', 'owner'] },
    { plan: 'key', index: null },
  ]
  expect(table.explain({ where: both })).toMatchObject({ local: true, plan: 'union', union })
  expect(table.local.count({ where: both })).toBe(
    await table.count({ where: both, maxStaleness: 0, onStale: 'database' }),
  )
})

test('it is there again when the cache has loaded anew', async () => {
  await using cache = await openCache({ pool: poolOf(db.url), entities: [items] })
  const table = cache.table(items)
  await table.createIndex(['owner'])
  await db.query(
    `select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active`,
  )
  await expect.poll(() => cache.health().reconnects, { timeout: 60_000 }).toBeGreaterThan(0)
  await expect.poll(() => cache.state, { timeout: 60_000 }).toBe('live')
  expect(table.explain({ where })).toMatchObject({ local: true, plan: 'index' })
})

test('a table that is read anew by itself has it, too', async () => {
  await using cache = await openCache({ pool: poolOf(db.url), entities: [items] })
  const table = cache.table(items)
  await table.createIndex(['owner'])
  await db.query('alter table items add column more int')
  await db.query('update items set title = title where id = 1')
  await caughtUp(cache)
  await expect
    .poll(() => table.explain({ where }), { timeout: 20_000 })
    .toMatchObject({ local: true, plan: 'index' })
})

test('what can be no index is refused, and one that is called off is none', async () => {
  await using cache = await openCache({ pool: poolOf(db.url), entities: [items] })
  const table = cache.table(items)
  await expect(table.createIndex(['absent' as 'owner'])).rejects.toThrow(QueryError)
  await expect(table.createIndex([])).rejects.toThrow(OptionError)
  await expect(table.createIndex(['owner', 'owner'])).rejects.toThrow(OptionError)
  await expect(table.createIndex(['document'])).rejects.toThrow(NotLocalError)
  const signal = AbortSignal.abort(new Error('not any more'))
  await expect(table.createIndex(['owner'], { signal })).rejects.toThrow('not any more')
  expect(table.explain({ where })).toMatchObject({ local: false })
})

test('a bounded table knows the rows of its values from then on', async () => {
  await using cache = await openCache({ pool: poolOf(db.url), entities: [bounded] })
  const table = cache.table(bounded)
  await table.findUnique({ where: { id: 7 } })
  expect(table.explain({ where: { title: 'title 7' } })).toMatchObject({ known: 'unknown' })
  await table.createIndex(['title'])
  expect(await table.findMany({ where: { title: 'title 7' } })).toHaveLength(30)
  expect(table.explain({ where: { title: 'title 7' } })).toMatchObject({ local: true, known: 'group' })
  await db.query(`update items set title = 'title 7' where id = 8`)
  await caughtUp(cache)
  expect(table.local.findMany({ where: { title: 'title 7' } })).toHaveLength(31)
})
