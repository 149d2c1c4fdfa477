/**
 * The server that is connected to again is not the one that was left: a copy of it from before, a standby that had lagged behind, another one altogether, or
 * one whose slot somebody has read from. It accepts the old position, and would skip commits without a word.
 */
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  type CacheError,
  defineTable,
  openCache,
  TokenError,
  TokenLostError,
} from '../../src/index.js'
import type { ScenarioId } from '../scenarios/catalogue.js'
import { caughtUp, poolOf, recordingLogger, rowsByKey, until } from '../support/cache.js'
import { createDatabase, type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'
import { startProxy, type TcpProxy } from '../support/tcp-proxy.js'

interface Item {
  readonly id: number
  readonly n: number
}

const items = defineTable<Item>({ name: 'items' })
/** Servers are started and copied. */
const PATIENCE_MS = 120_000
const LOST = [...Array(20).keys()].map(i => 1_000 + i)

let server: PostgresServer
let slots = 0
beforeAll(async () => {
  // Small segments, since it is copied.
  server = await startPostgres({
    initdbArgs: ['--wal-segsize=1'],
    settings: { min_wal_size: '2MB', shared_buffers: '16MB' },
  })
})
afterAll(() => server[Symbol.asyncDispose]())

interface Opened {
  readonly cache: Cache
  readonly slot: string
  readonly proxy: TcpProxy
  /** Asks whatever server is there now. */
  readonly query: <Row extends object>(sql: string) => Promise<Row[]>
  readonly loads: () => number
  readonly reasons: () => string[]
}

/** A cache whose stream and sessions go through a proxy. */
async function open(url: string): Promise<Opened> {
  const proxy = await startProxy(server)
  // One that is left on another server is dropped by nobody.
  const slot = `walcache_history_${slots++}`
  const pool = poolOf(url)
  const query = async <Row extends object>(sql: string): Promise<Row[]> =>
    (await pool.query(sql)).rows as Row[]
  await query('create table items (id int primary key, n int)')
  await query('insert into items select i, 0 from generate_series(1, 100) i')
  let loads = 0
  const logger = recordingLogger()
  const cache = await openCache({
    pool: poolOf(proxy.through(url)),
    entities: [items],
    slot: { durable: true, name: slot },
    logger,
    onProgress: ({ tables, tablesDone }) => {
      if (tables === tablesDone) loads++
    },
  })
  onTestFinished(async () => {
    proxy.mend()
    await cache.close()
    await proxy[Symbol.asyncDispose]()
  })
  const reasons = (): string[] => logger.lines.filter(line => line.includes('gone on with'))
  return { cache, slot, proxy, query, loads: () => loads, reasons }
}

const streams = (cache: Cache): Promise<void> => until(() => cache.state === 'live', 'it streams')

async function expectEqualToTable({ cache, query }: Opened): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await query<Item>('select * from items'), ({ id }) => id)
  expect(rowsByKey(cache.table(items).local, ({ id }) => id)).toEqual(inDatabase)
}

/** The server's data as it is now. `restore` puts it back into a server that is stopped. */
async function backup(): Promise<{ restore(): void }> {
  const copy = `${server.dataDirectory}-copy`
  await server.stop('fast')
  // Keeps who owns it: the server does not run as the one who tests.
  execFileSync('cp', ['-a', server.dataDirectory, copy])
  onTestFinished(() => rmSync(copy, { recursive: true, force: true }))
  await server.start()
  return {
    restore() {
      rmSync(server.dataDirectory, { recursive: true, force: true })
      execFileSync('cp', ['-a', copy, server.dataDirectory])
    },
  }
}

const histories: [
  what: string,
  scenarios: ScenarioId[],
  begin: () => Promise<void>,
  lost: new (...given: never[]) => CacheError,
][] = [
  [
    'a standby that never got the last commits, and is promoted',
    ['C28', 'C41', 'I19'],
    async () => {
      writeFileSync(join(server.dataDirectory, 'standby.signal'), '')
      await server.start()
      const admin = new pg.Client({ connectionString: server.url })
      await admin.connect()
      await admin.query('select pg_promote()')
      // Its log gets longer than that which was lost, with as many transactions: nothing but the timeline tells them apart.
      await admin.query('create table filler (i int)')
      for (let i = 0; i < 2 * LOST.length; i++)
        await admin.query('insert into filler select generate_series(1, 100)')
      await admin.end()
    },
    TokenLostError,
  ],
  ['itself, put back from a copy whose log ends earlier', ['C4', 'C41'], () => server.start(), TokenError],
]

