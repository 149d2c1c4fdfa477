import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, NotLocalError, openCache, type OpenCacheOptions } from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Item {
  readonly id: number
  readonly name: string | null
}

async function shop(
  keep: { maxRows?: number; maxBytes?: number },
  options: Partial<OpenCacheOptions> = {},
): Promise<{ db: TestDatabase; cache: Cache; items: ReturnType<typeof itemsOf> }> {
  const db = await testDatabase()
  await db.query(`create table items (id int primary key, name text);
                  insert into items select i, 'item ' || i from generate_series(1, 1000) i`)
  const entity = defineTable<Item>({ name: 'items', keep })
  const cache = await openCache({ pool: poolOf(db.url), entities: [entity], ...options })
  onTestFinished(() => cache.close())
  return { db, cache, items: itemsOf(cache, entity) }
}

const itemsOf = (cache: Cache, entity: ReturnType<typeof defineTable<Item>>) => cache.table(entity)

describe('a bounded table', () => {
  test('knows nothing at first, reads what it is asked for, and keeps that true from then on', async () => {
    const { db, cache, items } = await shop({ maxRows: 100 })
    expect(() => items.local.get(1)).toThrow(NotLocalError)
    expect(await items.findUnique({ where: { id: 1 } })).toEqual({ id: 1, name: 'item 1' })
    expect(items.local.get(1)).toEqual({ id: 1, name: 'item 1' })
    await db.query(`update items set name = 'changed' where id = 1`)
    await caughtUp(cache)
    expect(items.local.get(1)).toEqual({ id: 1, name: 'changed' })
    await db.query('delete from items where id = 1')
    await caughtUp(cache)
    expect(items.local.get(1)).toBeUndefined()
    expect(await items.findUnique({ where: { id: 5000 } })).toBeNull()
    expect(items.local.get(5000)).toBeUndefined()
    await db.query(`insert into items values (5000, 'new')`)
    await caughtUp(cache)
    expect(items.local.get(5000)).toEqual({ id: 5000, name: 'new' })
  })

  test('asks once for all keys of one run, and lets those go that were not used for longest', async () => {
    const { items } = await shop({ maxRows: 100 })
    const ids = Array.from({ length: 150 }, (_, i) => i + 1)
    const found = await Promise.all(ids.map(id => items.findUnique({ where: { id } })))
    expect(found).toEqual(ids.map(id => ({ id, name: `item ${id}` })))
    const known = ids.filter(id => {
      try {
        return items.local.has(id)
      } catch {
        return false
      }
    })
    expect(known).toEqual(ids.slice(50))
  })

  test('TRUNCATE makes every key known to be absent', async () => {
    const { db, cache, items } = await shop({ maxRows: 100 })
    await items.prefetch([1, 2, 3])
    await db.query('truncate items')
    await caughtUp(cache)
    for (const id of [1, 2, 3, 77]) expect(items.local.get(id)).toBeUndefined()
    await db.query(`insert into items values (77, 'again')`)
    await caughtUp(cache)
    expect(items.local.get(77)).toEqual({ id: 77, name: 'again' })
  })

  test('evict forgets a key, and what is being read for it is not kept', async () => {
    const { items } = await shop({ maxRows: 100 })
    await items.prefetch([1])
    expect(items.evict(1)).toBe(true)
    expect(items.evict(1)).toBe(false)
    expect(() => items.local.get(1)).toThrow(NotLocalError)
    const reading = items.findUnique({ where: { id: 2 } })
    await until(() => true, 'never')
    items.evict(2)
    expect(await reading).toEqual({ id: 2, name: 'item 2' })
  })
})
