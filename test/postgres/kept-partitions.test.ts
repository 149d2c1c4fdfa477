/** A partitioned table with a filter: one table, of the rows for which it holds, whichever partition they are in, come from or go to. */
import { expect, onTestFinished, test } from 'vitest'
import { Random } from '../../simulation/random.js'
import { type Cache, CacheError, defineTable, openCache, type OpenCacheOptions } from '../../src/index.js'
import { decoderNames, skipUnlessInstalled } from '../conformance/installed.js'
import { caughtUp, poolOf, rowsByKey, until } from '../support/cache.js'
import { serverFor } from '../support/postgres.js'
import { seed } from '../support/seed.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'

interface Reading {
  readonly id: number
  readonly region: string
  readonly n: number
  readonly body: string | null
}

const readings = defineTable<Reading>({ name: 'readings', key: ['id', 'region'], where: { n: { gte: 10 } } })
const KEPT = 'select * from readings where n >= 10'
const REGIONS = ['north', 'south', 'east']

/** The leaves have their columns in different orders; `far` is a table of its own, until it is attached. */
const SCHEMA = `
  create table readings (id int, region text, n int not null, body text, primary key (id, region)) partition by list (region);
  create table north partition of readings for values in ('north');
  create table south (body text, gone int, region text not null, n int not null, id int not null);
  alter table south drop column gone;
  alter table readings attach partition south for values in ('south');
  create table east partition of readings for values in ('east') partition by range (id);
  create table east_low partition of east for values from (minvalue) to (20);
  create table east_high partition of east for values from (20) to (maxvalue);
  create table far (id int, region text, n int not null, body text, primary key (id, region));
  alter table north alter body set storage external; alter table south alter body set storage external;
  alter table east_low alter body set storage external; alter table east_high alter body set storage external;
  alter table far alter body set storage external;
  insert into far select i, 'far', i, 'far ' || i from generate_series(1, 30) i;
  insert into readings select i, (array['north', 'south', 'east'])[1 + i % 3], i, 'note ' || i from generate_series(1, 30) i`

const LONG = 'long '.repeat(800)
const KEYS = 40

/** Rows come in and leave by their values, move between partitions, and to other keys, and have values that are not sent where they are not changed. */
function randomStatement(random: Random): [sql: string, values: unknown[]] {
  const [id, other] = [random.below(KEYS), random.below(KEYS)]
  const [from, to] = [random.pick(REGIONS), random.pick(REGIONS)]
  const n = random.pick([0, 5, 9, 10, 11, 50])
  switch (random.weighted({ insert: 6, value: 8, both: 4, region: 5, key: 2, body: 3, remove: 2 })) {
    case 'insert':
      return [
        'insert into readings values ($1, $2, $3, $4) on conflict do nothing',
        [id, to, n, random.pick([null, 'short', `${LONG}${id}`])],
      ]
    case 'value':
      return ['update readings set n = $3 where id = $1 and region = $2', [id, from, n]]
    case 'both':
      return [
        `update readings set region = $3, n = $4 where id = $1 and region = $2
          and not exists (select from readings where id = $1 and region = $3)`,
        [id, from, to, n],
      ]
    case 'region':
      return [
        `update readings set region = $3 where id = $1 and region = $2
          and not exists (select from readings where id = $1 and region = $3)`,
        [id, from, to],
      ]
    case 'key':
      return [
        `update readings set id = $3 where id = $1 and region = $2
          and not exists (select from readings where id = $3 and region = $2)`,
        [id, from, other],
      ]
    case 'body':
      return [
        'update readings set body = $3 where id = $1 and region = $2',
        [id, from, random.pick([null, 'short', `${LONG}${other}`])],
      ]
    case 'remove':
      return ['delete from readings where id = $1 and region = $2', [id, from]]
  }
}

async function write(db: TestDatabase, random: Random, transactions: number): Promise<void> {
  for (; transactions > 0; transactions--) {
    await db.query('begin')
    for (let left = random.between(1, 4); left > 0; left--) await db.query(...randomStatement(random))
    await db.query(random.chance(0.1) ? 'rollback' : 'commit')
  }
}

async function open(db: TestDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  const cache = await openCache({
    pool: poolOf(db.url),
    entities: [readings],
    maxStaleness: 900,
    onStale: { local: 'serve' },
    ...options,
  })
  onTestFinished(() => cache.close())
  return cache
}

