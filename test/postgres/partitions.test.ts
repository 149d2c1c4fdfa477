/** A partitioned table, declared by its root: the stream has each row's changes as its leaf's, and memory has one table. */
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  type CacheError,
  defineTable,
  openCache,
  type OpenCacheOptions,
  SetupError,
  StaleError,
  type TableChange,
  TableChangedError,
  TableReloadingError,
} from '../../src/index.js'
import { decoderNames, skipUnlessInstalled } from '../conformance/installed.js'
import type { ScenarioId } from '../scenarios/catalogue.js'
import { caughtUp, poolOf, recordingLogger, rowsByKey, until } from '../support/cache.js'
import { seed } from '../support/seed.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

interface Reading {
  readonly id: number
  readonly region: string
  readonly n: number
  readonly note: string | null
}

const readings = defineTable<Reading>({ name: 'readings', key: ['id', 'region'] })
const marks = defineTable<{ id: number }>({ name: 'marks' })

/** Of these leaves, one is in another schema and has its columns in another order; two are partitions of a partition. */
const SCHEMA = `
  create table readings (id int, region text, n int, note text, primary key (id, region)) partition by list (region);
  create table north partition of readings for values in ('north');
  create schema elsewhere;
  create table elsewhere.south (note text, gone int, region text not null, n int, id int not null);
  alter table elsewhere.south drop column gone;
  alter table readings attach partition elsewhere.south for values in ('south');
  create table east partition of readings for values in ('east') partition by range (id);
  create table east_low partition of east for values from (minvalue) to (1000);
  create table east_high partition of east for values from (1000) to (maxvalue);
  create table marks (id int primary key);
  insert into readings select i, (array['north', 'south', 'east'])[1 + i % 3], i, 'note ' || i from generate_series(1, 30) i`

/** Probes come each 0.3 s: what a probe finds is found in this time, however slow the machine. */
const NOTICED_MS = 10_000

interface Opened {
  readonly db: TestDatabase
  readonly cache: Cache
  readonly logger: ReturnType<typeof recordingLogger>
}

async function open(
  options: Partial<OpenCacheOptions> = {},
  { major = 18, setup = '' }: { major?: 14 | 15 | 18; setup?: string } = {},
): Promise<Opened> {
  const db = await testDatabase({ major })
  await db.query(SCHEMA)
  await db.query(setup)
  return { db, ...(await openOn(db, options)) }
}

async function openOn(db: TestDatabase, options: Partial<OpenCacheOptions>): Promise<Omit<Opened, 'db'>> {
  const logger = recordingLogger()
  const pool = poolOf(db.url)
  const cache = await openCache({
    pool,
    entities: [readings, marks],
    logger,
    maxStaleness: 900,
    onStale: { local: 'serve' },
    ...options,
  })
  onTestFinished(() => cache.close())
  return { cache, logger }
}

const keyOf = ({ id, region }: Reading): string => `${id} ${region}`

const failureOf = (cache: Cache): CacheError | null => cache.health().tables[0]!.failed

const reads = ({ logger }: Opened): number =>
  logger.lines.filter(line => line.endsWith('readings was read anew.')).length

async function expectEqualToTable({ cache, db }: Pick<Opened, 'cache' | 'db'>): Promise<void> {
  await caughtUp(cache)
  await until(() => failureOf(cache) === null && cache.state === 'live', 'the table can be read', NOTICED_MS)
  await caughtUp(cache)
  const inDatabase = await db.query<Reading>('select * from readings')
  expect(rowsByKey(cache.table(readings).local, keyOf)).toEqual(rowsByKey(inDatabase, keyOf))
}

/** All that a stream carries, with a row that goes from partition to partition. */
async function writeAll(opened: Opened): Promise<void> {
  const { db } = opened
  await db.query(
    `insert into readings values (100, 'north', 1, 'new'), (100, 'south', 2, null), (2000, 'east', 3, 'new')`,
  )
  await db.query(
    `update readings set n = n + 1 where id % 2 = 0; delete from readings where id = 100 and region = 'south'`,
  )
  await expectEqualToTable(opened)
  await db.query(`update readings set region = 'south', n = -1 where id = 3`)
  await db.query(
    `begin; update readings set region = 'east' where id = 3; update readings set id = 5000, note = 'far' where id = 3; commit`,
  )
  await db.query(`update elsewhere.south set note = 'by its own name' where id = 4`)
  await expectEqualToTable(opened)
}

