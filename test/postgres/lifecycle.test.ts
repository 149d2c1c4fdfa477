import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  ClosedError,
  defineTable,
  NotReadyError,
  openCache,
  type OpenCacheOptions,
} from '../../src/index.js'
import {
  caughtUp,
  ledger,
  openWriter,
  type OwnDatabase,
  poolOf,
  recordingLogger,
  slotIsWaiting,
  until,
  usersDatabaseOn,
} from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

const users = defineTable<{ id: number; name: string }>({ name: 'users' })
const usersDatabase = (rows?: number): Promise<OwnDatabase> => usersDatabaseOn(server, rows)

// Of its own: open transactions here would hold up the slots of others.
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server[Symbol.asyncDispose]())

test('many may be opened at the same time, and the first of all', async () => {
  shows('C12')
  const db = await usersDatabase()
  await db.query('create table others (id int primary key)')
  const others = defineTable<{ id: number }>({ name: 'others' })
  const { runtime, settled } = await ledger(db)
  const pool = poolOf(db.url)
  const caches = await Promise.all(
    Array.from({ length: 6 }, (_, i) =>
      openCache({ pool, entities: i % 2 === 0 ? [users] : [others, users], runtime }),
    ),
  )
  await db.query(`update users set name = 'Ada' where id = 1`)
  for (const cache of caches) {
    await caughtUp(cache)
    expect(cache.table(users).local.get(1)?.name).toBe('Ada')
    expect(cache.health().reconnects).toBe(0)
  }
  expect(await db.query('select tablename from pg_publication_tables order by 1')).toEqual([
    { tablename: 'others' },
    { tablename: 'users' },
  ])
  await Promise.all(caches.map(cache => cache.close()))
  await pool.end()
  await settled()
})

describe('closing', () => {
  test('the end of an `await using` block leaves nothing behind', async () => {
    const db = await usersDatabase()
    const { runtime, settled } = await ledger(db)
    const pool = poolOf(db.url)
    const signal = new AbortController().signal
    {
      await using cache = await openCache({ pool, entities: [users], runtime, signal })
      expect(cache.state).toBe('live')
      expect(cache.table(users).local.size).toBe(3)
    }
    await pool.end()
    await settled()
  })

  test('it may be closed again and again, at the same time and later', async () => {
    const db = await usersDatabase()
    const { runtime, settled } = await ledger(db)
    const pool = poolOf(db.url)
    const cache = await openCache({ pool, entities: [users], runtime })
    await Promise.all([cache.close(), cache.close(), cache[Symbol.asyncDispose]()])
    expect(cache.state).toBe('closed')
    await cache.close()
    await pool.end()
    await settled()
  })

  test('every way to read says afterwards that the cache is closed', async () => {
    const db = await usersDatabase()
    const cache = await openCache({ pool: poolOf(db.url), entities: [users] })
    const table = cache.table(users)
    const { local } = table
    expect(local.get(1)?.name).toBe('user 1')
    const token = await cache.token()
    const snapshot = cache.snapshot()
    const readBefore = snapshot.table(users).local
    const iteration = local[Symbol.iterator]()
    iteration.next()
    const changes = table.changes()
    const nextChange = changes.next()
    const waiting = cache
      .waitFor(token.replace(/\.[0-9a-z]+$/, '.3zzzzzzzzzz'))
      .catch((error: unknown) => error)
    await cache.close()

    for (const read of [
      () => local.get(1),
      () => local.getMany([1, 2]),
      () => local.has(1),
      () => local.size,
      () => [...local],
      () => iteration.next(),
      () => readBefore.get(1),
      () => readBefore.size,
      () => snapshot.table(users).local.get(2),
      () => cache.snapshot(),
      () => cache.position,
      () => table.changes(),
    ])
      expect(read).toThrow(ClosedError)
    for (const read of [
      () => table.findUnique({ where: { id: 1 } }),
      () => table.findUnique({ where: { id: 1 }, onStale: 'serve', onUnknown: 'database' }),
      () => table.findUniqueOrThrow({ where: { id: 1 } }),
      () => snapshot.table(users).findUnique({ where: { id: 1 } }),
      () => cache.token(),
      () => cache.waitFor(token),
    ])
      await expect(read()).rejects.toBeInstanceOf(ClosedError)
    expect(await nextChange).toEqual({ done: true, value: undefined })
    expect(await changes.next()).toEqual({ done: true, value: undefined })
    snapshot.close()
    expect(await waiting).toBeInstanceOf(ClosedError)
    expect(cache.health().state).toBe('closed')
    expect(cache.health().openSnapshots).toBe(0)
  })

  test('it does not wait for reads that PostgreSQL has not answered', async () => {
    shows('C36')
    const db = await usersDatabase()
    const locker = await db.connect()
    const { runtime, settled } = await ledger(db)
    const pool = poolOf(db.url)
    const cache = await openCache({ pool, entities: [users], runtime })
    await locker.query('begin')
    await locker.query('lock table users')
    const reads = Array.from({ length: 20 }, (_, id) =>
      cache
        .table(users)
        .findUnique({ where: { id }, maxStaleness: 0, onStale: 'database' })
        .catch((error: unknown) => error),
    )
    await until(() => cache.health().databaseRunning > 0, 'reads wait for the lock')
    await cache.close()
    for (const read of reads) expect(await read).toBeInstanceOf(ClosedError)
    await locker.query('rollback')
    await pool.end()
    await settled()
  })
})

test('a signal that aborts later closes the cache', async () => {
  const db = await usersDatabase()
  const { runtime, settled } = await ledger(db)
  const pool = poolOf(db.url)
  const controller = new AbortController()
  const cache = await openCache({ pool, entities: [users], runtime, signal: controller.signal })
  controller.abort()
  expect(cache.state).toBe('closed')
  expect(() => cache.table(users).local.get(1)).toThrow(ClosedError)
  await cache.close()
  await pool.end()
  await settled()
})

