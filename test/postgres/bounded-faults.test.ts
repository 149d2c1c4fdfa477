/** What becomes of reads of a bounded table when something breaks while they wait for PostgreSQL: an answer, or a named error, and never a wrong row afterwards. */
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  CacheError,
  DatabaseReadError,
  defineTable,
  NotLocalError,
  openCache,
  type OpenCacheOptions,
  OverloadedError,
  type Snapshot,
  SnapshotTooOldError,
} from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Item {
  readonly id: number
  readonly name: string
}

const IDS = Array.from({ length: 20 }, (_, i) => i + 1)

type Keep = { maxRows?: number; maxBytes?: number }

const itemsOf = (keep: Keep) => defineTable<Item>({ name: 'items', keep })

async function open(keep: Keep = { maxRows: 100 }, options: Partial<OpenCacheOptions> = {}) {
  const db = await testDatabase()
  await db.query(`create table items (id int primary key, name text not null);
                  insert into items select i, 'item ' || i from generate_series(1, 1000) i`)
  const entity = itemsOf(keep)
  const pool = poolOf(db.url, { max: 5 })
  const cache = await openCache({ pool, entities: [entity], maxStaleness: 60_000, ...options })
  onTestFinished(() => cache.close())
  return { db, pool, cache, entity, items: cache.table(entity) }
}

/** Holds the table, so that whoever reads it in PostgreSQL waits. Commits what `sql` does when called. */
async function holding(db: TestDatabase, sql: string): Promise<() => Promise<void>> {
  const client = await db.connect()
  // An open transaction would hold up whoever makes a slot on this server.
  onTestFinished(() => client.end())
  await client.query('begin; lock table items in access exclusive mode')
  await client.query(sql)
  return async () => {
    await client.query('commit')
  }
}

/** Process ids of the cache's sessions that wait for the table. */
async function waiting(db: TestDatabase): Promise<number[]> {
  const rows = await db.query<{ pid: number }>(
    `select pid from pg_stat_activity
      where application_name = 'walcache' and wait_event_type = 'Lock' and datname = current_database()`,
  )
  return rows.map(({ pid }) => pid)
}

