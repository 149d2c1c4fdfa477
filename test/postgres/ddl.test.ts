import { describe, expect, test } from 'vitest'
import { type Cache, ClosedError, defineTable, openCache, type OpenCacheOptions } from '../../src/index.js'
import { caughtUp, poolOf, rowsByKey, until, untilNothingIsLeft } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Thing {
  readonly id: number
  readonly n: number
  readonly note: string
}

const things = defineTable<Thing>({ name: 'things' })

/** Probes come each second: what a probe finds is found in this time, however slow the machine. */
const NOTICED_MS = 5_000

async function open(
  setup = '',
  options: Partial<OpenCacheOptions> = {},
): Promise<{ db: TestDatabase; cache: Cache }> {
  const db = await testDatabase()
  await db.query(`
    create table things (id int primary key, n int, note text);
    insert into things select i, i, 'note ' || i from generate_series(1, 20) i;
    ${setup}`)
  return { db, cache: await openCache({ pool: poolOf(db.url), entities: [things], ...options }) }
}

async function noticed(cache: Cache): Promise<void> {
  await until(
    () => cache.health().reconnects > 0 && cache.state === 'live',
    'it has been loaded anew',
    NOTICED_MS,
  )
}

async function expectEqualToTable(cache: Cache, db: TestDatabase): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await db.query<Thing>('select * from things'), ({ id }) => id)
  expect(rowsByKey(cache.table(things).local, ({ id }) => id)).toEqual(inDatabase)
}

describe('a change of the table that the stream does not tell is noticed by itself', () => {
  const cases: [what: string, sql: string[], setup?: string][] = [
    [
      'a rewrite of a column that keeps its type',
      [`alter table things alter note type text using 'NEW-' || note`],
    ],
    ['a rewrite of a column to another type', ['alter table things alter n type bigint using n * 10']],
    ['a column that is added with a constant', [`alter table things add column extra text default 'x'`]],
    [
      'a column that is added with a volatile default',
      ['alter table things add column extra float8 default random()'],
    ],
    [
      'a column that is dropped, of a table whose columns were not listed',
      ['alter table things drop column n'],
    ],
    [
      'another table that takes its name',
      [
        `begin; create table newer (like things including all); insert into newer values (1, 1, 'newer');
         alter table things rename to older; alter table newer rename to things; commit`,
      ],
    ],
    [
      'a table that is dropped and made again',
      [
        `begin; drop table things; create table things (id int primary key, n int, note text);
         insert into things values (5, 5, 'again'); commit`,
      ],
    ],
    [
      'a publication that the table is taken out of',
      ['alter publication walcache drop table things', 'update things set n = -1'],
    ],
    [
      'a publication that the table was taken out of for a moment',
      [
        'alter publication walcache drop table things',
        'update things set n = -2',
        'alter publication walcache add table things',
      ],
    ],
    [
      'a publication that did not publish updates for a moment',
      [
        `alter publication walcache set (publish = 'insert')`,
        'update things set n = -3',
        `alter publication walcache set (publish = 'insert, update, delete, truncate')`,
      ],
    ],
    ['a publication that is dropped', ['drop publication walcache', 'update things set n = -4']],
    [
      'a label of an enum, within an array of a domain, that is renamed',
      [`alter type mood rename value 'happy' to 'glad'`],
      `create type mood as enum ('sad', 'happy'); create domain feeling as mood;
       alter table things add column moods feeling[] default '{happy,sad}'`,
    ],
    [
      'a composite type that gets another column',
      ['alter type pair add attribute c int cascade'],
      `create type pair as (a int, b int); alter table things add column pairs pair default '(1,2)'`,
    ],
  ]

  test.each(cases)('%s', async (_what, statements, setup) => {
    const { db, cache } = await open(setup)
    try {
      for (const statement of statements) await db.query(statement)
      await noticed(cache)
      await expectEqualToTable(cache, db)
      await db.query(`update things set note = 'later' where id = 1`)
      await db.query('delete from things where id = 2')
      await expectEqualToTable(cache, db)
    } finally {
      await cache.close()
    }
  })
})