describe('a cache that does not wait for its load', () => {
  async function starting(db: OwnDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
    const cache = await openCache({ pool: poolOf(db.url), entities: [users], wait: false, ...options })
    await until(slotIsWaiting(db), 'the slot waits')
    return cache
  }

  test('asks PostgreSQL until it is loaded, and then answers from memory', async () => {
    shows('C30')
    const db = await usersDatabase()
    const token = await (async () => {
      await using other = await openCache({ pool: poolOf(db.url), entities: [users] })
      return await other.token()
    })()
    const endWriter = await openWriter(db)
    await using cache = await starting(db)
    const table = cache.table(users)
    expect(cache.state).toBe('starting')
    expect(() => table.local.get(1)).toThrow(NotReadyError)
    expect(() => table.local.size).toThrow(NotReadyError)
    expect(() => [...table.local]).toThrow(NotReadyError)
    expect(() => cache.snapshot()).toThrow(NotReadyError)
    expect(() => cache.position).toThrow(NotReadyError)
    expect(() => table.changes()).toThrow(NotReadyError)
    expect(await table.findUnique({ where: { id: 1 } })).toEqual({ id: 1, name: 'user 1' })
    expect(await table.findUnique({ where: { id: 99 } })).toBeNull()
    expect(await table.findUnique({ where: { id: 1 }, after: token })).toEqual({ id: 1, name: 'user 1' })
    await expect(table.findUnique({ where: { id: 1 }, onStale: 'throw' })).rejects.toThrow(
      /CACHE_STALE|unknown age/,
    )
    const { state, lsn, stalenessMs } = cache.health()
    expect({ state, lsn, stalenessMs }).toEqual({ state: 'starting', lsn: null, stalenessMs: Infinity })

    await endWriter()
    await cache.ready()
    expect(cache.state).toBe('live')
    expect(table.local.get(1)).toEqual({ id: 1, name: 'user 1' })
    await db.query(`update users set name = 'Ada' where id = 1`)
    await caughtUp(cache)
    expect(table.local.get(1)?.name).toBe('Ada')
  })

  test('may be closed before it is loaded', async () => {
    shows('C30', 'C36')
    const db = await usersDatabase()
    const endWriter = await openWriter(db)
    const { runtime, settled } = await ledger(db)
    const pool = poolOf(db.url)
    const cache = await starting(db, { runtime, pool })
    const ready = cache.ready().catch((error: unknown) => error)
    await cache.close()
    expect(await ready).toBeInstanceOf(ClosedError)
    await expect(cache.ready()).rejects.toBeInstanceOf(ClosedError)
    expect(() => cache.table(users).local.get(1)).toThrow(ClosedError)
    await endWriter()
    await pool.end()
    await settled()
  })

  test('tells by ready(), its state and every read that it failed', async () => {
    const db = await usersDatabase()
    const endWriter = await openWriter(db)
    await using cache = await starting(db)
    await db.query('alter table users drop column name cascade, add column nickname text')
    await db.query('alter table users rename to people')
    await endWriter()
    const failure = await cache.ready().catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(ClosedError)
    expect((failure as ClosedError).cause).toMatchObject({ code: 'CACHE_SETUP' })
    expect(cache.state).toBe('failed')
    expect(cache.health().lastError).toMatchObject({ code: 'CACHE_SETUP' })
    await expect(cache.table(users).findUnique({ where: { id: 1 } })).rejects.toBe(failure)
  })
})

describe('what the application does to it', () => {
  const cutStream = (db: OwnDatabase) =>
    db.query('select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1', [
      db.name,
    ])

  test('the pool may be ended: the cache has connections of its own, and makes new ones', async () => {
    const db = await usersDatabase()
    const pool = poolOf(db.url)
    await using cache = await openCache({ pool, entities: [users] })
    await pool.end()
    await cutStream(db)
    await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it has connected anew')
    await db.query(`update users set name = 'Ada' where id = 1`)
    await caughtUp(cache)
    expect(cache.table(users).local.get(1)?.name).toBe('Ada')
  })

  test.each([
    [
      'throw',
      () => {
        throw new Error('The listener broke.')
      },
    ],
    ['return a promise that rejects', () => Promise.reject(new Error('The listener broke.'))],
  ])('listeners that %s break nothing', async (_how, listener: () => unknown) => {
    const db = await usersDatabase()
    const warnings: string[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning.message)
    process.on('warning', onWarning)
    onTestFinished(() => void process.off('warning', onWarning))
    const logger = { debug: listener, info: listener, warn: listener, error: listener }
    const cache = await openCache({ pool: poolOf(db.url), entities: [users], logger, onProgress: listener })
    await cutStream(db)
    await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it has connected anew')
    await db.query(`update users set name = 'Ada' where id = 1`)
    await caughtUp(cache)
    expect(cache.table(users).local.get(1)?.name).toBe('Ada')
    await db.query('alter table users rename to people')
    await until(
      () => cache.health().tables[0]!.failed?.transient === false,
      'it has been given up, as it has to',
    )
    await cache.close()
    expect(warnings.some(warning => warning.includes('The listener broke.'))).toBe(true)
  })

  test('a logger is told what matters, and never twice the same way of a state', async () => {
    const db = await usersDatabase()
    const logger = recordingLogger()
    await using cache = await openCache({ pool: poolOf(db.url), entities: [users], logger })
    await cutStream(db)
    await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it has connected anew')
    expect(logger.lines.filter(line => line.startsWith('warn:'))).toHaveLength(1)
    expect(logger.lines.filter(line => line.startsWith('info: Loaded'))).toHaveLength(2)
  })
})
