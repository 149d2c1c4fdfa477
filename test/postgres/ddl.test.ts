import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  type CacheError,
  ClosedError,
  defineTable,
  openCache,
  type OpenCacheOptions,
  TableChangedError,
  TableReloadingError,
} from '../../src/index.js'
import { caughtUp, poolOf, recordingLogger, rowsByKey, until, untilNothingIsLeft } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import type { ScenarioId } from '../scenarios/catalogue.js'
import { shows } from '../support/shows.js'

interface Thing {
  readonly id: number
  readonly n: number
  readonly note: string
}

const things = defineTable<Thing>({ name: 'things' })
const bystanders = defineTable<{ id: number }>({ name: 'bystanders' })

/** Probes come each second: what a probe finds is found in this time, however slow the machine. */
const NOTICED_MS = 5_000

interface Opened {
  readonly db: TestDatabase
  readonly cache: Cache
  readonly logger: ReturnType<typeof recordingLogger>
}

/** A cache of two tables, one of which is left alone. */
async function open(setup = '', options: Partial<OpenCacheOptions> = {}): Promise<Opened> {
  const db = await testDatabase()
  await db.query(`
    create table things (id int primary key, n int, note text);
    insert into things select i, i, 'note ' || i from generate_series(1, 20) i;
    create table bystanders (id int primary key);
    insert into bystanders values (1);
    ${setup}`)
  const logger = recordingLogger()
  const cache = await openCache({ pool: poolOf(db.url), entities: [things, bystanders], logger, ...options })
  onTestFinished(() => cache.close())
  return { db, cache, logger }
}

const failureOf = (cache: Cache): CacheError | null => cache.health().tables[0]!.failed

/** The table has been read anew, alone or with all the others. */
async function noticed({ cache, logger }: Opened): Promise<void> {
  const isAnew = (): boolean =>
    cache.health().reconnects > 0 || logger.lines.some(line => line.endsWith('things was read anew.'))
  await until(
    () => isAnew() && cache.state === 'live' && failureOf(cache) === null,
    'it has been read anew',
    NOTICED_MS,
  )
}

async function expectEqualToTable(cache: Cache, db: TestDatabase): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await db.query<Thing>('select * from things'), ({ id }) => id)
  expect(rowsByKey(cache.table(things).local, ({ id }) => id)).toEqual(inDatabase)
}

/** How such a change ends: the table is read anew, or everything is, or the table is left out, since it no longer fits its declaration. */
type Outcome = 'table' | 'all' | RegExp

/** Statements that send nothing to the stream. */
const silent: [what: string, outcome: Outcome, sql: string[], setup?: string][] = [
  [
    'a rewrite of a column that keeps its type',
    'table',
    [`alter table things alter note type text using 'NEW-' || note`],
  ],
  ['a rewrite of a column to another type', 'table', ['alter table things alter n type bigint using n * 10']],
  ['a longer text type', 'table', ['alter table things alter note type varchar(50)']],
  ['a column added with a constant', 'table', [`alter table things add column extra text default 'x'`]],
  [
    'a column added with a volatile default',
    'table',
    ['alter table things add column extra float8 default random()'],
  ],
  ['a column dropped, where none were listed', 'table', ['alter table things drop column n']],
  ['a column renamed, where none were listed', 'table', ['alter table things rename column n to m']],
  ['a column that must not be null', 'table', ['alter table things alter n set not null']],
  ['full rows in the stream', 'table', ['alter table things replica identity full']],
  [
    'another primary key',
    'table',
    [
      `alter table things alter n set not null, drop constraint things_pkey`,
      'alter table things add primary key (id, n)',
    ],
  ],
  [
    'a label renamed, of an enum within an array of a domain',
    'table',
    [`alter type mood rename value 'happy' to 'glad'`],
    `create type mood as enum ('sad', 'happy'); create domain feeling as mood;
     alter table things add column moods feeling[] default '{happy,sad}'`,
  ],
  [
    'a label added to an enum',
    'table',
    [`alter type mood add value 'glad'`],
    `create type mood as enum ('sad', 'happy'); alter table things add column mood mood default 'sad'`,
  ],
  [
    'a composite type that gets another column',
    'table',
    ['alter type pair add attribute c int cascade'],
    `create type pair as (a int, b int); alter table things add column pairs pair default '(1,2)'`,
  ],
  [
    'a table taken out of the publication',
    'table',
    ['alter publication walcache drop table things', 'update things set n = -1'],
  ],
  [
    'a table taken out of the publication for a moment',
    'table',
    [
      'alter publication walcache drop table things',
      'update things set n = -2',
      'alter publication walcache add table things',
    ],
  ],
  [
    'a publication that did not publish updates for a moment',
    'all',
    [
      `alter publication walcache set (publish = 'insert')`,
      'update things set n = -3',
      `alter publication walcache set (publish = 'insert, update, delete, truncate')`,
    ],
  ],
  ['a publication dropped', 'all', ['drop publication walcache', 'update things set n = -4']],
  [
    'another table that takes its name',
    'all',
    [
      `begin; create table newer (like things including all); insert into newer values (1, 1, 'newer');
       alter table things rename to older; alter table newer rename to things; commit`,
    ],
  ],
  [
    'a table dropped and made again',
    'all',
    [
      `begin; drop table things; create table things (id int primary key, n int, note text);
       insert into things values (5, 5, 'again'); commit`,
    ],
  ],
  ['a table dropped', /no such table/, ['drop table things']],
  ['a table renamed', /no such table/, ['alter table things rename to elsewhere']],
  [
    'a table moved to another schema',
    /no such table/,
    ['create schema aside; alter table things set schema aside'],
  ],
  [
    'a primary key dropped',
    /primary key/,
    ['alter table things drop constraint things_pkey, replica identity full'],
  ],
  ['no replica identity', /replica identity/i, ['alter table things replica identity nothing']],
  ['row-level security', /row-level security/i, ['alter table things enable row level security']],
  ['a table that inherits from it', /inherit|partition|child/i, ['create table child () inherits (things)']],
  [
    'a row filter in the publication',
    /row filter/,
    ['alter publication walcache set table things where (id > 5), table bystanders'],
  ],
  [
    'a column list in the publication',
    /column list/,
    ['alter publication walcache set table things (id, n), table bystanders'],
  ],
]