describe('a partitioned table is one table:', () => {
  test.each([14, 18] as const)(
    'its leaves’ changes are its own, however they are laid out (PostgreSQL %i)',
    async major => {
      shows('S16', 'S17')
      const opened = await open({}, { major })
      const { db, cache } = opened
      await expectEqualToTable(opened)
      await writeAll(opened)
      expect(cache.table(readings).local.get({ id: 5000, region: 'east' })).toEqual({
        id: 5000,
        region: 'east',
        n: -1,
        note: 'far',
      })
      await db.query(`truncate readings; insert into readings values (1, 'north', 1, 'after')`)
      await expectEqualToTable(opened)
      expect(reads(opened)).toBe(0)
      expect(cache.health().reconnects).toBe(0)
      expect((await cache.verify()).mismatched).toBe(0)
    },
  )

  test.for(decoderNames)('with %s as well', async (decoder, { skip }) => {
    shows('S16', 'S17')
    const db = await testDatabase({ major: 15 })
    skipUnlessInstalled(db, decoder, skip)
    await db.query(SCHEMA)
    const opened = { db, ...(await openOn(db, { decoder })) }
    await writeAll(opened)
    await db.query(`truncate readings; insert into readings values (1, 'north', 1, 'after')`)
    const { local } = opened.cache.table(readings)
    await until(() => whatIsShown(() => local.size) === 1, 'it is empty but for one row')
    await expectEqualToTable(opened)
  })

  test('a row that moves between partitions is deleted and inserted by one commit', async () => {
    shows('S17')
    const { db, cache } = await open()
    const before = cache.snapshot()
    const changes = cache.table(readings).changes()
    const first = changes.next()
    await db.query(`update readings set region = 'south' where id = 3`)
    const told = [(await first).value, (await changes.next()).value] as TableChange<Reading>[]
    expect(told.map(({ kind }) => kind)).toEqual(['delete', 'insert'])
    await caughtUp(cache)
    expect(before.table(readings).local.get({ id: 3, region: 'north' })).toBeDefined()
    expect(before.table(readings).local.get({ id: 3, region: 'south' })).toBeUndefined()
    expect(cache.table(readings).local.get({ id: 3, region: 'north' })).toBeUndefined()
    expect(cache.table(readings).local.get({ id: 3, region: 'south' })).toMatchObject({ n: 3 })
    before.close()
    await changes.return?.()
  })

  test('of a bounded one, what is asked for is kept', async () => {
    const few = defineTable<Reading>({
      name: 'readings',
      key: ['id', 'region'],
      keep: { maxRows: 10 },
      indexes: [['n']],
    })
    const { db, cache, logger } = await open({ entities: [few] })
    const table = cache.table(few)
    const where = { id: 3, region: 'north' }
    expect(await table.findUnique({ where })).toMatchObject({ n: 3 })
    expect(await table.findMany({ where: { n: 4 } })).toMatchObject([{ id: 4, region: 'south' }])
    await db.query(
      `update readings set region = 'south' where id = 3; update readings set note = 'x' where id = 4`,
    )
    await caughtUp(cache)
    expect(table.local.get(where)).toBeUndefined()
    expect(table.local.findMany({ where: { n: 4 } })).toMatchObject([{ note: 'x' }])
    await db.query('truncate elsewhere.south')
    await caughtUp(cache)
    await until(() => logger.lines.some(line => line.endsWith('readings was read anew.')), 'it is open again')
    expect(await table.findMany({ where: { n: 4 } })).toEqual([])
    expect(await table.findUnique({ where: { id: 3, region: 'south' } })).toBeNull()
    expect(await table.findUnique({ where: { id: 6, region: 'north' } })).toMatchObject({ n: 6 })
  })

  test('whoever may read the root needs no right on its partitions', async () => {
    const role = `reader_${Math.floor(seed)}_${process.pid}`
    const db = await testDatabase()
    await db.query(SCHEMA)
    await db.query(`
      create role ${role} login replication; grant select on readings, marks to ${role};
      create publication walcache for table readings, marks with (publish = 'insert, update, delete, truncate')`)
    const url = new URL(db.url)
    url.username = role
    const cache = await openCache({ pool: poolOf(url.href), entities: [readings, marks] })
    onTestFinished(async () => {
      await cache.close()
      await db.query(`drop owned by ${role}; drop role ${role}`)
    })
    await db.query(`insert into readings values (100, 'south', 1, 'new')`)
    await expectEqualToTable({ cache, db })
  })
})

