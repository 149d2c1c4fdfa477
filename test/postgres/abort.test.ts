import net from 'node:net'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { defineTable, type LoadProgress, openCache, type OpenCacheOptions } from '../../src/index.js'
import {
  ledger,
  openWriter,
  type OwnDatabase,
  poolOf,
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

describe('a start that is aborted', () => {
  /** Opens a cache, aborts when `ready` says so, and expects the signal's own reason, soon, and nothing left. */
  async function aborted(
    db: OwnDatabase,
    options: Partial<OpenCacheOptions>,
    reached: (controller: AbortController) => Promise<unknown>,
    release: () => Promise<void> = async () => undefined,
  ): Promise<void> {
    const { runtime, settled } = await ledger(db)
    const pool = options.pool ?? poolOf(db.url)
    const controller = new AbortController()
    const opening = openCache({ pool, entities: [users], runtime, signal: controller.signal, ...options })
    const outcome = opening.then(
      async cache => {
        await cache.close()
        return 'opened'
      },
      (error: unknown) => error,
    )
    await reached(controller)
    const reason = new Error('Enough.')
    controller.abort(reason)
    let is: unknown
    void outcome.then(value => {
      is = value
    })
    await until(() => is !== undefined, 'the abort has been answered', 5_000)
    expect(is === 'opened' || is === controller.signal.reason).toBe(true)
    await release()
    if (!pool.ended) await pool.end()
    await settled()
    if (options.pool === undefined) expect(is).toBe(controller.signal.reason)
  }

  test('before it began connects to nothing', async () => {
    const db = await usersDatabase()
    const pool = poolOf(db.url)
    const reason = new Error('Never mind.')
    const opening = openCache({ pool, entities: [users], signal: AbortSignal.abort(reason) })
    await expect(opening).rejects.toBe(reason)
    expect(pool.totalCount).toBe(0)
  })

  test('while the pool connects to a host that says nothing', async () => {
    const db = await usersDatabase()
    const connected: net.Socket[] = []
    const silent = net.createServer(socket => connected.push(socket.on('error', () => undefined)))
    await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void silent.close())
    const pool = new pg.Pool({ host: '127.0.0.1', port: (silent.address() as net.AddressInfo).port })
    pool.on('error', () => undefined)
    const hangUp = async (): Promise<void> => connected.forEach(socket => socket.destroy())
    await aborted(db, { pool }, () => until(() => connected.length > 0, 'it has connected'), hangUp)
  })

  test('while the application holds all clients of its pool', async () => {
    const db = await usersDatabase()
    const pool = poolOf(db.url, { max: 1 })
    const client = await pool.connect()
    await aborted(
      db,
      { pool },
      () => until(() => pool.waitingCount === 1, 'the cache waits in line'),
      async () => client.release(),
    )
  })

  test('while the catalogue’s answer waits for a lock', async () => {
    const db = await usersDatabase()
    const locker = await db.connect()
    await locker.query('begin')
    await locker.query('lock table users')
    const waits = async (): Promise<boolean> =>
      (
        await db.query(
          `select from pg_stat_activity where datname = $1 and application_name = 'walcache' and wait_event_type = 'Lock'`,
          [db.name],
        )
      ).length > 0
    await aborted(
      db,
      {},
      () => until(waits, 'the catalogue is being asked'),
      async () => void (await locker.query('rollback')),
    )
  })

  test('while the publication waits for a lock', async () => {
    const db = await usersDatabase()
    const locker = await db.connect()
    await locker.query('begin')
    await locker.query('lock table users in share update exclusive mode')
    const waits = async (): Promise<boolean> =>
      (
        await db.query(
          `select from pg_stat_activity where datname = $1 and application_name = 'walcache' and query ilike 'create publication%'
             and wait_event_type = 'Lock'`,
          [db.name],
        )
      ).length > 0
    await aborted(
      db,
      {},
      () => until(waits, 'the publication waits'),
      async () => void (await locker.query('rollback')),
    )
    expect(await db.query('select from pg_publication')).toEqual([])
  })

  test('while the slot waits for a transaction that is still open, and stays open', async () => {
    shows('C30', 'C36')
    const db = await usersDatabase()
    const endWriter = await openWriter(db)
    await aborted(db, {}, () => until(slotIsWaiting(db), 'the slot waits'))
    await endWriter()
  })

  /** Resolves when a load has come as far as `isThere` says. */
  function progress(isThere: (progress: LoadProgress) => boolean): {
    onProgress: (progress: LoadProgress) => void
    reached: () => Promise<void>
  } {
    let resolve: () => void
    const reached = new Promise<void>(done => {
      resolve = done
    })
    return { onProgress: at => isThere(at) && resolve(), reached: () => reached }
  }

  test('when the load begins', async () => {
    const { onProgress, reached } = progress(() => true)
    await aborted(await usersDatabase(), { onProgress }, reached)
  })

  test('in the middle of a table', async () => {
    shows('C36')
    const { onProgress, reached } = progress(({ rows, tablesDone }) => rows > 0 && tablesDone === 0)
    await aborted(await usersDatabase(300_000), { onProgress }, reached)
  })

  test('between the load and the first proof that it is fresh', async () => {
    const { onProgress, reached } = progress(({ tablesDone }) => tablesDone === 1)
    await aborted(await usersDatabase(), { onProgress }, reached)
  })

  test('at any moment, over and over', async () => {
    shows('C36')
    const db = await usersDatabase(20_000)
    const pool = poolOf(db.url)
    const { runtime, settled } = await ledger(db)
    const outcomes = new Set<string>()
    // Golden-ratio steps: moments spread evenly over the time that a start takes.
    for (let i = 0; i < 25; i++) {
      const controller = new AbortController()
      const delayMs = ((i * 0.618) % 1) * 250
      const timer = setTimeout(() => controller.abort(), delayMs)
      try {
        const cache = await openCache({ pool, entities: [users], runtime, signal: controller.signal })
        await cache.close()
        outcomes.add('opened')
      } catch (error) {
        expect(error).toBe(controller.signal.reason)
        outcomes.add('aborted')
      }
      clearTimeout(timer)
    }
    expect(outcomes).toContain('aborted')
    await pool.end()
    await settled()
  })
})
