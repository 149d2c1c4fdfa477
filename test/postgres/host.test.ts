/** What a cache does to its server, and a server to a cache: slots that are lost, logs that are kept, standbys, shutdowns, processes that are killed. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, type OpenCacheOptions } from '../../src/index.js'
import {
  caughtUp,
  countingRuntime,
  databaseOn,
  leftOnServer,
  type OwnDatabase,
  poolOf,
  recordingLogger,
  rowsByKey,
  until,
  untilNothingIsLeft,
} from '../support/cache.js'
import { createDatabase, type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

const PATIENCE_MS = 60_000

interface Row {
  readonly id: number
  readonly n: number
}

const rows = defineTable<Row>({ name: 'rows' })

const settings = {
  max_slot_wal_keep_size: '2MB',
  min_wal_size: '2MB',
  max_wal_size: '16MB',
  shared_buffers: '16MB',
  wal_level: 'logical',
}
let log = ''

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({
    initdbArgs: ['--wal-segsize=1'],
    settings,
    log: text => {
      log += text
    },
  })
})
afterAll(() => server[Symbol.asyncDispose]())

async function given(): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query(
    'create table rows (id int primary key, n int); insert into rows select i, 0 from generate_series(1, 50) i',
  )
  return db
}

async function open(db: Pick<OwnDatabase, 'url'>, options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [rows], ...options })
  onTestFinished(() => cache.close())
  return cache
}

async function expectEqualToTable(cache: Cache, db: Pick<OwnDatabase, 'query'>): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await db.query<Row>('select * from rows'), ({ id }) => id)
  expect(rowsByKey(cache.table(rows).local, ({ id }) => id)).toEqual(inDatabase)
}

const slots = [{ durable: true, name: 'walcache_host' }, { temporary: true }] as const

describe('a slot that the server takes away from a cache that keeps up', () => {
  test.each(slots)(
    '%j: everything is loaded anew, and no look goes back',
    { timeout: PATIENCE_MS },
    async slot => {
      shows('C15', 'C16')
      const db = await given()
      const logger = recordingLogger()
      const cache = await open(db, { slot, logger, maxStaleness: 60_000 })
      const { local } = cache.table(rows)
      // Open for so long, it keeps the slot where it is, however much is confirmed.
      const writer = await db.connect()
      await writer.query('begin; insert into rows values (1000, 0)')
      let seen = 0
      let wentBack = 0
      let isOver = false
      const watching = (async () => {
        while (!isOver) {
          const { n } = local.get(1)!
          if (n < seen) wentBack++
          seen = n
          await new Promise(resolve => setImmediate(resolve))
        }
      })()
      for (let n = 1; cache.health().reconnects === 0 && cache.health().lastError === null; n++) {
        await db.query('update rows set n = $1', [n])
        await db.query(`create table if not exists padding (x text)`)
        await db.query(`insert into padding select repeat(md5(i::text), 30) from generate_series(1, 3000) i`)
        await db.query('checkpoint')
      }
      await writer.query('commit')
      await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
      await db.query('update rows set n = n + 1')
      await expectEqualToTable(cache, db)
      isOver = true
      await watching
      expect(wentBack).toBe(0)
      if ('durable' in slot)
        expect(logger.lines.join('\n')).toMatch(
          /gone on with: the server has given the slot up|gone on with: the slot is gone/,
        )
      await cache.close()
      await untilNothingIsLeft(db)
    },
  )
})

test('what others write is confirmed, though none of it concerns the cache', async () => {
  shows('C17')
  const db = await given()
  const elsewhere = await databaseOn(server)
  const cache = await open(db)
  await elsewhere.query(
    `create table padding as select repeat(md5(i::text), 30) as x from generate_series(1, 3000) i`,
  )
  const [written] = await elsewhere.query<{ lsn: string }>('select pg_current_wal_flush_lsn() as lsn')
  const confirmed = async (): Promise<boolean> => {
    const [slot] = await db.query<{ past: boolean }>(
      'select confirmed_flush_lsn >= $1::pg_lsn as past from pg_replication_slots where database = $2',
      [written!.lsn, db.name],
    )
    return slot!.past
  }
  await until(confirmed, 'the slot has moved on')
  expect(cache.health().reconnects).toBe(0)
})

test('a process that is killed leaves nothing behind', { timeout: PATIENCE_MS }, async () => {
  shows('C37')
  const db = await databaseOn(server)
  await db.query(
    'create table balances (id int primary key, n int not null); insert into balances values (1, 0)',
  )
  const child = fork(join(import.meta.dirname, '../../simulation/token-server.ts'), [db.url, 'pgoutput'], {
    execArgv: ['--import', 'tsx'],
  })
  try {
    await once(child, 'message')
    expect((await leftOnServer(db)).some(what => what.startsWith('slot'))).toBe(true)
  } finally {
    child.kill('SIGKILL')
  }
  await untilNothingIsLeft(db)
})

test('a server that is shut down waits for a process that stands still no longer than it does', {
  timeout: PATIENCE_MS,
}, async () => {
  shows('C10')
  const cache = await open(await given())
  await caughtUp(cache)
  log = ''
  const stopped = server.stop('fast')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500)
  await stopped
  expect(log).toContain('database system is shut down')
  expect(log).not.toContain('immediate shutdown')
  await server.start()
  await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
})

test('a server whose wal_level is lowered after a cache was in use starts', {
  timeout: PATIENCE_MS,
}, async () => {
  shows('C38')
  const db = await given()
  const durable = await open(db, { slot: slots[0] })
  await open(db)
  await durable.close()
  // The other one is not closed before the server is gone.
  await server.stop('immediate')
  settings.wal_level = 'replica'
  await server.start()
  await server.stop('fast')
  settings.wal_level = 'logical'
  await server.start()
})

test('a standby is refused by name until it is promoted', { timeout: PATIENCE_MS }, async () => {
  shows('C29')
  const url = await createDatabase(server)
  const pool = poolOf(url)
  await pool.query('create table rows (id int primary key, n int)')
  await server.stop()
  writeFileSync(join(server.dataDirectory, 'standby.signal'), '')
  await server.start()
  await expect(openCache({ pool, entities: [rows], runtime: countingRuntime(20) })).rejects.toMatchObject({
    code: 'CACHE_SETUP',
    problems: [{ kind: 'standby' }],
  })
  await pool.query('select pg_promote()')
  const inRecovery = async (): Promise<boolean> =>
    (await pool.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')).rows[0]!.standby
  await until(async () => !(await inRecovery()), 'it is a primary')
  const cache = await open({ url })
  await pool.query('insert into rows values (1, 1)')
  await caughtUp(cache)
  expect(cache.table(rows).local.get(1)?.n).toBe(1)
})