/** What the stream tells nothing of, or not enough. */
const silent: [what: string, shown: ScenarioId[], sql: string[], setup?: string][] = [
  ['a partition is detached', ['S18', 'I23'], ['alter table readings detach partition north']],
  [
    'a partition is detached concurrently',
    ['S18'],
    ['alter table readings detach partition elsewhere.south concurrently'],
  ],
  ['a partition is dropped', ['S18'], ['drop table north']],
  ['a partition of a partition is dropped', ['S18'], ['drop table east_low']],
  ['a partitioned partition is dropped', ['S18'], ['drop table east']],
  [
    'a partition with rows is attached',
    ['S19'],
    [
      `create table west (like readings including all); insert into west values (1, 'west', 1, 'w'), (2, 'west', 2, 'w')`,
      `alter table readings attach partition west for values in ('west')`,
    ],
  ],
  [
    'a partition is taken out for a moment, and changed',
    ['S18', 'S19'],
    [
      'alter table readings detach partition north',
      `update north set note = 'changed meanwhile'; delete from north where id = 3`,
      `alter table readings attach partition north for values in ('north')`,
    ],
  ],
  ['a partition is truncated', ['S20', 'I23'], ['truncate north']],
  ['partitions of a partition are truncated with it', ['S20'], ['truncate east']],
  [
    'a partition is exchanged for another one of its name',
    ['S18', 'S19'],
    [
      `begin; create table other (like readings including all); insert into other values (3, 'north', 33, 'other');
       alter table readings detach partition north; alter table north rename to old; alter table other rename to north;
       alter table readings attach partition north for values in ('north'); commit`,
    ],
  ],
]

describe('what the stream does not tell is noticed by itself:', () => {
  test.each(silent)('%s', async (_what, shown, statements) => {
    shows(...shown)
    const opened = await open()
    const { db, cache } = opened
    for (const statement of statements) await db.query(statement)
    expect(cache.table(marks).local.size).toBe(0)
    await until(() => reads(opened) > 0, 'it is read anew', NOTICED_MS)
    await expectEqualToTable(opened)
    await db.query(
      `insert into readings select 300, 'south', 1, 'later' where exists (select from pg_inherits where inhrelid = 'elsewhere.south'::regclass)`,
    )
    await db.query(
      `update readings set note = 'later' where id % 2 = 0; delete from readings where id = 9; insert into marks values (1)`,
    )
    await expectEqualToTable(opened)
    expect(cache.table(marks).local.has(1)).toBe(true)
    expect(cache.health().reconnects).toBe(0)
  })

  test.for(decoderNames)(
    'with %s as well, for which everything is loaded anew',
    async (decoder, { skip }) => {
      shows('S18', 'S19', 'S20')
      const db = await testDatabase({ major: 15 })
      skipUnlessInstalled(db, decoder, skip)
      await db.query(SCHEMA)
      const opened = { db, ...(await openOn(db, { decoder })) }
      const { cache } = opened
      for (const statement of [
        'truncate north',
        `create table west partition of readings for values in ('west'); insert into readings values (1, 'west', 1, 'w')`,
        'drop table east',
      ]) {
        await db.query(statement)
        const expected = (await db.query('select * from readings')).length
        const isThere = (): boolean => whatIsShown(() => cache.table(readings).local.size) === expected
        await until(isThere, `it is noticed: ${statement}`, NOTICED_MS)
        await expectEqualToTable(opened)
      }
    },
  )

  test('a partition that no longer can be followed puts the table out by name, until it is put right', async () => {
    const { db, cache } = await open()
    await db.query('alter table north replica identity nothing')
    await until(() => failureOf(cache) instanceof TableChangedError, 'it is left out', NOTICED_MS)
    expect(failureOf(cache)?.message).toMatch(/partition "public"\."north" is not the primary key/)
    expect(cache.table(marks).local.size).toBe(0)
    await db.query('alter table north replica identity default')
    await expectEqualToTable({ cache, db })
  })
})