async function cutStream(db: TestDatabase): Promise<void> {
  await db.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
      where backend_type = 'walsender' and datname = current_database()`,
  )
}

/** Whatever memory says of these keys is what PostgreSQL says; what it does not know it reads. */
async function expectTrue(db: TestDatabase, cache: Cache, entity: ReturnType<typeof itemsOf>): Promise<void> {
  await caughtUp(cache)
  const rows = await db.query<Item>('select id, name from items where id = any ($1)', [IDS])
  const table = cache.table(entity)
  for (const id of IDS) {
    const row = rows.find(each => each.id === id)
    try {
      expect(table.local.get(id)).toEqual(row)
    } catch (error) {
      if (!(error instanceof NotLocalError)) throw error
    }
    expect(await table.findUnique({ where: { id } })).toEqual(row ?? null)
  }
}

describe('fills that are under way when the stream is cut off', () => {
  test.each([
    ['is gone on with, over a durable slot', { slot: { durable: true, name: 'bounded_resume' } }],
    ['is begun anew, and everything with it', {}],
  ] as const)('and it %s', async (_, options) => {
    const { db, cache, entity, items } = await open(undefined, options)
    await items.prefetch([1, 2, 3])
    const release = await holding(
      db,
      `update items set name = 'during' where id in (2, 4); delete from items where id = 5`,
    )
    const reads = IDS.map(id => items.findUnique({ where: { id } }))
    const settled = Promise.allSettled(reads)
    await until(async () => (await waiting(db)).length > 0, 'a fill waits')
    await cutStream(db)
    await until(() => cache.state !== 'live' || cache.health().reconnects > 0, 'the cut is noticed')
    await release()
    for (const [at, end] of (await settled).entries()) {
      const id = IDS[at]!
      if (end.status === 'rejected') expect(end.reason).toBeInstanceOf(CacheError)
      // Those that memory knew are as of before; the others come from PostgreSQL, where they waited for the commit.
      else if (id > 3) expect(end.value).toEqual(after(id))
      else expect(end.value).toEqual({ id, name: `item ${id}` })
    }
    await until(() => cache.state === 'live', 'the stream is there again')
    await expectTrue(db, cache, entity)
    await db.query(`update items set name = 'later' where id in (1, 2, 5, 6)`)
    await expectTrue(db, cache, entity)
  })
})

/** The row after the transaction that held the table. */
const after = (id: number): Item | null =>
  id === 5 ? null : { id, name: id === 2 || id === 4 ? 'during' : `item ${id}` }

describe('fills that fail', () => {
  test('since the query is cancelled leave nothing half-known, and name what happened', async () => {
    const { db, cache, entity, items } = await open()
    const release = await holding(db, 'select 1')
    const reads = Promise.allSettled(IDS.map(id => items.findUnique({ where: { id } })))
    await until(async () => (await waiting(db)).length > 0, 'a fill waits')
    for (const pid of await waiting(db)) await db.query('select pg_cancel_backend($1)', [pid])
    for (const end of await reads) {
      expect(end.status).toBe('rejected')
      expect((end as PromiseRejectedResult).reason).toBeInstanceOf(DatabaseReadError)
    }
    for (const id of IDS) expect(() => items.local.get(id)).toThrow(NotLocalError)
    await release()
    await expectTrue(db, cache, entity)
  })

  test('since their session is ended are answered by another one, or named', async () => {
    const { db, cache, entity, items } = await open()
    const release = await holding(
      db,
      `update items set name = 'during' where id in (2, 4); delete from items where id = 5`,
    )
    const reads = Promise.allSettled(IDS.map(id => items.findUnique({ where: { id } })))
    await until(async () => (await waiting(db)).length > 0, 'a fill waits')
    for (const pid of await waiting(db)) await db.query('select pg_terminate_backend($1)', [pid])
    await release()
    for (const [at, end] of (await reads).entries())
      if (end.status === 'rejected') expect(end.reason).toBeInstanceOf(CacheError)
      else expect(end.value).toEqual(after(IDS[at]!))
    await expectTrue(db, cache, entity)
  })

  test('since there is no room to ask are refused by name, and the others are answered', async () => {
    const { db, cache, entity, items } = await open(undefined, { databaseGate: { running: 1, waiting: 1 } })
    const release = await holding(db, `update items set name = 'during' where id = 1`)
    const first = items.findUnique({ where: { id: 1 } })
    await until(async () => (await waiting(db)).length === 1, 'a fill waits')
    const second = items.findUnique({ where: { id: 2 } })
    await new Promise(resolve => setImmediate(resolve))
    await expect(items.findUnique({ where: { id: 3 } })).rejects.toThrow(OverloadedError)
    expect(() => items.local.get(3)).toThrow(NotLocalError)
    await release()
    expect(await first).toEqual({ id: 1, name: 'during' })
    expect(await second).toEqual({ id: 2, name: 'item 2' })
    await expectTrue(db, cache, entity)
  })
})

test('500 handlers, each with a client of the pool in its hands, miss at once and get their answers', async () => {
  const { pool, items } = await open({ maxRows: 600 })
  const handler = async (id: number): Promise<Item | null> => {
    const client = await pool.connect()
    try {
      return await items.findUnique({ where: { id } })
    } finally {
      client.release()
    }
  }
  const ids = Array.from({ length: 500 }, (_, i) => i + 1)
  expect(await Promise.all(ids.map(handler))).toEqual(ids.map(id => ({ id, name: `item ${id}` })))
})

test('when snapshots hold more old rows than there is room for, the oldest end by name and the others go on', async () => {
  const { db, cache, entity, items } = await open({ maxBytes: 64 * 1024 }, { snapshotMaxAgeMs: 600_000 })
  await db.query(`update items set name = repeat('0', 1000) where id <= 20`)
  await caughtUp(cache)
  await items.prefetch(IDS)
  const snapshots: Snapshot[] = []
  onTestFinished(() => {
    for (const snapshot of snapshots) snapshot.close()
  })
  // Each of them alone sees a version of all twenty rows, 1 kB each.
  for (let round = 1; round <= 6; round++) {
    snapshots.push(cache.snapshot())
    await db.query('update items set name = repeat($1, 1000) where id <= 20', [String(round)])
    await caughtUp(cache)
  }
  const read = (snapshot: Snapshot): string | undefined => {
    try {
      return snapshot.table(entity).local.get(1)!.name[0]
    } catch (error) {
      if (error instanceof SnapshotTooOldError) return undefined
      throw error
    }
  }
  await until(() => read(snapshots[0]!) === undefined, 'the oldest one has ended')
  const found = snapshots.map(read)
  const firstAlive = found.findIndex(value => value !== undefined)
  expect(firstAlive).toBeGreaterThan(0)
  expect(found.slice(firstAlive)).toEqual(snapshots.slice(firstAlive).map((_, i) => String(firstAlive + i)))
  expect(items.local.get(1)!.name[0]).toBe('6')
})
