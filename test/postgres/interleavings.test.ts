/** Orders of events between writers, DDL, readers and the stream, each brought about step by step on a server. */
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  type CacheError,
  defineTable,
  openCache,
  type OpenCacheOptions,
  SnapshotTooOldError,
  TableChangedError,
  TableReloadingError,
} from '../../src/index.js'
import { blockingSql } from '../support/blocking-sql.js'
import { caughtUp, poolOf, rowsByKey, until } from '../support/cache.js'
import { shows } from '../support/shows.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

interface Thing {
  readonly id: number
  readonly n: number
  readonly note: string
}

const things = defineTable<Thing>({ name: 'things' })
const others = defineTable<{ id: number }>({ name: 'others' })

async function given(
  options: Partial<OpenCacheOptions> = {},
  { major = 18, setup = '' }: { major?: 15 | 18; setup?: string } = {},
): Promise<{ db: TestDatabase; cache: Cache }> {
  const db = await testDatabase({ major })
  await db.query(`
    create table things (id int primary key, n int, note text);
    insert into things select i, 0, 'note ' || i from generate_series(1, 20) i;
    create table others (id int primary key);
    ${setup}`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [things, others], ...options })
  onTestFinished(() => cache.close())
  return { db, cache }
}

async function expectEqualToTable(cache: Cache, db: TestDatabase, declaration = things): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await db.query<Thing>('select * from things'), ({ id }) => id)
  expect(rowsByKey(cache.table(declaration).local, ({ id }) => id)).toEqual(inDatabase)
}

const failureOf = (cache: Cache): CacheError | null => cache.health().tables[0]!.failed

const isBack = (cache: Cache) => (): boolean => cache.state === 'live' && failureOf(cache) === null

const isLeftOut = (cache: Cache) => (): boolean => failureOf(cache) instanceof TableChangedError

describe('a publication that is dropped and made again', () => {
  test.each([15, 18] as const)('has lost nothing for the cache (PostgreSQL %i)', async major => {
    shows('C21', 'I24')
    const { db, cache } = await given({ maxStaleness: 900 }, { major })
    const { local } = cache.table(things)
    await db.query('drop publication walcache')
    await db.query(`insert into things values (112, 0, 'in between')`)
    await db.query('create publication walcache for table things, others')
    await db.query(`insert into things values (113, 0, 'after')`)
    const has = (id: number): boolean => isBack(cache)() && local.has(id)
    await until(() => has(112) && has(113), 'both are there')
    await expectEqualToTable(cache, db)
    await db.query('delete from things where id < 5')
    await expectEqualToTable(cache, db)
  })

  test('by somebody else leaves a table out that he has not named, until he does', async () => {
    shows('S9', 'C22')
    const setup = 'create publication theirs for table things, others'
    const { db, cache } = await given({ maxStaleness: 900, publication: 'theirs' }, { setup })
    await db.query(`begin; drop table things; create table things (id int primary key, n int, note text);
      insert into things values (5, 5, 'again'); commit`)
    await until(() => failureOf(cache) !== null || cache.state === 'failed', 'it is noticed')
    if (cache.state !== 'failed') {
      expect(() => cache.table(things).local.get(5)).toThrow()
      await db.query('alter publication theirs add table things')
      await until(isBack(cache), 'it is back')
      await expectEqualToTable(cache, db)
    } else expect(cache.health().lastError).toMatchObject({ code: 'CACHE_PUBLICATION' })
  })
})

test('a token of what comes after a huge transaction is reached with it, and not before', async () => {
  shows('I26')
  const { db, cache } = await given({ sliceMs: 0.5, maxStaleness: 60_000 })
  await db.query(`insert into things select i, 0, 'many' from generate_series(21, 40000) i`)
  await caughtUp(cache)
  const { local } = cache.table(things)
  for (let n = 1; n <= 3; n++) {
    await db.query('update things set n = $1', [n])
    const token = await cache.token()
    const early = [1, 20_000, 40_000].map(id => local.get(id)?.n)
    expect(new Set(early).size, 'all of it or nothing').toBe(1)
    await cache.waitFor(token, { timeoutMs: 20_000 })
    expect([1, 20_000, 40_000].map(id => local.get(id)?.n)).toEqual([n, n, n])
  }
})

