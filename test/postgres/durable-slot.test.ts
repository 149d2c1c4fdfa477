import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  SlotInUseError,
  type TableChange,
} from '../../src/index.js'
import {
  caughtUp,
  countingRuntime,
  databaseOn,
  type OwnDatabase,
  poolOf,
  recordingLogger,
  rowsByKey,
  until,
  untilNothingIsLeft,
} from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { startProxy } from '../support/tcp-proxy.js'
import { shows } from '../support/shows.js'

interface Item {
  readonly id: number
  readonly n: number
}

const items = defineTable<Item>({ name: 'items' })
const NAME = 'walcache_test'
const slot = { durable: true, name: NAME } as const

// Of its own, since it is crashed, and since slots' names are the whole server's.
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({ settings: { fsync: 'on', max_replication_slots: 4 } })
})
afterAll(() => server[Symbol.asyncDispose]())

async function shop(): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query('create table items (id int primary key, n int)')
  await db.query('insert into items select i, 0 from generate_series(1, 100) i')
  return db
}

interface Opened {
  readonly cache: Cache
  readonly loads: () => number
  readonly logger: ReturnType<typeof recordingLogger>
}

async function open(db: OwnDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Opened> {
  let loads = 0
  const logger = recordingLogger()
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [items],
    slot,
    logger,
    onProgress: ({ tables, tablesDone }) => {
      if (tables === tablesDone) loads++
    },
    ...options,
  })
  onTestFinished(() => cache.close())
  return { cache, loads: () => loads, logger }
}

const cutStream = (db: OwnDatabase) =>
  db.query(
    `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${NAME}' and active`,
  )

const streamsAgain = (cache: Cache, reconnects: number): Promise<void> =>
  until(() => cache.health().reconnects > reconnects && cache.state === 'live', 'it streams again')

/** Somebody drops our slot, as soon as its walsender has gone. */
async function dropSlot(db: OwnDatabase): Promise<void> {
  await db.query(`
    do $$ begin
      perform pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = '${NAME}';
      while exists (select from pg_replication_slots where slot_name = '${NAME}' and active) loop
        perform pg_sleep(0.001);
      end loop;
      perform pg_drop_replication_slot('${NAME}');
    end $$`)
}

async function expectEqualToTable(cache: Cache, db: OwnDatabase): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await db.query<Item>('select * from items'), ({ id }) => id)
  expect(rowsByKey(cache.table(items).local, ({ id }) => id)).toEqual(inDatabase)
}

/** What was logged as the reason for loading anew. */
const reasons = ({ logger }: Opened): string[] => logger.lines.filter(line => line.includes('gone on with'))

describe('a stream that is cut off', () => {
  test('is gone on with: nothing is loaded anew, and followers miss nothing', async () => {
    const db = await shop()
    const opened = await open(db)
    const { cache } = opened
    const told: TableChange<Item>[] = []
    void (async () => {
      for await (const change of cache.table(items).changes()) told.push(change)
    })()
    for (let cuts = 0; cuts < 3; cuts++) {
      const { reconnects } = cache.health()
      await db.query('update items set n = n + 1 where id <= 10')
      await cutStream(db)
      await db.query('update items set n = n + 1 where id <= 10')
      await streamsAgain(cache, reconnects)
      await expectEqualToTable(cache, db)
    }
    await until(() => told.length === 60, 'all changes have been told')
    expect(told.every(({ kind }) => kind === 'update')).toBe(true)
    expect(opened.loads()).toBe(1)
    await until(() => cache.health().retainedWalBytes !== null, 'what it holds back is known')
  })

  test('in the middle of a transaction shows nothing of it until all of it has come again', async () => {
    shows('I17')
    const db = await shop()
    const opened = await open(db, { sliceMs: 1 })
    const { cache } = opened
    const { local } = cache.table(items)
    await db.query('insert into items select i, 0 from generate_series(101, 120000) i')
    const writer = await db.connect()
    const written = writer.query('update items set n = 1')
    let partial = 0
    const sizeOf = (): number => [...Array(100).keys()].filter(i => local.get(i + 1)?.n === 1).length
    await written
    await cutStream(db)
    await until(() => {
      const changed = sizeOf()
      if (changed !== 0 && changed !== 100) partial++
      return changed === 100
    }, 'the transaction is visible')
    expect(partial).toBe(0)
    await expectEqualToTable(cache, db)
    expect(opened.loads()).toBe(1)
  })

  test('by a crash of the server is gone on with, since nothing was lost', async () => {
    shows('C3')
    const db = await shop()
    const opened = await open(db)
    await db.query('update items set n = 7')
    await caughtUp(opened.cache)
    await server.restart('immediate')
    await streamsAgain(opened.cache, 0)
    const again = await databaseOnSame(db)
    await again.query('update items set n = 8 where id = 1')
    await expectEqualToTable(opened.cache, again)
    expect(opened.loads()).toBe(1)
  })

  test('while the server thinks that the old connection lives is gone on with at once', async () => {
    const db = await shop()
    await using proxy = await startProxy(server)
    const opened = await open(db, { replication: proxy.through(db.url) })
    proxy.forsake()
    await streamsAgain(opened.cache, 0)
    await db.query('update items set n = 9')
    await expectEqualToTable(opened.cache, db)
    expect(opened.loads()).toBe(1)
    await opened.cache.close()
  })
})