/** Which scenarios these are. */
const scenarios: Readonly<Record<string, readonly ScenarioId[]>> = {
  'a rewrite of a column that keeps its type': ['S3'],
  'a rewrite of a column to another type': ['S3'],
  'a column added with a constant': ['S1'],
  'a column added with a volatile default': ['S2'],
  'full rows in the stream': ['S12'],
  'another primary key': ['S11'],
  'a label renamed, of an enum within an array of a domain': ['S22', 'S31'],
  'a label added to an enum': ['S21'],
  'a composite type that gets another column': ['S31'],
  'a table taken out of the publication': ['C22'],
  'a table taken out of the publication for a moment': ['C22'],
  'a publication that did not publish updates for a moment': ['C22'],
  'a publication dropped': ['C20', 'C21'],
  'another table that takes its name': ['S7'],
  'a table dropped and made again': ['S8', 'S9'],
  'a table renamed': ['S6'],
  'a table moved to another schema': ['S6'],
  'no replica identity': ['S14'],
  'a table that inherits from it': ['S25'],
  'a row filter in the publication': ['S30'],
  'a column list in the publication': ['S29'],
}

describe('a change that the stream does not tell is noticed by itself:', () => {
  test.each(silent)('%s', async (what, outcome, statements, setup) => {
    shows(...(scenarios[what] ?? []))
    const opened = await open(setup, { maxStaleness: 900 })
    const { db, cache } = opened
    for (const statement of statements) await db.query(statement)
    expect(cache.table(bystanders).local.get(1)).toEqual({ id: 1 })
    if (outcome instanceof RegExp) {
      await until(() => failureOf(cache) instanceof TableChangedError, 'it is left out', NOTICED_MS)
      expect(failureOf(cache)?.message).toMatch(outcome)
      expect(() => cache.table(things).local.get(1)).toThrow(TableChangedError)
      await expect(cache.table(things).findUnique({ where: { id: 1 } })).rejects.toThrow(TableChangedError)
    } else {
      await noticed(opened)
      await expectEqualToTable(cache, db)
      await db.query(`update things set note = 'later' where id = 1`)
      await db.query('delete from things where id = 2')
      await expectEqualToTable(cache, db)
    }
    // The others go on, and unless it takes a new slot nothing of theirs is touched.
    await db.query('insert into bystanders values (2)')
    await caughtUp(cache)
    expect(cache.table(bystanders).local.has(2)).toBe(true)
    expect(cache.health().reconnects > 0).toBe(outcome === 'all')
    expect(cache.state).toBe('live')
  })
})

test('a change before the next probe never shows rows of two shapes beside each other', async () => {
  const { db, cache } = await open('', { maxStaleness: 3_600_000 })
  const { local } = cache.table(things)
  const seen = new Set<string>()
  let mixed = 0
  let watching = true
  const watch = (async () => {
    while (watching) {
      try {
        const shapes = new Set([...local].map(({ note }) => note.slice(0, note.indexOf(' '))))
        if (shapes.size > 1) mixed++
        for (const shape of shapes) seen.add(shape)
      } catch (error) {
        if (!(error instanceof TableReloadingError)) throw error
      }
      await new Promise(resolve => setImmediate(resolve))
    }
  })()
  for (let version = 1; version <= 5; version++) {
    await db.query(`alter table things alter note type text using 'v${version} ' || id`)
    await db.query('update things set n = n + 1 where id = 1')
    await until(() => seen.has(`v${version}`), 'it is seen')
  }
  watching = false
  await watch
  expect(mixed).toBe(0)
  await expectEqualToTable(cache, db)
})