/** What memory shows; null while it shows nothing, since the table is being read anew. */
function whatIsShown<T>(read: () => T): T | null {
  try {
    return read()
  } catch (error) {
    if (error instanceof TableReloadingError || error instanceof StaleError) return null
    throw error
  }
}

describe('between two probes, no commit is shown without what it did to partitions:', () => {
  test.each([
    [
      'a new one with rows',
      (mark: number) =>
        `create table west${mark} partition of readings for values in ('west${mark}'); insert into readings values (${mark}, 'west${mark}', 1, 'w')`,
    ],
    [
      'one that is truncated and filled again',
      (mark: number) =>
        `insert into readings values (${500 + mark}, 'south', 1, 'before'); truncate north; insert into readings values (${mark}, 'north', 1, 'w')`,
    ],
    [
      'one that is exchanged for a new one',
      (
        mark: number,
      ) => `alter table readings detach partition north; alter table north rename to north${mark};
        create table north partition of readings for values in ('north'); insert into readings values (${mark}, 'north', 1, 'w')`,
    ],
  ])('%s', async (_what, sql) => {
    shows('S18', 'S19', 'S20', 'I23')
    const { db, cache } = await open({ maxStaleness: 3_600_000 })
    const wrong: string[] = []
    let watching = true
    const stateIn = (rows: Iterable<Reading>): string => JSON.stringify([...rows].map(keyOf).toSorted())
    /** The table after so many marked commits. */
    const states = new Map([[0, stateIn(await db.query<Reading>('select * from readings'))]])
    const watch = (async () => {
      while (watching) {
        // One turn of the event loop: one state of all tables.
        const mark = cache.table(marks).local.size
        const shown = whatIsShown(() => stateIn(cache.table(readings).local))
        if (shown !== null && states.has(mark) && states.get(mark) !== shown) wrong.push(`${mark}: ${shown}`)
        await new Promise(resolve => setImmediate(resolve))
      }
    })()
    for (let mark = 1; mark <= 3; mark++) {
      await db.query('begin')
      await db.query(sql(mark))
      await db.query(`insert into marks values (${mark})`)
      states.set(mark, stateIn(await db.query<Reading>('select * from readings')))
      await db.query('commit')
      await caughtUp(cache)
      expect(cache.table(marks).local.size).toBe(mark)
      await until(() => whatIsShown(() => cache.table(readings).local.size) !== null, 'it is read anew')
    }
    watching = false
    await watch
    expect(wrong).toEqual([])
    await expectEqualToTable({ cache, db })
  })
})

