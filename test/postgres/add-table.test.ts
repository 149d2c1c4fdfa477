/** Tables that are declared while the cache is running: read beside the stream, exactly, and never half. */
import { expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  Column,
  defineTable,
  openCache,
  type OpenCacheOptions,
  OptionError,
  PrimaryKey,
  PublicationError,
  ReplicatedTable,
  SetupError,
} from '../../src/index.js'
import { Random } from '../../simulation/random.js'
import { caughtUp, poolOf, rowsByKey, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

const seed = Number(process.env['SEED'] ?? 1)

interface Thing {
  readonly id: number
  readonly n: number
}

const first = defineTable<{ id: number }>({ name: 'first' })
const things = defineTable<Thing>({ name: 'things' })

async function open(
  options: Partial<OpenCacheOptions> = {},
  setup = '',
): Promise<{ db: TestDatabase; cache: Cache }> {
  const db = await testDatabase()
  await db.query(`
    create table first (id int primary key);
    insert into first values (1);
    create table things (id int primary key, n int not null);
    insert into things select i, i from generate_series(1, 50) i;
    ${setup}`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [first], ...options })
  onTestFinished(() => cache.close())
  return { db, cache }
}

const names = (cache: Cache): string[] => cache.health().tables.map(({ name }) => name)

async function expectEqual(cache: Cache, db: TestDatabase): Promise<void> {
  await caughtUp(cache)
  const rows = await db.query<Thing>('select * from things')
  expect(rowsByKey(cache.table(things).local, ({ id }) => id)).toEqual(rowsByKey(rows, ({ id }) => id))
}

/** Ends the cache's walsender: the cache connects again. */
async function cut(db: TestDatabase, cache: Cache): Promise<void> {
  const { reconnects } = cache.health()
  await db.query(
    `select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active`,
  )
  await until(() => cache.health().reconnects > reconnects && cache.state === 'live', 'it is connected again')
}

test('a table that is added is read, follows the stream, and can be read as any other', async () => {
  const { db, cache } = await open()
  expect(() => cache.table(things)).toThrow(OptionError)
  const table = await cache.addTable(things)
  expect(table.local.get(7)).toEqual({ id: 7, n: 7 })
  expect(table.local.size).toBe(50)
  const changes = table.changes()
  await db.query('update things set n = -1 where id = 7; delete from things where id = 8')
  await expectEqual(cache, db)
  expect((await changes.next()).value).toMatchObject({ kind: 'update', new: { id: 7, n: -1 } })
  await changes.return?.()
  using snapshot = cache.snapshot()
  expect(snapshot.table(things).local.get(8)).toBeUndefined()
  expect(names(cache)).toEqual(['public.first', 'public.things'])
  expect(cache.health().reconnects).toBe(0)
  expect(await cache.addTable(things)).toBe(cache.table(things))
  // It is watched as the others are.
  await db.query(`alter table things alter n type text using 'n' || n`)
  await until(
    async () => String((await table.findUnique({ where: { id: 7 } }))?.n) === 'n-1',
    'it is read anew',
  )
  await until(() => cache.health().tables[1]!.failed === null, 'it is open again')
  expect(table.local.get(9)).toEqual({ id: 9, n: 'n9' })
  expect(cache.health().reconnects).toBe(0)
})

test('a decorated class, a table with a bound of its own, and several at once', async () => {
  class Person {
    declare id: number
    declare name: string
    greet(): string {
      return `I am ${this.name}.`
    }
  }
  PrimaryKey()(Person.prototype, 'id')
  Column()(Person.prototype, 'name')
  ReplicatedTable({ name: 'people', maxStaleness: 5_000 })(Person)
  const { cache } = await open(
    {},
    `create table people (id int primary key, name text); insert into people values (1, 'Ada')`,
  )
  const [people, table, again] = await Promise.all([
    cache.addTable(Person),
    cache.addTable(things),
    cache.addTable(things),
  ])
  expect(people.local.get(1)?.greet()).toBe('I am Ada.')
  expect(table.local.size).toBe(50)
  expect(again).toBe(table)
})

test.each([
  ['that nobody has published', false],
  ['that another process has published, and that the stream has announced', true],
])(
  `of a table %s, transactions that began before are there whole (seed ${seed})`,
  async (_, isPublished) => {
    const { db, cache } = await open()
    const random = new Random(seed)
    if (isPublished) {
      await db.query('alter publication walcache add table things')
      await db.query('update things set n = n + 1')
      await caughtUp(cache)
    }
    const early = await db.connect()
    await early.query('begin; insert into things values (1001, 1); update things set n = 0 where id = 1')
    let writing = true
    const writers = [0, 1].map(async writer => {
      const client = await db.connect()
      while (writing) {
        await client.query('begin')
        for (let left = random.between(1, 4); left > 0; left--)
          await client.query('update things set n = n + 1 where id % 2 = $1 and id > $2 and id < 1000', [
            writer,
            random.below(50),
          ])
        await client.query(
          'insert into things values ($1, 0) on conflict (id) do update set n = things.n + 1',
          [2 * random.between(1_000, 1_100) + writer],
        )
        await client.query(random.chance(0.2) ? 'rollback' : 'commit')
      }
    })
    const adding = cache.addTable(things)
    const waits = `select from pg_stat_activity where application_name = 'walcache' and query like '%virtualtransaction%'
    and datname = current_database()`
    await until(async () => (await db.query(waits)).length > 0, 'the writers are waited for')
    await early.query('insert into things values (1002, 2)')
    await early.query('commit')
    await adding
    writing = false
    await Promise.all(writers)
    await expectEqual(cache, db)
    expect(cache.table(things).local.get(1001)).toEqual({ id: 1001, n: 1 })
    expect((await cache.verify()).mismatched).toBe(0)
  },
  60_000,
)