test.each(histories)('%s', { timeout: PATIENCE_MS }, async (_what, scenarios, begin, lost) => {
  shows(...scenarios)
  const url = await createDatabase(server)
  const opened = await open(url)
  const { cache, proxy, query, loads } = opened
  const { restore } = await backup()
  await streams(cache)
  for (const id of LOST) await query(`insert into items values (${id}, 1)`)
  await caughtUp(cache)
  const { local } = cache.table(items)
  expect(LOST.every(id => local.has(id))).toBe(true)
  const token = await cache.token()
  expect(loads()).toBe(1)

  proxy.refuse()
  await server.stop('immediate')
  restore()
  await begin()
  // Their positions lie before what memory has seen.
  await query('insert into items values (2000, 2)')
  await query('update items set n = 3 where id = 1')
  proxy.mend()
  await until(() => loads() > 1 && cache.state === 'live', 'everything is loaded anew')
  await expectEqualToTable(opened)
  expect(LOST.some(id => local.has(id))).toBe(false)
  expect([local.get(1)?.n, local.get(2000)?.n]).toEqual([3, 2])
  await expect(cache.waitFor(token)).rejects.toBeInstanceOf(lost)
  await query('insert into items values (2001, 2)')
  await expectEqualToTable(opened)
})

test('itself, put back from a copy and written further than memory had seen', {
  timeout: PATIENCE_MS,
}, async () => {
  shows('C4', 'C41')
  const url = await createDatabase(server)
  const opened = await open(url)
  const { cache, proxy, query, loads, reasons } = opened
  const { restore } = await backup()
  await streams(cache)
  for (const id of LOST) await query(`insert into items values (${id}, 1)`)
  await caughtUp(cache)
  const { local } = cache.table(items)

  proxy.refuse()
  await server.stop('immediate')
  restore()
  await server.start()
  // One transaction, so that those which memory has applied last do not exist here; its end lies far behind theirs.
  await query(`insert into items select i, 2 from generate_series(2000, 12000) i`)
  proxy.mend()
  await until(() => loads() > 1 && cache.state === 'live', 'everything is loaded anew')
  expect(reasons()[0]).toMatch(/does not have the transactions/)
  await expectEqualToTable(opened)
  expect(LOST.some(id => local.has(id))).toBe(false)
})

test('another cluster, behind the same address', { timeout: PATIENCE_MS }, async () => {
  shows('C39')
  await using other = await startPostgres()
  const url = await createDatabase(server)
  const name = new URL(url).pathname.slice(1)
  const there = poolOf(await createDatabase(other, name))
  await there.query('create table items (id int primary key, n int)')
  await there.query('insert into items values (7, 70)')
  const { cache, slot, proxy, loads } = await open(url)
  // It has a slot of that name, too.
  await there.query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
  const token = await cache.token()
  proxy.leadTo(other)
  proxy.forsake()
  await until(() => loads() > 1 && cache.state === 'live', 'everything is loaded anew')
  await there.query('insert into items values (8, 80)')
  await caughtUp(cache)
  expect([...cache.table(items).local]).toEqual([
    { id: 7, n: 70 },
    { id: 8, n: 80 },
  ])
  await expect(cache.waitFor(token)).rejects.toBeInstanceOf(TokenError)
  await cache.close()
})

test('one whose slot somebody has read from', { timeout: PATIENCE_MS }, async () => {
  shows('I18')
  const opened = await open(await createDatabase(server))
  const { cache, slot, proxy, query, loads, reasons } = opened
  await caughtUp(cache)
  proxy.refuse()
  await query(`
    do $$ begin
      perform pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${slot}';
      while exists (select from pg_replication_slots where slot_name = '${slot}' and active) loop
        perform pg_sleep(0.001);
      end loop;
    end $$`)
  await query('update items set n = 5')
  await query(`select pg_replication_slot_advance('${slot}', pg_current_wal_lsn())`)
  await query('update items set n = n + 1 where id <= 50')
  proxy.mend()
  await until(() => loads() > 1 && cache.state === 'live', 'everything is loaded anew')
  expect(reasons()[0]).toMatch(/moved on/)
  await expectEqualToTable(opened)
})