test('a table that is emptied and filled again under an iteration is seen as it was, each row once', async () => {
  shows('I29')
  const { db, cache } = await given()
  const refill = async (n: number): Promise<void> => {
    await db.query(`begin; truncate things;
      insert into things select i, ${n}, 'other' from generate_series(1, 30) i; commit`)
    await caughtUp(cache)
  }
  const before = await db.query<Thing>('select * from things')
  using snapshot = cache.snapshot()
  const seen: Thing[] = []
  for (const row of snapshot.table(things).local) {
    seen.push(row)
    if (seen.length % 5 === 0) await refill(seen.length)
  }
  expect(seen).toHaveLength(before.length)
  expect(rowsByKey(seen, ({ id }) => id)).toEqual(rowsByKey(before, ({ id }) => id))
  const iterate = async (): Promise<void> => {
    for (const row of cache.table(things).local) if (row.id > 0) await refill(row.id)
  }
  // Without one to hold on to, it ends by name at the next row.
  await expect(iterate()).rejects.toBeInstanceOf(SnapshotTooOldError)
  await expectEqualToTable(cache, db)
})

test('who waits for a commit while everything is loaded from before it waits on, and then sees it', async () => {
  shows('I32')
  const db = await testDatabase()
  await db.query(
    `create table things (id int primary key, n int, note text); create table others (id int primary key)`,
  )
  const lock = await blockingSql(db.url)
  let loads = 0
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [things, others],
    onProgress: ({ rows, tablesDone }) => {
      // The slot of the second load is there by now. It can't read this table until it is let.
      if (rows === 0 && tablesDone === 0 && ++loads === 2) lock('begin; lock table others')
    },
  })
  onTestFinished(() => cache.close())
  await db.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()',
  )
  await until(() => loads === 2, 'it loads anew')
  await db.query(`insert into things values (7, 7, 'late')`)
  const token = await cache.token()
  let isReached = false
  const reached = cache.waitFor(token, { timeoutMs: 20_000 }).then(() => {
    isReached = true
  })
  await until(() => cache.health().waiting > 0, 'it is waited for')
  expect(cache.table(things).local.has(7)).toBe(false)
  expect(isReached).toBe(false)
  lock('commit')
  await reached
  expect(cache.table(things).local.get(7)).toEqual({ id: 7, n: 7, note: 'late' })
})

test('a writer whose number no snapshot has passed yet is waited for before a table is read anew', async () => {
  shows('I12', 'I34')
  const { db, cache } = await given({ maxStaleness: 900 })
  const writer = await db.connect()
  await writer.query('begin; lock table things in row exclusive mode')
  await db.query('alter publication walcache drop table things')
  // Never sent, whatever happens to the publication now.
  const { rows } = await writer.query<{ xmax: string; xid: string }>(
    `insert into things values (100, 1, 'early') returning pg_snapshot_xmax(pg_current_snapshot())::text as xmax,
      pg_current_xact_id()::text as xid`,
  )
  expect(BigInt(rows[0]!.xmax) <= BigInt(rows[0]!.xid), 'to wait for what was running is not enough').toBe(
    true,
  )
  const published = `select from pg_publication_tables where pubname = 'walcache' and tablename = 'things'`
  await until(async () => (await db.query(published)).length > 0, 'it is published again')
  expect(failureOf(cache)).toBeInstanceOf(TableReloadingError)
  const askedMs = performance.now()
  await until(() => cache.staleness() < performance.now() - askedMs, 'the server was asked once more')
  expect(failureOf(cache)).toBeInstanceOf(TableReloadingError)
  await writer.query(`insert into things values (101, 1, 'late'); commit`)
  await until(isBack(cache), 'it is back')
  await expectEqualToTable(cache, db)
  expect(cache.table(things).local.get(100)?.note).toBe('early')
})