describe('a change that the declaration does not fit any more ends the cache with its reason', () => {
  const listed = defineTable<Thing>({ name: 'things', columns: ['id', 'note'] })
  const cases: [what: string, sql: string, cause: object][] = [
    [
      'a mapped column that is renamed',
      'alter table things rename column note to remark',
      { code: 'CACHE_SETUP', problems: [{ kind: 'missing-column', table: 'public.things' }] },
    ],
    [
      'a table that is dropped',
      'drop table things',
      { code: 'CACHE_SETUP', problems: [{ kind: 'missing-table', table: 'public.things' }] },
    ],
    [
      'a primary key that is dropped',
      'alter table things drop constraint things_pkey, replica identity full',
      { code: 'CACHE_SETUP', problems: [{ kind: 'no-primary-key', table: 'public.things' }] },
    ],
    [
      'a publication that no longer publishes updates',
      `alter publication walcache set (publish = 'insert')`,
      { code: 'CACHE_PUBLICATION' },
    ],
    [
      'row-level security',
      'alter table things enable row level security',
      { code: 'CACHE_SETUP', problems: [{ kind: 'row-security', table: 'public.things' }] },
    ],
  ]

  test.each(cases)('%s', async (_what, sql, cause) => {
    const { db, cache } = await open('', { entities: [listed] })
    try {
      const table = cache.table(listed)
      const ended = table
        .changes()
        .next()
        .catch((error: unknown) => error)
      await db.query(sql)
      await until(() => cache.state === 'failed', 'it has given up', NOTICED_MS)
      expect(cache.health().lastError).toMatchObject(cause)
      expect(() => table.local.get(1)).toThrow(ClosedError)
      await expect(table.findUnique({ where: { id: 1 } })).rejects.toMatchObject({
        code: 'CACHE_CLOSED',
        cause,
      })
      expect(await ended).toMatchObject({ code: 'CACHE_CLOSED', cause })
      await untilNothingIsLeft(db)
    } finally {
      await cache.close()
    }
  })
})

test('a table that somebody has locked does not make memory stale', async () => {
  const { db, cache } = await open('create table others (id int primary key)', { maxStaleness: 500 })
  const locker = await db.connect()
  try {
    await locker.query('begin')
    await locker.query('lock table things')
    const lockedMs = performance.now()
    // A proof that began after the lock was taken arrives all the same.
    await until(
      () => cache.health().stalenessMs < performance.now() - lockedMs,
      'memory is shown to be fresh',
    )
    expect(cache.table(things).local.get(1)?.n).toBe(1)
  } finally {
    await locker.query('rollback')
    await cache.close()
  }
})

test('reads that wait for a lock leave the probes a session', async () => {
  const { db, cache } = await open('', { maxStaleness: 500 })
  const locker = await db.connect()
  try {
    await locker.query('begin')
    await locker.query('lock table things')
    const lockedMs = performance.now()
    const reads = Array.from({ length: 50 }, (_, id) =>
      cache.table(things).findUnique({ where: { id }, maxStaleness: 0, onStale: 'database' }),
    )
    await until(() => cache.health().databaseWaiting > 0, 'reads wait for the lock')
    const readingMs = performance.now()
    expect(readingMs).toBeGreaterThan(lockedMs)
    await until(
      () => cache.health().stalenessMs < performance.now() - readingMs,
      'memory is shown to be fresh',
    )
    await locker.query('rollback')
    expect((await Promise.all(reads)).filter(row => row !== null)).toHaveLength(20)
  } finally {
    await cache.close()
  }
})

test('work on the table that changes no row costs no reload', async () => {
  const { db, cache } = await open()
  try {
    for (const statement of [
      'create index on things (note)',
      'vacuum full things',
      'cluster things using things_pkey',
      'reindex table things',
      'analyze things',
      'alter table things set (fillfactor = 50)',
      'create table another (id int primary key, thing int references things)',
      'alter publication walcache add table another',
      'grant select on things to public',
    ])
      await db.query(statement)
    const askedMs = performance.now()
    await until(
      () => cache.health().stalenessMs < performance.now() - askedMs,
      'the server has been looked at',
    )
    await expectEqualToTable(cache, db)
    expect(cache.health()).toMatchObject({ reconnects: 0, lastError: null })
  } finally {
    await cache.close()
  }
})
