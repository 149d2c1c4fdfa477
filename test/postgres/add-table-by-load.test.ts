/** Tables that are declared while the cache is running, with decoders whose streams keep to the tables that they began with: everything is loaded anew. */
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  OptionError,
  SetupError,
} from '../../src/index.js'
import { decoders } from '../../src/decode/index.js'
import { decoderNames, skipUnlessInstalled } from '../conformance/installed.js'
import { caughtUp, poolOf, rowsByKey, until } from '../support/cache.js'
import { serverFor } from '../support/postgres.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Thing {
  readonly id: number
  readonly n: number
}

const first = defineTable<{ id: number }>({ name: 'first' })
const things = defineTable<Thing>({ name: 'things' })

const names = (cache: Cache): string[] => cache.health().tables.map(({ name }) => name)

async function expectEqual(cache: Cache, db: TestDatabase): Promise<void> {
  await caughtUp(cache)
  const rows = await db.query<Thing>('select * from things')
  expect(rowsByKey(cache.table(things).local, ({ id }) => id)).toEqual(rowsByKey(rows, ({ id }) => id))
}

const byLoad = decoderNames.filter(name => !decoders[name].limits.publications)

describe.each(byLoad)('with %s', decoder => {
  const { major } = serverFor(decoder)

  async function open(
    db: TestDatabase,
    setup: string,
    options: Partial<OpenCacheOptions> = {},
  ): Promise<Cache> {
    await db.query(`
      create table first (id int primary key);
      insert into first values (1);
      create table things (id int primary key, n int not null);
      insert into things select i, i from generate_series(1, 50) i;
      ${setup}`)
    const cache = await openCache({ pool: poolOf(db.url), entities: [first], decoder, ...options })
    onTestFinished(() => cache.close())
    return cache
  }

  test('a table is added while it is written, and what follows another one misses nothing', async ({
    skip,
  }) => {
    const db = await testDatabase({ major })
    skipUnlessInstalled(db, decoder, skip)
    const cache = await open(db, '')
    const told = cache.table(first).changes()
    const writer = await db.connect()
    let isWriting = true
    const writing = (async () => {
      for (let n = 2; isWriting; n++)
        await writer.query(
          `begin; update things set n = ${n} where id % 5 = ${n % 5}; insert into first values (${n}); commit`,
        )
    })()
    const table = await cache.addTable(things)
    expect(table.local.size).toBe(50)
    expect(await cache.addTable(things)).toBe(table)
    isWriting = false
    await writing
    await db.query('insert into things values (60, 60)')
    await expectEqual(cache, db)
    expect((await cache.verify()).mismatched).toBe(0)
    // All rows of `first`, but for the one that was there before.
    const [row] = await db.query<{ count: number }>('select count(*)::int from first')
    const ids = new Set<unknown>()
    while (ids.size < row!.count - 1) {
      const { value } = await told.next()
      if (value?.kind !== 'insert') throw new Error(`not an insert, but ${value?.kind}`)
      ids.add(value.new!.id)
    }
    // It is loaded with the others from now on.
    const { reconnects } = cache.health()
    await db.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active',
    )
    await until(() => cache.health().reconnects > reconnects && cache.state === 'live', 'it is connected')
    await db.query('update things set n = 0 where id = 60')
    await expectEqual(cache, db)
  }, 60_000)

  test('several, and a bounded one, come one after another', async ({ skip }) => {
    const db = await testDatabase({ major })
    skipUnlessInstalled(db, decoder, skip)
    const cache = await open(
      db,
      'create table others (id int primary key, n int); insert into others values (7, 7)',
    )
    const some = defineTable<Thing>({ name: 'others', keep: { maxRows: 20 } })
    const [, others] = await Promise.all([cache.addTable(things), cache.addTable(some)])
    expect(await others.findUnique({ where: { id: 7 } })).toEqual({ id: 7, n: 7 })
    expect(await others.findUnique({ where: { id: 8 } })).toBeNull()
    await db.query('insert into others values (8, 8)')
    await expectEqual(cache, db)
    expect(others.local.get(8)).toEqual({ id: 8, n: 8 })
    expect(names(cache)).toEqual(['public.first', 'public.things', 'public.others'])
  }, 60_000)

  test('what does not fit is told, and nothing is loaded for it; put right, it is added', async ({
    skip,
  }) => {
    const db = await testDatabase({ major })
    skipUnlessInstalled(db, decoder, skip)
    const cache = await open(db, 'create table bad (id int)')
    const bad = defineTable<{ id: number }>({ name: 'bad' })
    await expect(cache.addTable(bad)).rejects.toBeInstanceOf(SetupError)
    await expect(cache.addTable(defineTable({ name: 'first' }))).rejects.toMatchObject({
      problems: [{ kind: 'duplicate-table' }],
    })
    expect(cache.health().reconnects).toBe(0)
    expect(() => cache.table(bad)).toThrow(OptionError)
    await db.query('alter table bad add primary key (id); insert into bad values (1)')
    expect((await cache.addTable(bad)).local.has(1)).toBe(true)
  }, 60_000)

  test('called off, it leaves nothing that is read, and can be added again', async ({ skip }) => {
    const db = await testDatabase({ major })
    skipUnlessInstalled(db, decoder, skip)
    const cache = await open(db, '')
    // A new slot waits for it.
    const writer = await db.connect()
    await writer.query('begin; update things set n = 0 where id = 1')
    const stop = new AbortController()
    const adding = cache.addTable(things, { signal: stop.signal })
    await until(() => cache.state === 'reconnecting', 'everything is being loaded anew')
    expect(cache.table(first).local.has(1)).toBe(true)
    stop.abort(new Error('called off'))
    await expect(adding).rejects.toThrow('called off')
    expect(() => cache.table(things)).toThrow(OptionError)
    await writer.query('commit')
    await until(() => cache.state === 'live', 'it is loaded')
    expect(names(cache)).toEqual(['public.first'])
    await cache.addTable(things)
    await expectEqual(cache, db)
  }, 60_000)
})
