import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, NotLocalError, openCache, SnapshotMissError } from '../../src/index.js'
import { caughtUp, poolOf } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Order {
  readonly id: number
  readonly code: string
  readonly customer: number
  readonly note: string | null
}

const orders = defineTable<Order>({
  name: 'orders',
  indexes: [['customer'], ['code']],
  keep: { maxRows: 40 },
})

let db: TestDatabase

beforeAll(async () => {
  db = await testDatabase()
  await db.query(`create table orders (id int primary key, code text not null unique, customer int not null, note text);
                  create index on orders (customer);`)
})

/** Ten orders of each of a hundred customers; memory knows none. */
async function opened(): Promise<Cache> {
  await db.query(`truncate orders;
                  insert into orders select i, 'o' || i, i % 100, 'note ' || i from generate_series(1, 1000) i`)
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [orders],
    onUnknown: 'throw',
    fillWaitMs: 30_000,
  })
  onTestFinished(() => cache.close())
  return cache
}

const ids = (rows: readonly Order[]): number[] => rows.map(({ id }) => id).sort((a, b) => a - b)
const OF_SEVEN = Array.from({ length: 10 }, (_, i) => 7 + 100 * i)

describe('a group of a bounded table', () => {
  test('is unknown at first, read as a whole, and kept true from then on', async () => {
    const cache = await opened()
    const table = cache.table(orders)
    const where = { customer: 7 }
    expect(table.explain({ where })).toMatchObject({
      local: false,
      reason: 'unknown value',
      known: 'unknown',
    })
    expect(() => table.local.findMany({ where })).toThrow(NotLocalError)
    expect(ids(await table.findMany({ where }))).toEqual(OF_SEVEN)
    expect(table.explain({ where })).toMatchObject({ local: true, known: 'group', plan: 'index' })
    await db.query(`insert into orders values (2000, 'new', 7, null);
                    update orders set customer = 7 where id = 8;
                    update orders set customer = 9 where id = 7`)
    await caughtUp(cache)
    const now = [8, ...OF_SEVEN.slice(1), 2000]
    expect(ids(table.local.findMany({ where }))).toEqual(now)
    expect(table.local.count({ where })).toBe(11)
    const query = { where: { customer: 7, id: { gt: 500 } }, orderBy: { id: 'desc' }, take: 2 } as const
    expect(table.local.findMany(query).map(({ id }) => id)).toEqual([2000, 907])
    expect(cache.health().tables[0]!.bounded).toMatchObject({ groups: 1, emptyGroups: 0 })
  })

  test('that is empty is known to be so, and several at once are read together', async () => {
    const cache = await opened()
    const table = cache.table(orders)
    expect(await table.findMany({ where: { customer: 5000 } })).toEqual([])
    expect(table.local.findMany({ where: { customer: 5000 } })).toEqual([])
    expect(cache.health().tables[0]!.bounded).toMatchObject({ groups: 0, emptyGroups: 1 })
    const where = { customer: { in: [7, 8, 5000] } }
    expect(await table.findMany({ where, orderBy: { id: 'asc' }, take: 3 })).toMatchObject([
      { id: 7 },
      { id: 8 },
      { id: 107 },
    ])
    expect(table.local.count({ where })).toBe(20)
    await db.query(`insert into orders values (3000, 'first', 5000, null)`)
    await caughtUp(cache)
    expect(ids(table.local.findMany({ where: { customer: 5000 } }))).toEqual([3000])
  })

  test('leaves as a whole when there is no room', async () => {
    const cache = await opened()
    const table = cache.table(orders)
    for (let customer = 1; customer <= 6; customer++) await table.findMany({ where: { customer } })
    const known = [1, 2, 3, 4, 5, 6].map(customer => table.explain({ where: { customer } }).known)
    expect(known).toEqual(['unknown', 'unknown', 'group', 'group', 'group', 'group'])
    const { rows, bounded } = cache.health().tables[0]!
    expect(rows).toBe(40)
    expect(bounded!.evictions).toMatchObject({ rows: 2, withGroup: 18 })
  })

  test('of a unique key finds its row, and knows that there is none', async () => {
    const cache = await opened()
    const table = cache.table(orders)
    const found = await Promise.all(['o7', 'o8', 'nobody'].map(code => table.findUnique({ where: { code } })))
    expect(found.map(row => row?.id)).toEqual([7, 8, undefined])
    expect(cache.health().tables[0]!.bounded!.fills).toBeLessThan(3)
    expect(table.local.get({ code: 'o7' })?.id).toBe(7)
    expect(table.local.has({ code: 'nobody' })).toBe(false)
    await db.query(`update orders set code = 'nobody' where id = 500`)
    await caughtUp(cache)
    expect(table.local.get({ code: 'nobody' })?.id).toBe(500)
    expect(table.evict({ code: 'o8' })).toBe(true)
    expect(() => table.local.get({ code: 'o8' })).toThrow(NotLocalError)
    expect(table.explain({ where: { id: 7 } })).toMatchObject({ known: 'present', plan: 'key' })
  })

  test('is shown by a snapshot as of its commit, or missed by name', async () => {
    const cache = await opened()
    using snapshot = cache.snapshot()
    const before = snapshot.table(orders)
    await db.query(`insert into orders values (4000, 'later', 7, null)`)
    await caughtUp(cache)
    expect(ids(await before.findMany({ where: { customer: 7 } }))).toEqual(OF_SEVEN)
    expect(ids(cache.table(orders).local.findMany({ where: { customer: 7 } }))).toHaveLength(11)
    await db.query(`update orders set customer = 11 where id = 10`)
    await caughtUp(cache)
    await expect(before.findMany({ where: { customer: 10 } })).rejects.toThrow(SnapshotMissError)
    expect(ids(await before.findMany({ where: { customer: 7 } }))).toEqual(OF_SEVEN)
  })

  test('is shown by a snapshot as it was though its rows have left it, where the stream tells all of them', async () => {
    await db.query('alter table orders replica identity full')
    onTestFinished(async () => void (await db.query('alter table orders replica identity default')))
    const cache = await opened()
    using snapshot = cache.snapshot()
    const before = snapshot.table(orders)
    await db.query(`update orders set customer = 11 where id = 107; update orders set id = 5007 where id = 207;
                    delete from orders where id = 307; update orders set customer = 7 where id = 8`)
    await caughtUp(cache)
    expect(ids(await before.findMany({ where: { customer: 7 } }))).toEqual(OF_SEVEN)
    expect(ids(await cache.table(orders).findMany({ where: { customer: 7 } }))).toEqual(
      [...OF_SEVEN.filter(id => ![107, 207, 307].includes(id)), 8, 5007].toSorted((a, b) => a - b),
    )
  })
})