test('a table that is written all the time is read anew, and misses nothing', async () => {
  const opened = await open('', { maxStaleness: 900 })
  const { db, cache } = opened
  await db.query('insert into things select i, 0, repeat(md5(i::text), 20) from generate_series(21, 3000) i')
  let writing = true
  const writers = [1, 2, 3].map(async worker => {
    const client = await db.connect()
    for (let i = worker; writing; i += 3) {
      await client.query('begin')
      await client.query('update things set n = n + 1 where id = $1', [(i % 3000) + 1])
      await client.query('insert into things values ($1, 0, $2)', [10_000 + i, 'new'])
      await client.query('delete from things where id = $1', [10_000 + i - 30])
      await client.query(i % 10 === 0 ? 'rollback' : 'commit')
    }
  })
  for (let round = 1; round <= 3; round++) {
    const before = opened.logger.lines.length
    await db.query(`alter table things add column extra${round} int default ${round}`)
    await until(
      () => opened.logger.lines.slice(before).some(line => line.endsWith('things was read anew.')),
      'it has been read anew',
    )
  }
  writing = false
  await Promise.all(writers)
  await expectEqualToTable(cache, db)
  expect(cache.health().reconnects).toBe(0)
})

test('a transaction that has written the table before it was published again is waited for', async () => {
  shows('I12')
  const opened = await open('', { maxStaleness: 900 })
  const { db, cache } = opened
  const writer = await db.connect()
  await db.query('alter publication walcache drop table things')
  await writer.query('begin')
  await writer.query(`insert into things values (100, 1, 'early')`)
  await until(() => failureOf(cache) instanceof TableReloadingError, 'it is noticed')
  await until(
    async () => (await db.query(`select from pg_publication_tables where tablename = 'things'`)).length === 1,
    'it is published again',
  )
  const publishedMs = performance.now()
  await until(
    () => cache.health().stalenessMs < performance.now() - publishedMs,
    'the server was asked once more',
  )
  expect(failureOf(cache)).toBeInstanceOf(TableReloadingError)
  expect(await cache.table(things).findUnique({ where: { id: 3 } })).toMatchObject({ id: 3, n: 3 })
  await writer.query(`insert into things values (101, 1, 'late')`)
  await writer.query('commit')
  await noticed(opened)
  await expectEqualToTable(cache, db)
})

test('a table that is put right again comes back by itself, also over a lost stream', async () => {
  shows('S5')
  const listed = defineTable<Thing>({ name: 'things', columns: ['id', 'note'] })
  const { db, cache } = await open('', { entities: [listed, bystanders], maxStaleness: 900 })
  const told = cache.table(listed).changes()
  const end = told.next().catch((error: unknown) => error)
  await db.query('alter table things rename column note to remark')
  await until(() => failureOf(cache) instanceof TableChangedError, 'it is left out')
  expect(failureOf(cache)).toMatchObject({
    code: 'CACHE_TABLE_CHANGED',
    cause: { problems: [{ kind: 'missing-column', table: 'public.things' }] },
  })
  expect(await end).toBeInstanceOf(TableChangedError)
  await db.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()',
  )
  await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
  expect(cache.table(bystanders).local.get(1)).toEqual({ id: 1 })
  expect(() => cache.table(listed).local.get(1)).toThrow(TableChangedError)
  await db.query('alter table things rename column remark to note')
  await until(() => failureOf(cache) === null && cache.state === 'live', 'it is back')
  await db.query(`update things set note = 'later' where id = 1`)
  await caughtUp(cache)
  expect(cache.table(listed).local.get(1)).toEqual({ id: 1, note: 'later' })
})

test('a publication that no longer publishes updates ends the cache with its reason', async () => {
  shows('C22')
  const { db, cache } = await open()
  const table = cache.table(things)
  const ended = table
    .changes()
    .next()
    .catch((error: unknown) => error)
  const cause = { code: 'CACHE_PUBLICATION' }
  await db.query(`alter publication walcache set (publish = 'insert')`)
  await until(() => cache.state === 'failed', 'it has given up', NOTICED_MS)
  expect(cache.health().lastError).toMatchObject(cause)
  expect(() => table.local.get(1)).toThrow(ClosedError)
  expect(await ended).toMatchObject({ code: 'CACHE_CLOSED', cause })
  await untilNothingIsLeft(db)
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
  shows('S32')
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