test('while rows move, and partitions are truncated, detached and attached all the time, memory ends as the table', async () => {
  shows('S17', 'S18', 'S19', 'S20')
  const opened = await open()
  const { db, cache } = opened
  let state = seed
  const below = (count: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * count)
  }
  const REGIONS = ['north', 'south', 'east']
  const region = (): string => REGIONS[below(3)]!
  const id = (): number => below(60) + (below(2) === 0 ? 0 : 980)
  const statement = (): string => {
    const what = below(20)
    if (what < 8)
      return `insert into readings values (${id()}, '${region()}', ${below(100)}, 'n${below(100)}') on conflict (id, region) do update set n = excluded.n`
    if (what < 14) {
      const to = region()
      return `update readings r set region = '${to}' where id = ${id()} and region <> '${to}'
        and not exists (select from readings o where o.id = r.id and o.region = '${to}')
        and region = (select min(region) from readings o where o.id = r.id and o.region <> '${to}')`
    }
    return `delete from readings where id = ${id()}`
  }
  for (let round = 1; round <= 6; round++) {
    for (let transaction = 0; transaction < 25; transaction++) {
      const statements = Array.from({ length: 1 + below(4) }, statement)
      await db.query(`begin; ${statements.join('; ')}; ${below(5) === 0 ? 'rollback' : 'commit'}`)
    }
    const ddl = [
      'truncate north',
      'alter table readings detach partition north; update north set n = -1',
      `alter table readings attach partition north for values in ('north')`,
      'truncate elsewhere.south, north',
      'truncate readings',
      'truncate east_low',
    ][round - 1]!
    await db.query(ddl)
    // While north is out, its rows have no partition to be in.
    if (round === 2) REGIONS[0] = 'east'
    if (round === 3) REGIONS[0] = 'north'
    if (round % 2 === 0) await expectEqualToTable(opened)
  }
  await until(() => reads(opened) > 0, 'it was read anew')
  await expectEqualToTable(opened)
  expect((await cache.verify()).mismatched).toBe(0)
  expect(cache.health().reconnects).toBe(0)
})

describe('at the start it is refused', () => {
  const refused = async (setup: string, options: Partial<OpenCacheOptions> = {}): Promise<unknown> => {
    const db = await testDatabase()
    await db.query(SCHEMA)
    await db.query(setup)
    return openCache({ pool: poolOf(db.url), entities: [readings, marks], ...options }).catch(
      (error: unknown) => error,
    )
  }
  const north = defineTable<Reading>({ name: 'north' })

  test.each<[string, string, RegExp, Partial<OpenCacheOptions>?]>([
    [
      'if old rows of a partition are not logged by the primary key',
      'alter table north replica identity nothing; alter table east_low replica identity nothing',
      /replica identity of its partition "public"\."north" \(and 1 more\) is not the primary key/,
    ],
    [
      'if a partition is unlogged',
      'alter table north set unlogged',
      /partition "public"\."north" is unlogged/,
    ],
    [
      'if a partition is declared as well',
      '',
      /partition of public\.readings, which is declared as well/,
      { entities: [readings, north] },
    ],
    ['if its primary key is gone', 'alter table readings drop constraint readings_pkey', /no primary key/],
    [
      'if the primary key is not that of all partitions',
      'alter table readings drop constraint readings_pkey; alter table only readings add primary key (id, region)',
      /is not complete/,
    ],
  ])('%s', async (_what, setup, message, options) => {
    const error = await refused(setup, options)
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).message).toMatch(message)
  })

  test.each([
    [
      'publishes it as its root',
      'for table readings, marks with (publish_via_partition_root)',
      /partitions as their root/,
    ],
    [
      'lists its partitions, so that a new one would be missing',
      'for table north, elsewhere.south, east, marks',
      /lacks public\.readings/,
    ],
    [
      'has a row filter for a partition',
      'for table readings, north where (id > 5), marks',
      /row filters on public\.readings/,
    ],
    [
      'has a column list for a partition',
      'for table readings, north (id, region), marks',
      /leave out mapped columns of public\.readings/,
    ],
  ])('if the caller’s publication %s', async (_what, publication, message) => {
    const error = await refused(`create publication mine ${publication}`, { publication: 'mine' })
    expect((error as Error).message).toMatch(message)
  })
})

test('a partitioned table can be added to a running stream, and its leaves are followed', async () => {
  const { db, cache } = await open({ entities: [marks] })
  const table = await cache.addTable(readings)
  await db.query(
    `insert into readings values (100, 'south', 1, 'new'); update readings set region = 'east' where id = 3`,
  )
  await caughtUp(cache)
  const inDatabase = await db.query<Reading>('select * from readings')
  expect(rowsByKey(table.local, keyOf)).toEqual(rowsByKey(inDatabase, keyOf))
  const north = defineTable<Reading>({ name: 'north' })
  await expect(cache.addTable(north)).rejects.toThrow(/partition of public\.readings/)
})
