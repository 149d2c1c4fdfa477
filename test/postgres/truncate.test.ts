/** TRUNCATE, where the output plugin says nothing of it. */
import { describe, expect, test } from 'vitest'
import { type Cache, defineTable, openCache, type OpenCacheOptions, StaleError } from '../../src/index.js'
import { decodersThat, skipUnlessInstalled } from '../conformance/installed.js'
import { afterTest } from '../source/reading.js'
import { poolOf, recordingLogger, until } from '../support/cache.js'
import { serverFor } from '../support/postgres.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

type Row = { id: number; name: string }
const items = defineTable<Row>({ name: 'items' })
const others = defineTable<Row>({ name: 'others' })

/** Shorter than the probes' interval, and long enough for a proof. */
const BOUND_MS = 300

describe.each(decodersThat(({ truncate }) => !truncate))('%s', decoder => {
  async function opened(
    skip: (condition: boolean, note: string) => void,
    options: Partial<OpenCacheOptions> = {},
  ): Promise<{ db: TestDatabase; cache: Cache }> {
    const db = await testDatabase(serverFor(decoder))
    skipUnlessInstalled(db, decoder, skip)
    await db.query(`create table items (id int primary key, name text);
      create table others (id int primary key, name text);
      insert into items select g, 'item ' || g from generate_series(1, 100) g;
      insert into others select g, 'other ' || g from generate_series(1, 10) g`)
    const cache = await openCache({ pool: poolOf(db.url), entities: [items, others], decoder, ...options })
    afterTest(() => cache.close())
    return { db, cache }
  }

  /** Resolves when memory equals both tables. */
  async function equal({ db, cache }: { db: TestDatabase; cache: Cache }): Promise<void> {
    const wanted = JSON.stringify([
      await db.query('select * from items order by id'),
      await db.query('select * from others order by id'),
    ])
    const shown = (): string =>
      JSON.stringify([items, others].map(each => [...cache.table(each).local].sort((a, b) => a.id - b.id)))
    await until(() => unlessStale(shown) === wanted, 'memory equals the tables')
  }

  test('a TRUNCATE is noticed: what was proven no longer counts, and the table is loaded anew', async ({
    skip,
  }) => {
    const logger = recordingLogger()
    const meanwhile: unknown[] = []
    const watching = {
      ...logger,
      warn(message: string) {
        logger.warn(message)
        if (/truncated/.test(message)) meanwhile.push(unlessStale(() => cache.table(items).local.get(1)))
      },
    }
    const { db, cache } = await opened(skip, { logger: watching })
    const changes = cache.table(items).changes()
    expect(cache.table(items).local.size).toBe(100)
    await db.query('truncate items')
    await until(() => unlessStale(() => cache.table(items).local.size) === 0, 'the table is empty')
    expect(cache.table(others).local.size).toBe(10)
    expect(logger.lines).toContain(
      `warn: Table public.items: it was truncated, or else rewritten; ${decoder} does not tell which. The cache is being loaded anew.`,
    )
    // Stale, though proven a moment ago.
    expect(meanwhile).toEqual([undefined])
    for (let left = 100; left > 0; left--)
      expect(await changes.next()).toMatchObject({ value: { kind: 'delete', last: left === 1 } })
    await changes.return?.()
  })

  test('what follows it in the same transaction, or in the next ones, ends as in PostgreSQL', async ({
    skip,
  }) => {
    const both = await opened(skip)
    const { db } = both
    // Alone; the transaction is not silent.
    await db.query(`begin; truncate items; insert into items values (1000, 'new'); commit`)
    await equal(both)
    // The same keys: what arrives contradicts what memory holds.
    await db.query(`begin; insert into others values (11, 'before'); truncate items; commit`)
    await db.query(`insert into items select g, 'again ' || g from generate_series(990, 1010) g`)
    await db.query(`update items set name = 'updated' where id = 1000; delete from items where id = 1001`)
    await equal(both)
    await db.query(`begin; update items set name = 'gone soon'; truncate items, others;
      insert into items values (1, 'one'), (1000, 'thousand'); commit; insert into others values (5, 'five')`)
    await equal(both)
    await db.query(
      `begin; truncate items; rollback; begin; savepoint s; truncate others; rollback to s; commit`,
    )
    await db.query(`insert into items values (2, 'two')`)
    await equal(both)
  })

  test('a read with a tight bound is not shown the old rows', async ({ skip }) => {
    const { db, cache } = await opened(skip, { maxStaleness: 60_000 })
    for (let round = 0; round < 2; round++) {
      // Not silent: only a probe can notice it.
      await db.query(`begin; truncate items; insert into others values (${round + 100}, 'beside'); commit`)
      await until(() => cache.health().stalenessMs > BOUND_MS, 'the read needs a proof of its own')
      expect(await cache.table(items).findUnique({ where: { id: 1 }, maxStaleness: BOUND_MS })).toBeNull()
      await db.query(`insert into items values (1, 'round ${round}')`)
      await equal({ db, cache })
    }
  })

  test('a read after its token is not shown the old rows', async ({ skip }) => {
    const { db, cache } = await opened(skip)
    for (let round = 0; round < 3; round++) {
      await db.query(`begin; truncate items; insert into others values (${round + 100}, 'beside'); commit`)
      const after = await cache.token()
      expect(await cache.table(items).findUnique({ where: { id: 1 }, after })).toBeNull()
      await db.query(`insert into items values (1, 'round ${round}')`)
      await equal({ db, cache })
    }
    const { token } = await cache.write(async client => {
      await client.query('truncate items')
    })
    await cache.waitFor(token)
    expect(unlessStale(() => cache.table(items).local.has(1)) ?? false).toBe(false)
  })

  test('a wait for a token outlasts a cut', async ({ skip }) => {
    const { db, cache } = await opened(skip)
    const token = await cache.token()
    await db.query(`select pg_terminate_backend(pid) from pg_stat_activity
      where backend_type = 'walsender' and datname = current_database()`)
    // Its position has been reached, but nobody can say now whether there was a TRUNCATE before it.
    await cache.waitFor(token, { timeoutMs: 30_000 })
    await db.query('delete from items where id = 1')
    await cache.waitFor(await cache.token(), { timeoutMs: 30_000 })
    expect(unlessStale(() => cache.table(items).local.has(1)) ?? false).toBe(false)
    await equal({ db, cache })
  })

  test('VACUUM FULL causes a reload, unless nobody is said to truncate', async ({ skip }) => {
    const both = await opened(skip)
    await both.db.query('vacuum full items')
    await until(() => both.cache.health().reconnects > 0, 'everything is loaded anew')
    await equal(both)

    const vouched = await opened(skip, { assumeNoTruncate: true })
    await vouched.db.query('vacuum full items')
    await vouched.db.query(`insert into items values (500, 'after')`)
    await vouched.cache.waitFor(await vouched.cache.token())
    const { cache } = vouched
    expect(await cache.table(items).findUnique({ where: { id: 500 }, maxStaleness: 1 })).not.toBeNull()
    expect(cache.health().reconnects).toBe(0)
  })
})

function unlessStale<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof StaleError) return undefined
    throw error
  }
}