/** The same database, over connections that a restart has not cut. */
async function databaseOnSame({ url, name }: OwnDatabase): Promise<OwnDatabase> {
  const pool = poolOf(url)
  return {
    url,
    name,
    connect: () => Promise.reject(new Error('not needed')),
    query: async <R extends object>(sql: string, values?: readonly unknown[]) =>
      (await pool.query<R>(sql, values === undefined ? [] : [...values])).rows,
  }
}

describe('everything is loaded anew, and exact, after', () => {
  test('the slot was dropped', async () => {
    shows('C13')
    const db = await shop()
    const opened = await open(db)
    await dropSlot(db)
    await db.query('update items set n = 3')
    await streamsAgain(opened.cache, 0)
    await until(() => opened.loads() > 1, 'it has been loaded anew')
    await expectEqualToTable(opened.cache, db)
    expect(reasons(opened)[0]).toMatch(/the slot is gone|moved on/)
  })

  test('the slot was dropped and made again by somebody', async () => {
    shows('C14')
    const db = await shop()
    const opened = await open(db)
    await dropSlot(db)
    await db.query('update items set n = 4')
    await db.query(`select pg_create_logical_replication_slot('${NAME}', 'pgoutput')`).catch(() => undefined)
    await until(() => opened.loads() > 1, 'it has been loaded anew')
    await until(() => opened.cache.state === 'live', 'it streams again')
    await expectEqualToTable(opened.cache, db)
    expect(reasons(opened)).toHaveLength(1)
  })
})

describe('a durable slot', () => {
  test('that a crashed process left behind is made anew', async () => {
    const db = await shop()
    await db.query(`select pg_create_logical_replication_slot('${NAME}', 'pgoutput')`)
    await db.query('update items set n = 5')
    const { cache } = await open(db)
    await expectEqualToTable(cache, db)
  })

  test('goes with the cache', async () => {
    const db = await shop()
    const { cache } = await open(db)
    await cache.close()
    await untilNothingIsLeft(db)
  })

  test('that another process uses is refused by name, and that process is left alone', async () => {
    shows('C11', 'C12')
    const db = await shop()
    const { cache } = await open(db)
    const second = open(db, { runtime: countingRuntime(10) })
    await expect(second).rejects.toBeInstanceOf(SlotInUseError)
    await expect(second).rejects.toMatchObject({ slot: NAME, code: 'CACHE_SLOT_IN_USE' })
    expect(cache.state).toBe('live')
    expect(cache.health().reconnects).toBe(0)
  }, 60_000)

  test('of another kind or database is not touched', async () => {
    const db = await shop()
    await db.query(`select pg_create_physical_replication_slot('${NAME}')`)
    onTestFinished(async () => void (await db.query(`select pg_drop_replication_slot('${NAME}')`)))
    await expect(open(db)).rejects.toMatchObject({ code: 'CACHE_SLOT', transient: false })
    expect(await db.query(`select from pg_replication_slots where slot_name = '${NAME}'`)).toHaveLength(1)
  })

  test('that holds back more of the log than it may is given up, and the cache loads anew', async () => {
    const db = await shop()
    const opened = await open(db, { slot: { ...slot, walBudgetBytes: 2 ** 20 } })
    // Open for so long, it keeps the log from its beginning on.
    const writer = await db.connect()
    await writer.query('begin')
    await writer.query('update items set n = 6 where id = 1')
    await db.query(`create table padding as select repeat(md5(i::text), 30) from generate_series(1, 5000) i`)
    await until(
      () => opened.logger.lines.some(line => line.includes('walBudgetBytes')),
      'the budget is exceeded',
    )
    await writer.query('commit')
    await until(() => opened.loads() > 1 && opened.cache.state === 'live', 'it has been loaded anew')
    await expectEqualToTable(opened.cache, db)
  })

  test('of ours that nobody uses any more is dropped after a while, others’ never', async () => {
    const db = await shop()
    await db.query(`select pg_create_logical_replication_slot('walcache_orphan', 'pgoutput')`)
    await db.query(`select pg_create_logical_replication_slot('theirs', 'pgoutput')`)
    const runtime = countingRuntime()
    const { logger } = await open(db, { runtime, maxStaleness: 3_600_000 })
    // Not before it is open: what is granted to connect goes by in no time, too.
    runtime.hurry(200)
    await until(() => logger.lines.some(line => line.includes('"walcache_orphan"')), 'the orphan is gone')
    const left = await db.query<{ name: string }>(
      'select slot_name as name from pg_replication_slots order by 1',
    )
    expect(left.map(({ name }) => name)).toEqual(['theirs', NAME])
    await db.query(`select pg_drop_replication_slot('theirs')`)
  })
})
