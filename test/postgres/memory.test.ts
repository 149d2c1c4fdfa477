import { expect, test } from 'vitest'
import {
  type Cache,
  ConnectionError,
  defineTable,
  MemoryLimitError,
  NotReadyError,
  openCache,
  type OpenCacheOptions,
} from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'

interface Row {
  readonly id: number
  readonly text: string
}

const small = defineTable<Row>({ name: 'small' })
const large = defineTable<Row>({ name: 'large' })
/** Room for some thousand rows of each table, and not for a hundred thousand. */
const LIMIT = 4 * 2 ** 20
const MANY = 100_000

async function open(
  rows: number,
  options: Partial<OpenCacheOptions> = {},
): Promise<{ db: TestDatabase; cache: Cache }> {
  const db = await testDatabase()
  await db.query(
    'create table small (id int primary key, text text); create table large (like small including all)',
  )
  await db.query(`insert into small select i, 'small ' || i from generate_series(1, 100) i`)
  await fill(db, 1, rows)
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [small, large],
    memory: { table: LIMIT },
    ...options,
  })
  return { db, cache }
}

const fill = (db: TestDatabase, from: number, to: number): Promise<unknown> =>
  db.query(`insert into large select i, repeat('x', 100) || i from generate_series($1::int, $2::int) i`, [
    from,
    to,
  ])

async function expectGivenUp(cache: Cache): Promise<void> {
  const table = cache.table(large)
  const { local } = table
  const isNamed = { code: 'CACHE_MEMORY_LIMIT', table: 'public.large', limitBytes: LIMIT }
  using snapshot = cache.snapshot()
  for (const read of [
    () => local.get(1),
    () => local.has(1),
    () => local.size,
    () => [...local],
    () => snapshot.table(large).local.get(1),
    () => table.changes(),
  ])
    expect(read).toThrow(expect.objectContaining(isNamed))
  expect(await table.findUnique({ where: { id: 7 } })).toEqual({ id: 7, text: `${'x'.repeat(100)}7` })
  expect(await table.findUnique({ where: { id: -1 } })).toBeNull()
  await expect(table.findUnique({ where: { id: 7 }, onUnknown: 'throw' })).rejects.toMatchObject(isNamed)
  // However old it may be: who takes what memory has does not thereby ask PostgreSQL.
  const served = { where: { id: 7 }, maxStaleness: 0, onStale: 'serve', onUnknown: 'throw' } as const
  await expect(table.findUnique(served)).rejects.toMatchObject(isNamed)
  const { state, tables } = cache.health()
  expect(state).toBe('live')
  expect(tables).toMatchObject([
    { name: 'public.small', rows: 100, failed: null },
    { name: 'public.large', rows: 0, bytes: 0, failed: isNamed },
  ])
}

test('a table that does not fit is given up by name while it loads; the others are kept', async () => {
  const { db, cache } = await open(MANY)
  try {
    await expectGivenUp(cache)
    await db.query(
      `begin; update large set text = 'new' where id = 3; update small set text = 'new' where id = 3; commit`,
    )
    await caughtUp(cache)
    expect(cache.table(small).local.get(3)?.text).toBe('new')
    expect((await cache.table(large).findUnique({ where: { id: 3 } }))?.text).toBe('new')
  } finally {
    await cache.close()
  }
})

test('a table that outgrows its memory is given up in the middle of a transaction, whose other changes are shown whole', async () => {
  const { db, cache } = await open(100)
  try {
    const changes = cache.table(large).changes()
    expect(cache.table(large).local.size).toBe(100)
    const writer = await db.connect()
    await writer.query('begin')
    await writer.query(`update small set text = 'before' where id = 1`)
    await writer.query(
      `insert into large select i, repeat('x', 100) || i from generate_series(101, ${MANY}) i`,
    )
    await writer.query(`update small set text = 'after' where id = 2`)
    await writer.query('commit')
    await caughtUp(cache)
    const { local } = cache.table(small)
    expect([local.get(1)?.text, local.get(2)?.text]).toEqual(['before', 'after'])
    await expect(changes.next()).rejects.toBeInstanceOf(MemoryLimitError)
    await expectGivenUp(cache)
  } finally {
    await cache.close()
  }
})

test('a table that was given up has another chance when everything is loaded anew', async () => {
  const { db, cache } = await open(MANY)
  try {
    await db.query('delete from large where id > 50')
    await db.query('select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1', [
      db.name,
    ])
    await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it has been loaded anew')
    await caughtUp(cache)
    expect(cache.table(large).local.size).toBe(50)
  } finally {
    await cache.close()
  }
})

test('the limit of all tables together holds, too', async () => {
  const { cache } = await open(MANY, { memory: { cache: LIMIT } })
  try {
    const failed = cache.health().tables.filter(table => table.failed !== null)
    expect(failed).toMatchObject([{ name: 'public.large', failed: { limitBytes: LIMIT } }])
    expect(cache.health().bytes).toBeLessThanOrEqual(LIMIT)
    expect(cache.table(small).local.size).toBe(100)
  } finally {
    await cache.close()
  }
})

test('rows that come and go for long take no more memory than those that are there', async () => {
  const { db, cache } = await open(2_000)
  try {
    for (let round = 0; round < 30; round++)
      await db.query(`update large set text = md5($1::text || id) || repeat('y', id % 150)`, [round])
    for (let round = 0; round < 5; round++) {
      await db.query('delete from large where id % 3 = $1', [round % 3])
      await fill(db, 3_000, 3_700)
      await db.query('delete from large where id >= 3000')
    }
    await caughtUp(cache)
    expect(cache.health().tables[1]).toMatchObject({ failed: null })
    const [{ count }] = (await db.query<{ count: number }>('select count(*)::int as count from large')) as [
      { count: number },
    ]
    expect(cache.table(large).local.size).toBe(count)
  } finally {
    await cache.close()
  }
})

test.each([
  ['room for two is kept until the other one has loaded', 64 * LIMIT, true],
  ['no room for two is emptied before the other one loads', LIMIT, false],
])('a generation with %s', async (_what, limit, isKept) => {
  const db = await testDatabase()
  await db.query('create table small (id int primary key, text text)')
  await db.query(`insert into small select i, repeat('x', 100) from generate_series(1, 18000) i`)
  const pool = poolOf(db.url)
  let isHeld = false
  const runtime = await tamperedRuntime(pool, {
    // The next load gets no further than its slot.
    query: sql => {
      if (isHeld && sql.includes('pg_export_snapshot')) throw new ConnectionError('lost', 'Not yet.', true)
    },
  })
  await using cache = await openCache({ pool, entities: [small], runtime, memory: { cache: limit } })
  const { bytes } = cache.health()
  expect(bytes * 2 <= limit).toBe(isKept)
  isHeld = true
  await db.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active',
  )
  await until(() => cache.health().reconnects > 1, 'a load was begun')
  const { local } = cache.table(small)
  if (isKept) expect(local.get(1)?.id).toBe(1)
  else expect(() => local.get(1)).toThrow(NotReadyError)
  expect(cache.health().bytes).toBe(isKept ? bytes : 0)
  expect(await cache.table(small).findUnique({ where: { id: 1 } })).toMatchObject({ id: 1 })
  isHeld = false
  await until(() => cache.state === 'live', 'it is loaded anew')
  expect(local.get(1)?.id).toBe(1)
  expect(cache.health().bytes).toBeLessThanOrEqual(limit)
})
