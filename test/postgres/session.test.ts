/** One user's reads never go back: from memory to memory, from one process to another, from PostgreSQL to memory. */
import { expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, TokenError, WaitTimeoutError } from '../../src/index.js'
import { caughtUp, poolOf } from '../support/cache.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

const rows = defineTable<{ id: number; n: number }>({ name: 'rows' })
const one = { where: { id: 1 } }

async function given(): Promise<TestDatabase> {
  const db = await testDatabase()
  await db.query('create table rows (id int primary key, n int); insert into rows values (1, 0)')
  return db
}

async function open(db: TestDatabase): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [rows], maxStaleness: 60_000 })
  onTestFinished(() => cache.close())
  return cache
}

/** Holds the stream of the cache that was opened last. */
async function holdStream(db: TestDatabase): Promise<() => void> {
  const [walsender] = await db.query<{ pid: number }>(
    `select pid from pg_stat_activity where backend_type = 'walsender' and datname = current_database()
      order by backend_start desc limit 1`,
  )
  process.kill(walsender!.pid, 'SIGSTOP')
  const release = (): void => void process.kill(walsender!.pid, 'SIGCONT')
  onTestFinished(release)
  return release
}

test('its reads go on in another process where they were, by a text that fits a cookie', async () => {
  const db = await given()
  const here = await open(db)
  const there = await open(db)
  let cookie = ''
  for (let n = 1; n <= 30; n++) {
    const writing = here.session(cookie)
    expect(writing.toString()).toBe(cookie)
    await writing.write(client => client.query('update rows set n = $1', [n]))
    cookie = writing.toString()
    expect(cookie).toMatch(/^[\w.~-]{1,64}$/)
    const reading = there.session(cookie)
    expect((await reading.table(rows).findUnique(one))?.n).toBe(n)
    using snapshot = await reading.snapshot()
    expect(snapshot.table(rows).local.get(1)?.n).toBe(n)
    cookie = reading.token!
  }
})

test('what one read was answered by PostgreSQL, the next one from memory shows as well', async () => {
  const db = await given()
  const cache = await open(db)
  const release = await holdStream(db)
  await db.query('update rows set n = 5')
  const session = cache.session()
  expect(session.token).toBe(null)
  const table = session.table(rows)
  // Memory is fresh by the cache's bound, and behind.
  expect((await cache.table(rows).findUnique(one))?.n).toBe(0)
  expect((await table.findUnique(one))?.n).toBe(0)
  const before = session.token
  expect((await table.findUnique({ ...one, maxStaleness: 0 }))?.n).toBe(5)
  expect(session.token).not.toBe(before)
  await expect(table.findUnique({ ...one, timeoutMs: 20, onTimeout: 'throw' })).rejects.toBeInstanceOf(
    WaitTimeoutError,
  )
  await expect(session.snapshot({ timeoutMs: 20 })).rejects.toBeInstanceOf(WaitTimeoutError)
  expect((await table.findUnique({ ...one, timeoutMs: 20 }))?.n).toBe(5)
  expect((await table.findUniqueOrThrow({ ...one, timeoutMs: 20 })).n).toBe(5)
  // Another user's reads wait for nothing.
  expect((await cache.session().table(rows).findUnique(one))?.n).toBe(0)
  release()
  expect((await table.findUnique({ ...one, onTimeout: 'throw' }))?.n).toBe(5)
})

test('it takes tokens of others, and refuses what is none', async () => {
  const db = await given()
  const cache = await open(db)
  const session = cache.session(null)
  await db.query('update rows set n = 3')
  session.observe(await cache.token())
  expect((await session.table(rows).findUnique(one))?.n).toBe(3)
  const seen = session.token!
  await caughtUp(cache)
  // An older token moves nothing.
  session.observe(cache.session(seen).token!)
  expect(session.token).toBe(seen)
  expect(() => cache.session('not a token')).toThrow(TokenError)
  expect(() => session.observe('')).toThrow(TokenError)
})
