/** Sessions whose network fails without a word while the stream's does not: whoever waits for them gets an answer all the same, and soon. */
import { expect, onTestFinished, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import type { Connections } from '../../src/runtime.js'
import { countingRuntime, poolOf, recordingLogger, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { startProxy } from '../support/tcp-proxy.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'
import { shows } from '../support/shows.js'

/** What takes twenty seconds takes four. */
const PACE = 5

/** `beforeCopy` is awaited before the first COPY. */
async function given(beforeCopy: () => Promise<void> = () => Promise.resolve()) {
  const db = await testDatabase()
  await db.query(
    `create table things (id int primary key, name text); insert into things select i, 'thing ' || i from generate_series(1, 100) i`,
  )
  const { hostname: host, port } = new URL(db.url)
  const proxy = await startProxy({ host, port: Number(port) })
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  const looks = { made: 0 }
  const query = (sql: string): void => {
    if (/from pg_catalog\.pg_stat_activity where pid = any/.test(sql)) looks.made++
  }
  const proxied = (await tamperedRuntime(poolOf(proxy.through(db.url)), { query })).connections!
  const direct = (await tamperedRuntime(poolOf(db.url), {})).connections!
  let first: Promise<void> | undefined
  const connections: Connections = {
    async query(signal, by) {
      const session = await (by === 'replication' ? direct : proxied).query(signal, by)
      return {
        pid: session.pid,
        get received() {
          return session.received
        },
        query: (sql, parameters) => session.query(sql, parameters),
        async *copyOut(sql) {
          first ??= beforeCopy()
          await first
          yield* session.copyOut(sql)
        },
        closed: session.closed,
        close: () => session.close(),
      }
    },
    replication: signal => direct.replication(signal),
  }
  return { db, proxy, looks, runtime: { ...countingRuntime(PACE), connections } }
}

/** Holds the table for itself until it is told to let go. */
async function holding(db: TestDatabase): Promise<() => Promise<void>> {
  const client = await db.connect()
  onTestFinished(() => client.end())
  await client.query('begin; lock table things in access exclusive mode')
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

test('a load waits for a lock for as long as it is held, and begins anew when its session has fallen silent', async () => {
  shows('C5')
  const { db, proxy, looks, runtime } = await given(() => hold())
  const things = defineTable<{ id: number; name: string }>({ name: 'things' })
  let release = (): Promise<void> => Promise.resolve()
  // By then everything else that would wait for the lock is done.
  const hold = async (): Promise<void> => {
    release = await holding(db)
  }
  const logger = recordingLogger()
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [things],
    wait: false,
    logger,
    runtime,
  })
  onTestFinished(() => cache.close())
  await until(async () => (await waiting(db)).length === 1, 'the load waits', 60_000)
  const [pid] = await waiting(db)
  await until(() => looks.made >= 3, 'it was looked at, again and again', 60_000)
  expect(await waiting(db)).toEqual([pid])
  expect(logger.lines.filter(line => line.includes('is silent'))).toEqual([])

  proxy.blackHole()
  proxy.mend()
  await release()
  await cache.ready()
  expect(logger.lines.some(line => line.includes('is silent'))).toBe(true)
  expect(cache.table(things).local.count()).toBe(100)
}, 150_000)

test('a read that asks PostgreSQL over a silent session is answered over another one', async () => {
  const { db, proxy, runtime } = await given()
  const things = defineTable<{ id: number; name: string }>({ name: 'things', keep: { maxRows: 10 } })
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [things],
    // No probe comes and finds out.
    maxStaleness: 3_600_000,
    runtime,
  })
  onTestFinished(() => cache.close())
  expect(await cache.table(things).findUnique({ where: { id: 1 } })).toEqual({ id: 1, name: 'thing 1' })
  proxy.blackHole()
  proxy.mend()
  const found = await Promise.all(
    [2, 3, 4].map(id => cache.table(things).findUnique({ where: { id }, consistency: 'fresh' })),
  )
  expect(found.map(row => row?.name)).toEqual(['thing 2', 'thing 3', 'thing 4'])
}, 150_000)
