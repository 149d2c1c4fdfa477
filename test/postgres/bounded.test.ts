import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotLocalError,
  openCache,
  type OpenCacheOptions,
  SnapshotMissError,
} from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

interface Item {
  readonly id: number
  readonly name: string | null
}

async function shop(
  keep: { maxRows?: number; maxBytes?: number },
  options: Partial<OpenCacheOptions> = {},
): Promise<{ db: TestDatabase; cache: Cache; entity: Entity; items: ReturnType<typeof itemsOf> }> {
  const db = await testDatabase()
  await db.query(`create table items (id int primary key, name text);
                  insert into items select i, 'item ' || i from generate_series(1, 1000) i`)
  const entity = defineTable<Item>({ name: 'items', keep })
  const cache = await openCache({ pool: poolOf(db.url), entities: [entity], ...options })
  onTestFinished(() => cache.close())
  return { db, cache, entity, items: itemsOf(cache, entity) }
}

type Entity = ReturnType<typeof defineTable<Item>>

const itemsOf = (cache: Cache, entity: Entity) => cache.table(entity)

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

    items.evict(2)
    expect(await reading).toEqual({ id: 2, name: 'item 2' })
  })
})

describe('fills against a real server', () => {
  test('an isolation that the role makes stricter by default does not make a row disappear', async () => {
    shows('I14')
    const { db, cache, items } = await shop({ maxRows: 100 })
    await db.query(`do $$ begin execute format('alter database %I set default_transaction_isolation = %L',
                    current_database(), 'repeatable read'); end $$`)
    const altering = await db.connect()
    await altering.query('begin')
    await altering.query('alter table items alter name type varchar(100)')
    await altering.query(`alter table items alter name type text`)
    const reading = items.findUnique({ where: { id: 1 } })
    await until(async () => {
      const [row] = await db.query<{ waiting: number }>(
        `select count(*)::int as waiting from pg_stat_activity
          where application_name = 'walcache' and wait_event_type = 'Lock' and datname = current_database()`,
      )
      return row!.waiting > 0
    }, 'the fill waits for the lock')
    await altering.query('commit')
    expect(await reading).toEqual({ id: 1, name: 'item 1' })
    await caughtUp(cache)
    expect(await items.findUnique({ where: { id: 1 } })).toEqual({ id: 1, name: 'item 1' })
  })

  test('500 handlers that each hold a client of the pool and miss at once all get their answer', async () => {
    const db = await testDatabase()
    await db.query(`create table items (id int primary key, name text);
                    insert into items select i, 'item ' || i from generate_series(1, 1000) i`)
    const pool = poolOf(db.url, { max: 3 })
    const entity = defineTable<Item>({ name: 'items', keep: { maxRows: 2000 } })
    const cache = await openCache({ pool, entities: [entity] })
    onTestFinished(() => cache.close())
    const held = await Promise.all([pool.connect(), pool.connect(), pool.connect()])
    const ids = Array.from({ length: 500 }, (_, i) => i + 1)
    const found = await Promise.all(ids.map(id => cache.table(entity).findUnique({ where: { id } })))
    for (const client of held) client.release()
    expect(found).toEqual(ids.map(id => ({ id, name: `item ${id}` })))
    expect(cache.health().tables[0]!.bounded!.fills).toBeLessThan(10)
  })

  test('keys of every kind find their rows, several columns and odd texts included', async () => {
    const db = await testDatabase()
    await db.query(`create table pairs (a text, b int, c char(5), v text, primary key (a, b, c));
      insert into pairs values (E'x"\\\\,{}', 1, 'ab', 'one'), ('', -5, 'cd', null), ('NULL', 0, '', 'three')`)
    const pairs = defineTable<{ a: string; b: number; c: string; v: string | null }>({
      name: 'pairs',
      keep: { maxBytes: 1e6 },
    })
    const cache = await openCache({ pool: poolOf(db.url), entities: [pairs] })
    onTestFinished(() => cache.close())
    const table = cache.table(pairs)
    const keys = [
      { a: 'x"\\,{}', b: 1, c: 'ab' },
      { a: '', b: -5, c: 'cd' },
      { a: 'NULL', b: 0, c: '' },
      { a: 'none', b: 0, c: '' },
    ]
    const found = await Promise.all(keys.map(where => table.findUnique({ where })))
    expect(found.map(row => row?.v)).toEqual(['one', null, 'three', undefined])
    expect(keys.map(key => table.local.get(key)?.v)).toEqual(['one', null, 'three', undefined])
  })

  test('a snapshot gets cold rows as of its commit, and misses by name what was changed since', async () => {
    shows('I28')
    const { db, cache, items, entity } = await shop({ maxRows: 100 })
    expect(cache.health().tables[0]!.bounded).toMatchObject({ hits: 0, misses: 0, fills: 0 })
    using snapshot = cache.snapshot()
    await db.query(`update items set name = 'changed' where id = 3`)
    await caughtUp(cache)
    const before = snapshot.table(entity)
    expect(await before.findUnique({ where: { id: 4 } })).toEqual({ id: 4, name: 'item 4' })
    await expect(before.findUnique({ where: { id: 3 } })).rejects.toThrow(SnapshotMissError)
    expect(items.local.get(3)).toEqual({ id: 3, name: 'changed' })
    expect(cache.health().tables[0]).toMatchObject({
      rows: 2,
      bounded: { fills: 2, filledRows: 2 },
    })
  })

  test('absent keys are bounded apart, and drive no row out', async () => {
    const { cache, items } = await shop({ maxRows: 50 })
    await items.prefetch(Array.from({ length: 50 }, (_, i) => i + 1))
    for (let from = 2000; from < 6000; from += 1000)
      await items.prefetch(Array.from({ length: 1000 }, (_, i) => from + i))
    const { rows, bounded } = cache.health().tables[0]!
    expect([rows, bounded!.absentKeys]).toEqual([50, 50])
    expect(items.local.get(1)).toEqual({ id: 1, name: 'item 1' })
  })
})
