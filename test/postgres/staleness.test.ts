/** How old a read may be, with a network that swallows everything and tells nobody. */
import { expect, onTestFinished, test } from 'vitest'
import { type CacheEvents, ConnectionError, defineTable, openCache, StaleError } from '../../src/index.js'
import { countingRuntime, poolOf, until } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'
import { startProxy } from '../support/tcp-proxy.js'
import { shows } from '../support/shows.js'

const one = { where: { id: 1 } }

async function given() {
  const db = await testDatabase()
  await db.query('create table rows (id int primary key, n int); insert into rows values (1, 0)')
  const { hostname: host, port } = new URL(db.url)
  const proxy = await startProxy({ host, port: Number(port) })
  onTestFinished(() => proxy[Symbol.asyncDispose]())
  return { db, proxy }
}

test('no read is older than its bound while the network swallows everything, and reads go on when it is mended', async () => {
  shows('C5')
  const { db, proxy } = await given()
  const rows = defineTable<{ id: number; n: number }>({ name: 'rows' })
  const cache = await openCache({ pool: poolOf(proxy.through(db.url)), entities: [rows], maxStaleness: 500 })
  onTestFinished(() => cache.close())
  const { local } = cache.table(rows)
  /** When each value had been committed. */
  const committedMs: number[] = [Number.NEGATIVE_INFINITY]
  let isOver = false
  const writing = (async () => {
    for (let n = 1; !isOver; n++) {
      await db.query('update rows set n = $1', [n])
      committedMs.push(performance.now())
    }
  })()
  let shown = 0
  let refused = 0
  const readOnce = (): void => {
    const now = performance.now()
    try {
      const { n } = local.get(1)!
      shown++
      const next = committedMs[n + 1]
      if (next !== undefined) expect(now - next).toBeLessThanOrEqual(500)
    } catch (error) {
      if (!(error instanceof StaleError)) throw error
      refused++
    }
  }
  const readUntil = (condition: () => boolean, what: string): Promise<void> =>
    until(() => {
      readOnce()
      return condition()
    }, what)
  await readUntil(() => shown >= 50, 'memory is read')
  proxy.blackHole()
  const before = shown
  // On a session that will never answer, and then on another one; or, if none was idle, on one that can't be made, which is told by name.
  const token = cache.token().catch((error: unknown) => {
    if (!(error instanceof ConnectionError)) throw error
    return cache.token()
  })
  await readUntil(() => refused >= 50, 'reads are refused')
  expect(shown, 'it was read on for a while').toBeGreaterThan(before)
  proxy.mend()
  await cache.waitFor(await token, { timeoutMs: 60_000 })
  isOver = true
  await writing
  const last = committedMs.length - 1
  await until(
    () => {
      try {
        return local.get(1)?.n === last
      } catch (error) {
        if (!(error instanceof StaleError)) throw error
        return false
      }
    },
    'memory is fresh again',
    60_000,
  )
}, 120_000)

test('a stream that dies unnoticed on an idle server is noticed, and made anew', async () => {
  shows('C5')
  const { db, proxy } = await given()
  const rows = defineTable<{ id: number }>({ name: 'rows' })
  const cache = await openCache({
    pool: poolOf(db.url),
    replication: proxy.through(db.url),
    entities: [rows],
    // What takes 15 s takes three.
    runtime: countingRuntime(5),
    maxStaleness: 3_600_000,
  })
  onTestFinished(() => cache.close())
  proxy.blackHole()
  await until(() => cache.health().reconnects > 0, 'it is noticed', 60_000)
  expect(cache.health().lastError).toMatchObject({ code: 'CACHE_CONNECTION', failure: 'silent' })
  proxy.mend()
  await until(() => cache.state === 'live', 'there is a new stream', 60_000)
}, 150_000)

test('a table has its own bound and policies, and events tell which bound is passed, whatever their listeners do', async () => {
  const { db, proxy } = await given()
  await db.query('create table others (id int primary key); insert into others values (1)')
  const rows = defineTable<{ id: number; n: number }>({
    name: 'rows',
    maxStaleness: 400,
    onStale: { asynchronous: 'throw' },
  })
  const others = defineTable<{ id: number }>({ name: 'others' })
  const cache = await openCache({
    pool: poolOf(proxy.through(db.url)),
    entities: [rows, others],
    maxStaleness: 3_600_000,
  })
  onTestFinished(() => cache.close())
  const stale: CacheEvents['stale'][] = []
  const fresh: CacheEvents['fresh'][] = []
  cache.on('stale', () => {
    throw new Error('A listener that fails.')
  })
  const off = cache.on('stale', event => stale.push(event))
  cache.on('fresh', event => fresh.push(event))
  expect(cache.staleness()).toBeLessThan(3_600_000)
  proxy.blackHole()
  await until(() => stale.length > 0, 'it is told, though nobody reads')
  expect(stale).toEqual([{ stalenessMs: stale[0]!.stalenessMs, maxStalenessMs: 400, table: 'public.rows' }])
  expect(stale[0]!.stalenessMs).toBeGreaterThan(400)
  expect(() => cache.table(rows).local.get(1)).toThrow(StaleError)
  await expect(cache.table(rows).findUnique(one)).rejects.toBeInstanceOf(StaleError)
  expect(await cache.table(rows).findUnique({ ...one, onStale: 'serve' })).toEqual({ id: 1, n: 0 })
  expect(cache.table(others).local.get(1)).toEqual({ id: 1 })
  proxy.mend()
  await until(() => fresh.length > 0, 'it is fresh again', 60_000)
  expect(fresh[0]).toEqual({ maxStalenessMs: 400, table: 'public.rows' })
  expect(cache.table(rows).local.get(1)).toEqual({ id: 1, n: 0 })
  off()
}, 90_000)
