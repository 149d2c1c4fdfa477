/** Commits that wait for a synchronous standby: PostgreSQL's own answers must not take a reader back, and we must never be that standby. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BehindError, type Cache, defineTable, openCache, SetupError } from '../../src/index.js'
import { caughtUp, databaseOn, type OwnDatabase, poolOf, setStandbys, until } from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server[Symbol.asyncDispose]())

const rows = defineTable<{ id: number; n: number }>({ name: 'rows' })
const others = defineTable<{ id: number }>({ name: 'others' })
const one = { where: { id: 1 } }

async function given(): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query('create table rows (id int primary key, n int); insert into rows values (1, 0)')
  await db.query('create table others (id int primary key); insert into others values (1)')
  return db
}

/** The stream announces a table before its first change, and that change is held back until queries see its transaction: not one that hangs. */
async function announce(db: OwnDatabase, cache: Cache): Promise<void> {
  await db.query('update rows set n = 0')
  await caughtUp(cache)
}

test('a read that asks PostgreSQL does not go back behind what memory shows while a commit hangs', async () => {
  const db = await given()
  await using cache = await openCache({ pool: poolOf(db.url), entities: [rows, others] })
  const table = cache.table(rows)
  await db.query('set synchronous_commit = local')
  await announce(db, cache)
  await setStandbys(db, 'nosuch')
  const writer = await db.connect()
  try {
    const hanging = writer.query('update rows set n = 7')
    await until(() => table.local.get(1)?.n === 7, 'memory shows the commit')
    expect((await db.query('select n from rows'))[0]).toEqual({ n: 0 })
    const read = { ...one, maxStaleness: 0, timeoutMs: 100 }
    await expect(table.findUnique(read)).rejects.toBeInstanceOf(BehindError)
    await expect(cache.session().table(rows).findUnique(read)).rejects.toMatchObject({
      code: 'CACHE_BEHIND',
      table: 'public.rows',
    })
    // Others are not held up, and memory is read on.
    expect(await cache.table(others).findUnique(read)).toEqual({ id: 1 })
    expect((await table.findUnique(one))?.n).toBe(7)
    const patient = table.findUnique({ ...one, maxStaleness: 0, timeoutMs: 20_000 })
    await setStandbys(db, '')
    expect((await patient)?.n).toBe(7)
    await hanging
    expect((await table.findUnique(read))?.n).toBe(7)
  } finally {
    await setStandbys(db, '')
  }
}, 60_000)

test('a server that would take the cache for a standby is refused, before and while it streams, until that is mended', async () => {
  shows('I30')
  const db = await given()
  await db.query('set synchronous_commit = local')
  const pool = poolOf(db.url)
  await using cache = await openCache({ pool, entities: [rows], maxStaleness: 1_000 })
  try {
    await setStandbys(db, '*')
    await until(() => cache.health().lastError instanceof SetupError, 'the stream is ended')
    expect(cache.health().lastError).toMatchObject({ problems: [{ kind: 'synchronous-standby' }] })
    await expect(openCache({ pool, entities: [rows] })).rejects.toMatchObject({
      code: 'CACHE_SETUP',
      problems: [{ kind: 'synchronous-standby' }],
    })
    // Asynchronous reads go on.
    expect((await cache.table(rows).findUnique(one))?.n).toBe(0)
    await setStandbys(db, '')
    await until(() => cache.state === 'live', 'there is a new stream', 40_000)
  } finally {
    await setStandbys(db, '')
  }
}, 90_000)

test('while commits wait for a standby that is not there, memory is shown to be fresh and tokens are reached', async () => {
  shows('I33')
  const db = await given()
  await using cache = await openCache({ pool: poolOf(db.url), entities: [rows], maxStaleness: 1_500 })
  const writer = await db.connect()
  await db.query('set synchronous_commit = local')
  await announce(db, cache)
  // What is not waited for stays unflushed until somebody asks.
  await db.query(`alter system set wal_writer_delay = '10s'`)
  await setStandbys(db, 'nosuch')
  const hanging = writer.query('insert into rows values (2, 0)')
  try {
    await db.query('set synchronous_commit = off')
    for (let n = 1; n <= 5; n++) {
      await db.query('update rows set n = $1 where id = 1', [n])
      await cache.waitFor(await cache.token(), { timeoutMs: 20_000 })
      expect((await cache.table(rows).findUnique(one))?.n).toBe(n)
    }
    const askedMs = performance.now()
    await until(
      () => cache.staleness() < performance.now() - askedMs,
      'a proof that began meanwhile has come',
    )
  } finally {
    await db.query('set synchronous_commit = local')
    await db.query('alter system reset wal_writer_delay')
    await setStandbys(db, '')
  }
  await hanging
}, 60_000)