test('nothing of a savepoint that a huge transaction has rolled back is ever seen', async () => {
  shows('I35')
  const { db, cache } = await given()
  await db.query(`alter database "${db.name}" set logical_decoding_work_mem = '64kB'`)
  // A walsender takes the setting over when it begins.
  await db.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()',
  )
  await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
  const { local } = cache.table(things)
  let isOver = false
  let wrong = 0
  const watching = (async () => {
    while (!isOver) {
      if (local.size !== 20 && local.size !== 10_021) wrong++
      if (local.has(20_000) || local.has(40_000)) wrong++
      await new Promise(resolve => setImmediate(resolve))
    }
  })()
  const writer = await db.connect()
  const insert = (from: number): string =>
    `insert into things select i, 0, repeat('x', 100) from generate_series(${from}, ${from + 9_999}) i;`
  await writer.query(`begin; ${insert(40_000)} rollback`)
  await writer.query(`begin; ${insert(1_000)} savepoint s; ${insert(20_000)} rollback to s;
    insert into things values (0, 0, 'last'); commit`)
  await caughtUp(cache)
  isOver = true
  await watching
  expect(wrong).toBe(0)
  await expectEqualToTable(cache, db)
})

describe('a table that is altered', () => {
  test('within a transaction that changes rows before and after it is read as it was written', async () => {
    shows('S10')
    const { db, cache } = await given({ maxStaleness: 900 })
    await db.query(`begin;
      insert into things values (30, 1, 'before');
      alter table things add column extra int default 5;
      insert into things values (31, 2, 'between', 6);
      alter table things drop column n;
      insert into things values (32, 'after', 7);
      update things set note = 'also' where id = 30;
      commit`)
    await until(() => isBack(cache)() && cache.table(things).local.has(32), 'it is back')
    await expectEqualToTable(cache, db)
    expect(cache.table(things).local.get(30)).toEqual({ id: 30, note: 'also', extra: 5 })
  })

  test('is left out when a column that was declared is dropped, and not for another one', async () => {
    shows('S4')
    const listed = defineTable<Pick<Thing, 'id' | 'note'>>({ name: 'things', columns: ['id', 'note'] })
    const { db, cache } = await given({ maxStaleness: 900, entities: [listed, others] })
    const { local } = cache.table(listed)
    await db.query('alter table things drop column n')
    await db.query(`insert into things values (30, 'after')`)
    await until(() => isBack(cache)() && local.has(30), 'it goes on')
    expect(local.get(1)).toEqual({ id: 1, note: 'note 1' })
    await db.query('alter table things drop column note')
    await until(isLeftOut(cache), 'it is left out')
    expect(failureOf(cache)).toMatchObject({ cause: { problems: [{ kind: 'missing-column' }] } })
    expect(() => local.get(1)).toThrow(TableChangedError)
    expect(cache.table(others).local.size).toBe(0)
    expect(cache.state).toBe('live')
  })

  test('is left out when its old keys would no longer be sent', async () => {
    shows('S13', 'I21')
    const setup =
      'alter table things add column u int; update things set u = id; alter table things alter u set not null; create unique index things_u on things (u)'
    const { db, cache } = await given({ maxStaleness: 900 }, { setup })
    await db.query('alter table things replica identity using index things_u')
    await db.query('update things set id = 101 where id = 1')
    await until(isLeftOut(cache), 'it is left out')
    expect(failureOf(cache)?.message).toMatch(/replica identity/i)
    await db.query('alter table things replica identity default')
    await until(isBack(cache), 'it is back')
    await expectEqualToTable(cache, db)
  })

  test('to be unlogged is so nowhere: PostgreSQL refuses it while it is published', async () => {
    shows('S27')
    const { db, cache } = await given()
    await expect(db.query('alter table things set unlogged')).rejects.toMatchObject({ code: '55000' })
    await db.query('update things set n = 1')
    await expectEqualToTable(cache, db)
    expect(cache.health()).toMatchObject({ reconnects: 0, lastError: null })
  })
})

test('tables that nobody declared may be in the stream, and do what they like', async () => {
  shows('S28')
  const setup = 'create publication everything for all tables'
  const { db, cache } = await given({ publication: 'everything', entities: [things] }, { setup })
  await db.query(`create type odd as (a int, b text);
    create table undeclared (id int primary key, o odd, x xml, big text);
    insert into undeclared values (1, '(1,x)', '<a/>', repeat('x', 100000)); insert into things values (30, 1, 'also')`)
  await db.query(`begin; alter table undeclared add column more int default 1; update undeclared set id = 2, more = 3;
    insert into things values (31, 1, 'within'); truncate undeclared; drop table undeclared; commit`)
  await expectEqualToTable(cache, db)
  expect(cache.health()).toMatchObject({ reconnects: 0, lastError: null })
})