const keyOf = ({ id, region }: Reading): string => `${id} ${region}`

/** Whether it is read so; while the table is read anew, it is not. */
function isSo(condition: () => boolean): boolean {
  try {
    return condition()
  } catch (error) {
    if (error instanceof CacheError) return false
    throw error
  }
}

async function expectKept(db: TestDatabase, cache: Cache): Promise<void> {
  await caughtUp(cache)
  await until(() => cache.health().tables[0]!.failed === null && cache.state === 'live', 'it can be read')
  await caughtUp(cache)
  const rows = await db.query<Reading>(KEPT)
  expect(rowsByKey(cache.table(readings).local, keyOf)).toEqual(rowsByKey(rows, keyOf))
  expect(await cache.table(readings).count()).toBe(rows.length)
}

test.for(decoderNames)(
  `memory has the rows for which the filter holds, wherever they move, through %s (seed ${seed})`,
  { timeout: 120_000 },
  async (decoder, { skip }) => {
    const db = await testDatabase({ major: serverFor(decoder).major })
    skipUnlessInstalled(db, decoder, skip)
    await db.query(SCHEMA)
    const cache = await open(db, { decoder })
    const random = new Random(seed)
    await expectKept(db, cache)
    for (let round = 0; round < 4; round++) {
      await write(db, random, 40)
      await expectKept(db, cache)
    }
    expect((await cache.verify()).mismatched).toBe(0)
  },
)

test(`also while partitions with rows of both kinds are attached and detached (seed ${seed})`, {
  timeout: 120_000,
}, async () => {
  const db = await testDatabase()
  await db.query(SCHEMA)
  const cache = await open(db)
  const random = new Random(seed)
  const far = (): number => [...cache.table(readings).local].filter(({ region }) => region === 'far').length
  for (const isLast of [false, true]) {
    const attached = await db.connect()
    const writing = write(db, random, 40)
    await attached.query(`alter table readings attach partition far for values in ('far')`)
    await writing
    await until(() => isSo(() => far() === 21), 'the attached rows are in, as far as the filter holds')
    await expectKept(db, cache)
    await db.query(`update readings set n = 0 where region = 'far' and id = 30`)
    await db.query(`update readings set region = 'far', id = 100, n = 100 where ctid = any (array(
        select ctid from readings where region = 'north' limit 1)) and region = 'north'`)
    await expectKept(db, cache)
    await db.query(`update readings set n = 30 where region = 'far' and id = 30;
        delete from readings where region = 'far' and id > 30`)
    const again = write(db, random, 40)
    await attached.query('alter table readings detach partition far')
    await again
    await until(() => isSo(() => far() === 0), 'the detached rows are gone')
    await expectKept(db, cache)
    if (isLast) expect((await cache.verify()).mismatched).toBe(0)
  }
})

test('a commit that writes many partitions for the first time has the server asked about them once', async () => {
  const LEAVES = 100
  const db = await testDatabase()
  const leaves = Array.from(
    { length: LEAVES },
    (_, i) => `create table leaf_${i} partition of many for values in (${i});`,
  )
  await db.query(`create table many (id int, k int, primary key (id, k)) partition by list (k);
    ${leaves.join('')} insert into many select i, i from generate_series(0, ${LEAVES - 1}) i`)
  const many = defineTable<{ id: number; k: number }>({
    name: 'many',
    key: ['id', 'k'],
    where: { id: { gte: 50 } },
  })
  let questions = 0
  const pool = poolOf(db.url)
  const runtime = await tamperedRuntime(pool, {
    query: sql => {
      if (sql.includes('fingerprint')) questions++
    },
  })
  const cache = await openCache({ pool, entities: [many], runtime, maxStaleness: 60_000 })
  onTestFinished(() => cache.close())
  const before = questions
  await db.query('update many set id = id + 1')
  await caughtUp(cache)
  expect([...cache.table(many).local].length).toBe(LEAVES - 49)
  // Besides, it is asked now and then, and once more where a commit was sent before it could be seen.
  expect(questions - before).toBeLessThan(LEAVES / 2)
  await db.query('alter table many detach partition leaf_99')
  await until(() => isSo(() => cache.table(many).local.size === LEAVES - 50), 'it is noticed')
})