test('a bounded table can be added to a cache of whole ones', async () => {
  const some = defineTable<Thing>({ name: 'things', keep: { maxRows: 20 } })
  const { db, cache } = await open()
  const table = await cache.addTable(some)
  expect(() => table.local.get(7)).toThrow('nothing is known')
  expect(await table.findUnique({ where: { id: 7 } })).toEqual({ id: 7, n: 7 })
  expect(await table.findUnique({ where: { id: 700 } })).toBeNull()
  await db.query('update things set n = -1 where id = 7; insert into things values (700, 7)')
  await caughtUp(cache)
  expect(table.local.get(7)).toEqual({ id: 7, n: -1 })
  expect(table.local.get(700)).toEqual({ id: 700, n: 7 })
  expect(await cache.verify()).toMatchObject({ mismatched: 0 })
  await cut(db, cache)
  expect(await table.findUnique({ where: { id: 7 } })).toEqual({ id: 7, n: -1 })
})

test('after a reconnect it is loaded with the others', async () => {
  const { db, cache } = await open()
  const table = await cache.addTable(things)
  await cut(db, cache)
  await db.query('insert into things values (60, 60)')
  await expectEqual(cache, db)
  expect(table.local.get(60)).toEqual({ id: 60, n: 60 })
})

test('what does not fit is told with all its problems, and nothing is left of it; put right, it is added', async () => {
  const bad = defineTable<{ id: number; nothing: string }>({ name: 'bad', columns: ['id', 'nothing'] })
  const { db, cache } = await open({}, 'create table bad (id int)')
  const error = await cache.addTable(bad).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(SetupError)
  expect((error as SetupError).problems.length).toBeGreaterThan(1)
  await expect(cache.addTable(defineTable({ name: 'nowhere' }))).rejects.toMatchObject({
    code: 'CACHE_SETUP',
  })
  await expect(cache.addTable(class {} as never)).rejects.toMatchObject({ code: 'CACHE_SETUP' })
  await expect(cache.addTable(defineTable({ name: 'first' }))).rejects.toMatchObject({
    problems: [{ kind: 'duplicate-table' }],
  })
  expect(names(cache)).toEqual(['public.first'])
  expect(() => cache.table(bad)).toThrow(OptionError)
  await db.query(
    `alter table bad add column nothing text, add primary key (id); insert into bad values (1, 'x')`,
  )
  expect((await cache.addTable(bad)).local.get(1)).toEqual({ id: 1, nothing: 'x' })
})

test('a publication of yours is checked, not altered', async () => {
  const db = await testDatabase()
  await db.query(`create table first (id int primary key); create table things (id int primary key, n int);
    create publication mine for table first`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [first], publication: 'mine' })
  onTestFinished(() => cache.close())
  await expect(cache.addTable(things)).rejects.toBeInstanceOf(PublicationError)
  expect(names(cache)).toEqual(['public.first'])
  await db.query('alter publication mine add table things; insert into things values (1, 1)')
  expect((await cache.addTable(things)).local.get(1)).toEqual({ id: 1, n: 1 })
})

test('called off while it waits for a writer, it leaves nothing, and can be added again', async () => {
  const { db, cache } = await open()
  const writer = await db.connect()
  await writer.query('begin; update things set n = 0 where id = 1')
  const waits = async (): Promise<boolean> =>
    (await db.query(`select from pg_publication_tables where tablename = 'things'`)).length === 1
  const stop = new AbortController()
  const adding = cache.addTable(things, { signal: stop.signal })
  await until(waits, 'the table is published')
  stop.abort(new Error('called off'))
  await expect(adding).rejects.toThrow('called off')
  expect(names(cache)).toEqual(['public.first'])
  expect(() => cache.table(things)).toThrow(OptionError)
  await db.query('update things set n = 5 where id = 2')
  await caughtUp(cache)
  const again = cache.addTable(things)
  await writer.query('commit')
  await again
  await expectEqual(cache, db)
})

test('a table that is being added when the stream is lost is added to the next one', async () => {
  const { db, cache } = await open()
  const writer = await db.connect()
  await writer.query('begin; update things set n = 0 where id = 1')
  const adding = cache.addTable(things)
  await until(
    async () => (await db.query(`select from pg_publication_tables where tablename = 'things'`)).length === 1,
    'the table is published',
  )
  await db.query(
    `select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active`,
  )
  await until(() => cache.health().reconnects > 0, 'the stream is lost')
  await writer.query('commit')
  await adding
  await expectEqual(cache, db)
})
