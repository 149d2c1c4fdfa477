/** Connections that say nothing, for good reasons and bad ones, and a process that stands still. */
import { expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, type OpenCacheOptions, StaleError } from '../../src/index.js'
import { type Runtime, systemRuntime } from '../../src/runtime.js'
import { caughtUp, countingRuntime, poolOf, until } from '../support/cache.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'
import { startProxy } from '../support/tcp-proxy.js'

interface Row {
  readonly id: number
  readonly n: number
}

/** What takes 15 s takes three. More, and a busy machine would look like a process that stands still. */
const PACE = 5
/** Longer than a server that is dead is waited for. */
const SILENT_MS = 25_000

const rows = defineTable<Row>({ name: 'rows' })

async function given(walSenderTimeout: string): Promise<TestDatabase> {
  const db = await testDatabase()
  await db.query(`create table rows (id int primary key, n int); insert into rows values (1, 0);
    alter database "${db.name}" set wal_sender_timeout = '${walSenderTimeout}'`)
  return db
}

async function open(db: TestDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [rows], ...options })
  onTestFinished(() => cache.close())
  return cache
}

/** Nothing else happens in this process meanwhile. */
const standStill = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)

/** The walsender of the cache, while it is at work. */
async function busyWalSender(db: TestDatabase): Promise<number | undefined> {
  const [found] = await db.query<{ pid: number }>(
    `select pid from pg_stat_activity where backend_type = 'walsender' and datname = current_database()
      and wait_event_type is distinct from 'Activity' and wait_event_type is distinct from 'Client'`,
  )
  return found?.pid
}

test('a server that gives no sign of life by itself is asked for one, and a dead one is noticed', async () => {
  shows('C5', 'C6')
  const db = await given('0')
  const { hostname: host, port } = new URL(db.url)
  await using proxy = await startProxy({ host, port: Number(port) })
  const cache = await open(db, {
    replication: proxy.through(db.url),
    runtime: countingRuntime(PACE),
    maxStaleness: Number.POSITIVE_INFINITY,
  })
  expect(cache.state).toBe('live')
  proxy.blackHole()
  await until(() => cache.health().reconnects > 0, 'it is noticed', 60_000)
  proxy.mend()
  await until(() => cache.state === 'live', 'there is a new stream', 60_000)
  await db.query('update rows set n = 1')
  await until(() => cache.table(rows).local.get(1)?.n === 1, 'it goes on')
  await cache.close()
}, 150_000)

test('a server that decodes a huge transaction for longer than a dead one is waited for is left in peace', async () => {
  shows('C7')
  const db = await given('0')
  const runtime = countingRuntime(PACE)
  const cache = await open(db, { runtime, maxStaleness: Number.POSITIVE_INFINITY })
  // Of a table that nobody declared: it is decoded, and nothing of it is sent.
  await db.query(`create table huge as select i, repeat('x', 50) as x from generate_series(1, 500000) i`)
  let pid: number | undefined
  await until(async () => {
    const found = await busyWalSender(db)
    if (found === undefined) return isPast(cache, db)
    // It is stopped in the middle of its work, so that this takes as long as it is to.
    process.kill(found, 'SIGSTOP')
    pid = await busyWalSender(db)
    if (pid === undefined) process.kill(found, 'SIGCONT')
    return pid !== undefined
  }, 'the walsender is at work')
  if (pid === undefined) throw new Error('The transaction was decoded before anybody had a look.')
  try {
    const beganMs = runtime.clock.monotonicMs()
    await until(() => runtime.clock.monotonicMs() > beganMs + SILENT_MS, 'it has been silent for so long')
    expect(cache.health().reconnects).toBe(0)
    // That much is known meanwhile: how old memory is.
    expect(cache.staleness()).toBeGreaterThan(SILENT_MS / 2)
  } finally {
    process.kill(pid, 'SIGCONT')
  }
  await db.query('update rows set n = 1')
  await until(() => cache.table(rows).local.get(1)?.n === 1, 'the next commit is there')
  expect(cache.health().reconnects).toBe(0)
}, 90_000)

const isPast = async (cache: Cache, db: TestDatabase): Promise<boolean> => {
  const [row] = await db.query<{ past: boolean }>(`select pg_current_wal_flush_lsn() <= $1::pg_lsn as past`, [
    cache.health().lsn,
  ])
  return row!.past
}

test('after a stall that has cost the connection, the first read knows that it may be stale', async () => {
  shows('C9')
  const db = await given('1s')
  const cache = await open(db, { maxStaleness: 1_500 })
  const { local } = cache.table(rows)
  await caughtUp(cache)
  expect(local.get(1)?.n).toBe(0)
  const written = db.query(`select pg_sleep(0.2); update rows set n = 1`)
  // The statement is on its way.
  await new Promise(resolve => setImmediate(resolve))
  standStill(4_000)
  expect(() => local.get(1)).toThrow(StaleError)
  expect(() => cache.snapshot()).toThrow(StaleError)
  expect((await cache.table(rows).findUnique({ where: { id: 1 } }))?.n).toBe(1)
  await written
  await caughtUp(cache)
  await until(() => cache.health().stalenessMs < 1_000, 'memory is fresh again')
  expect(local.get(1)?.n).toBe(1)
}, 60_000)

/** The system's clocks, which a test can set. */
function settableClocks(): { runtime: Runtime; monotonicAheadMs: number; wallAheadMs: number } {
  const ahead = { monotonicAheadMs: 0, wallAheadMs: 0 }
  const { clock } = systemRuntime
  const runtime = {
    ...systemRuntime,
    clock: {
      monotonicMs: () => clock.monotonicMs() + ahead.monotonicAheadMs,
      wallMs: () => clock.wallMs() + ahead.wallAheadMs,
    },
  }
  return Object.assign(ahead, { runtime })
}

test('the first read after a minute that this process was suspended knows it; where the clock on the wall is set to does not matter', async () => {
  shows('C9', 'C40')
  const db = await given('60s')
  const clocks = settableClocks()
  const cache = await open(db, { runtime: clocks.runtime })
  const { local } = cache.table(rows)
  for (const aheadMs of [-3_600_000, 86_400_000, 0]) {
    clocks.wallAheadMs = aheadMs
    expect(local.get(1)?.n).toBe(0)
    expect(cache.staleness()).toBeLessThan(10_000)
    await caughtUp(cache)
  }
  await new Promise(resolve => setImmediate(resolve))
  clocks.monotonicAheadMs += 60_000
  expect(() => local.get(1)).toThrow(StaleError)
  expect(cache.staleness()).toBeGreaterThan(59_000)
  expect((await cache.table(rows).findUnique({ where: { id: 1 } }))?.n).toBe(0)
  await until(() => cache.staleness() < 10_000, 'a probe has shown it to be current')
  expect(local.get(1)?.n).toBe(0)
  expect(cache.health().reconnects).toBe(0)
})
