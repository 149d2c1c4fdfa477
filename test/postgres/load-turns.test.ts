/** Servers that are started together, or have lost the same stream, don't all load at once. */
import { expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, type OpenCacheOptions } from '../../src/index.js'
import { poolOf, recordingLogger, until, untilNothingIsLeft } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'

const things = defineTable<{ id: number; note: string }>({ name: 'things' })
const AT_ONCE = 4

async function database(): Promise<TestDatabase> {
  const db = await testDatabase()
  await db.query(`create table things (id int primary key, note text); insert into things values (1, 'one')`)
  return db
}

/** Processes that are loading, which `release` lets go on. */
function gate(): { waiting: number; readonly opened: Promise<void>; release(): void } {
  let release = (): void => undefined
  const opened = new Promise<void>(resolve => {
    release = resolve
  })
  return { waiting: 0, opened, release: () => release() }
}

async function open(
  db: TestDatabase,
  held: ReturnType<typeof gate> | null,
  options: Partial<OpenCacheOptions> = {},
): Promise<Cache> {
  const pool = poolOf(db.url)
  const { connections, ...runtime } = await tamperedRuntime(pool, {})
  const cache = await openCache({
    pool,
    entities: [things],
    wait: false,
    runtime: {
      ...runtime,
      connections: {
        replication: signal => connections!.replication(signal),
        async query(signal) {
          const session = await connections!.query(signal)
          if (held === null) return session
          return {
            pid: session.pid,
            get received() {
              return session.received
            },
            query: (sql, parameters) => session.query(sql, parameters),
            async *copyOut(sql) {
              held.waiting++
              await held.opened
              yield* session.copyOut(sql)
            },
            closed: session.closed,
            close: () => session.close(),
          }
        },
      },
    },
    ...options,
  })
  onTestFinished(async () => {
    held?.release()
    await cache.close()
  })
  return cache
}

const isWaiting = (logger: ReturnType<typeof recordingLogger>) => (): boolean =>
  logger.lines.some(line => line.includes('waits for its turn'))

test('a fifth server waits until one of four has loaded; one that is closed meanwhile leaves nothing', async () => {
  const db = await database()
  const first = gate()
  const others = gate()
  const loading = [await open(db, first)]
  for (let i = 1; i < AT_ONCE; i++) loading.push(await open(db, others))
  await until(() => first.waiting + others.waiting === AT_ONCE, 'four are loading')

  const logger = recordingLogger()
  const fifth = await open(db, null, { logger })
  const leaving = recordingLogger()
  const sixth = await open(db, null, { logger: leaving })
  await until(isWaiting(logger), 'the fifth waits')
  await until(isWaiting(leaving), 'the sixth waits')
  const slots = async (): Promise<number> =>
    (await db.query('select from pg_replication_slots where database = $1', [db.name])).length
  expect(await slots()).toBe(AT_ONCE)
  // It reads from PostgreSQL until it has loaded.
  expect(await fifth.table(things).findUnique({ where: { id: 1 } })).toEqual({ id: 1, note: 'one' })
  await sixth.close()

  first.release()
  await loading[0]!.ready()
  await fifth.ready()
  expect(fifth.table(things).local.get(1)).toEqual({ id: 1, note: 'one' })
  others.release()
  await Promise.all(loading.map(cache => cache.ready()))
  // A stream that runs keeps nobody from loading.
  const later = await open(db, null)
  await later.ready()
  await Promise.all([...loading, fifth, later].map(cache => cache.close()))
  await untilNothingIsLeft(db)
})

test('a server that has waited for long enough loads beside the others', async () => {
  const db = await database()
  const held = gate()
  for (let i = 0; i < AT_ONCE; i++) await open(db, held)
  await until(() => held.waiting === AT_ONCE, 'four are loading')
  const pool = poolOf(db.url)
  const runtime = await tamperedRuntime(pool, {})
  const logger = recordingLogger()
  let skippedMs = 0
  const cache = await openCache({
    pool,
    entities: [things],
    wait: false,
    logger,
    runtime: {
      ...runtime,
      clock: { ...runtime.clock, monotonicMs: () => runtime.clock.monotonicMs() + skippedMs },
    },
  })
  onTestFinished(() => cache.close())
  await until(isWaiting(logger), 'it waits')
  skippedMs = 60_000
  await cache.ready()
  expect(logger.lines.some(line => line.includes('loads beside them'))).toBe(true)
  expect(cache.table(things).local.get(1)).toEqual({ id: 1, note: 'one' })
})
