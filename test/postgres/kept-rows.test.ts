/** Tables with a filter: memory has the rows for which PostgreSQL says that it holds, whatever is done to them. */
import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Random } from '../../simulation/random.js'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  PrimaryKey,
  Column,
  ReplicatedTable,
  SetupError,
} from '../../src/index.js'
import type { DecoderName } from '../../src/decode/index.js'
import { decoderNames, type Skip, skipUnlessInstalled } from '../conformance/installed.js'
import { caughtUp, countingRuntime, poolOf, recordingLogger, until } from '../support/cache.js'
import { serverFor } from '../support/postgres.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { seed } from '../support/seed.js'

// Tables are loaded some ten times, on a slow machine.
vi.setConfig({ testTimeout: 120_000 })

interface Doc {
  readonly id: number
  readonly state: string | null
  readonly n: number | null
  readonly flag: boolean | null
  readonly body: string | null
}

/** Each table with the rows that are meant, said once more in SQL by hand. */
const FILTERS = {
  by_state: defineTable<Doc>({ name: 'by_state', where: { state: `it's \\ open` }, indexes: [['n']] }),
  by_range: defineTable<Doc>({
    name: 'by_range',
    where: { OR: [{ n: { gte: 10, lt: 50 } }, { flag: null }], NOT: { n: 13 } },
  }),
  by_negation: defineTable<Doc>({
    name: 'by_negation',
    where: { NOT: { state: { in: ['shut', `it's \\ open`] } }, n: { not: null } },
  }),
  by_body: defineTable<Doc>({ name: 'by_body', where: { body: { contains: 'x%' } } }),
} as const
type Name = keyof typeof FILTERS
const NAMES = Object.keys(FILTERS) as Name[]
const SQL: Readonly<Record<Name, string>> = {
  by_state: `state = 'it''s ' || chr(92) || ' open'`,
  by_range: '((n >= 10 and n < 50) or flag is null) and n <> 13',
  by_negation: `state <> 'shut' and state <> 'it''s ' || chr(92) || ' open' and n is not null`,
  by_body: `position('x%' in body) > 0`,
}

const STATES = [`it's \\ open`, 'shut', 'new', '', null]
/** Texts that stand in the row, and such as are out of line. */
const LONG = 'long '.repeat(600)
const bodies = (random: Random, { toast }: Has): string | null =>
  random.pick([null, 'short', 'x% short', ...(toast ? [`${LONG}${random.below(1000)}`, `x% ${LONG}`] : [])])
const KEYS = 60

/** What the writers may do: what a decoder can't go on with has everything loaded anew, which takes its time. */
interface Has {
  readonly truncate: boolean
  readonly toast: boolean
}

function randomStatement(random: Random, table: Name, has: Has): [sql: string, values: unknown[]] {
  const id = random.below(KEYS)
  const [n, flag] = [random.pick([null, 5, 10, 13, 20, 49, 50]), random.pick([true, false, null])]
  switch (
    random.weighted({ insert: 30, state: 20, n: 12, body: 8, key: 8, delete: 8, many: 3, truncate: 1 })
  ) {
    case 'insert':
      return [
        `insert into ${table} values ($1, $2, $3, $4, $5) on conflict do nothing`,
        [id, random.pick(STATES), n, flag, bodies(random, has)],
      ]
    case 'state':
      return [`update ${table} set state = $2 where id = $1`, [id, random.pick(STATES)]]
    case 'n':
      return [`update ${table} set n = $2, flag = $3 where id = $1`, [id, n, flag]]
    case 'body':
      return [`update ${table} set body = $2 where id = $1`, [id, bodies(random, has)]]
    case 'key':
      return [
        `update ${table} set id = $2 where id = $1 and not exists (select from ${table} where id = $2)`,
        [id, random.below(KEYS)],
      ]
    case 'delete':
      return [`delete from ${table} where id = $1`, [id]]
    case 'many':
      return [`update ${table} set state = $2 where id between $1 and $1 + 10`, [id, random.pick(STATES)]]
    case 'truncate':
      return has.truncate ? [`truncate ${table}`, []] : [`delete from ${table}`, []]
  }
}

/** Transactions of some statements each; some of them are taken back, whole or to a savepoint. */
async function write(client: pg.Client, random: Random, transactions: number, has: Has): Promise<void> {
  for (let left = transactions; left > 0; left--) {
    await client.query('begin')
    try {
      for (let statements = random.between(1, 4); statements > 0; statements--) {
        const inPart = random.chance(0.1)
        if (inPart) await client.query('savepoint part')
        await client.query(...randomStatement(random, random.pick(NAMES), has))
        if (inPart && random.chance(0.5)) await client.query('rollback to savepoint part')
      }
      await client.query(random.chance(0.1) ? 'rollback' : 'commit')
    } catch (error) {
      // Two writers may give one key to two rows, or wait for each other.
      if (!(error instanceof pg.DatabaseError)) throw error
      await client.query('rollback')
    }
  }
}

async function created(decoder: DecoderName = 'pgoutput'): Promise<TestDatabase> {
  const db = await testDatabase(serverFor(decoder))
  for (const name of NAMES)
    await db.query(`create table ${name} (id int primary key, state text, n int, flag bool, body text);
      alter table ${name} alter body set storage external`)
  return db
}

async function open(db: TestDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: Object.values(FILTERS), ...options })
  onTestFinished(() => cache.close())
  return cache
}

async function expectEqual(db: TestDatabase, cache: Cache, names: readonly Name[] = NAMES): Promise<void> {
  await caughtUp(cache)
  for (const name of names) {
    const { local } = cache.table(FILTERS[name])
    const rows = await db.query<Doc>(`select * from ${name} where ${SQL[name]} order by id`)
    // It may be read anew just now: the asynchronous reads go on, and have to say the same.
    expect(await cache.table(FILTERS[name]).findMany({ orderBy: { id: 'asc' } }), `table ${name}`).toEqual(
      rows,
    )
    await until(() => cache.health().tables.every(({ failed }) => failed === null), `${name} can be read`)
    await caughtUp(cache)
    expect(
      [...local].sort((a, b) => a.id - b.id),
      `table ${name}`,
    ).toEqual(rows)
    expect(local.count(), `table ${name}`).toBe(rows.length)
  }
}

describe.each(decoderNames)('through %s', decoder => {
  test('memory has the rows for which the filter holds, after any writes, and after loading anew', async ({
    skip,
  }) => {
    const db = await created(decoder)
    skipUnlessInstalled(db, decoder, skip)
    const random = new Random(seed)
    const writers = await Promise.all([db.connect(), db.connect(), db.connect()])
    const has = { truncate: decoder !== 'decoderbufs', toast: decoder === 'pgoutput' }
    const work = (round: number): Promise<unknown> =>
      Promise.all(writers.map((writer, i) => write(writer, random.fork(round * 10 + i), 20, has)))
    await work(0)
    const opening = open(db, { decoder })
    await work(1)
    const cache = await opening
    await expectEqual(db, cache)
    for (let round = 2; round < 4; round++) {
      await work(round)
      await expectEqual(db, cache)
    }
    const { reconnects } = cache.health()
    const working = work(5)
    await db.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active',
    )
    await until(
      () => cache.health().reconnects > reconnects && cache.state === 'live',
      'it is connected again',
    )
    await working
    await expectEqual(db, cache)
    const { mismatched } = await cache.verify()
    expect(mismatched).toBe(0)
  })
})

describe('a row with a value out of line that comes in', () => {
  async function withShut(
    skip: Skip = () => undefined,
    decoder: DecoderName = 'pgoutput',
    rows = 20,
  ): Promise<{ db: TestDatabase; cache: Cache; lines: string[] }> {
    const logger = recordingLogger()
    const db = await created(decoder)
    skipUnlessInstalled(db, decoder, skip)
    await db.query(
      `insert into by_state select i, 'shut', i, true, $1 || i from generate_series(1, ${rows}) i`,
      [LONG],
    )
    // A question that a busy machine answers late is given up: so time goes by slowly here.
    const cache = await open(db, { logger, decoder, runtime: countingRuntime(0.2) })
    return { db, cache, lines: logger.lines }
  }
  const anew = (lines: readonly string[]): number => lines.filter(line => line.includes('read anew')).length

  test.for(decoderNames)(
    'is had whole through %s, without anything being loaded',
    async (decoder, { skip }) => {
      const { db, cache, lines } = await withShut(skip, decoder)
      await db.query(`update by_state set state = $1 where id < 5`, [STATES[0]])
      await expectEqual(db, cache, ['by_state'])
      expect(cache.table(FILTERS.by_state).local.get(3)).toMatchObject({ body: `${LONG}3` })
      expect(cache.health().reconnects).toBe(0)
      expect(anew(lines)).toBe(0)
    },
  )

  test('is read with its table where nothing tells that no later transaction has changed it', async () => {
    const { db, cache, lines } = await withShut()
    // A subtransaction's id is on the row, and the stream names the transaction.
    await db.query(
      `begin; savepoint a; update by_state set state = 'it''s ' || chr(92) || ' open' where id < 5; commit`,
    )
    await expectEqual(db, cache, ['by_state'])
    expect(cache.table(FILTERS.by_state).local.get(3)).toMatchObject({ body: `${LONG}3` })
    expect(anew(lines)).toBeGreaterThan(0)
    expect(cache.health().reconnects).toBe(0)
  })

  test('is read with its table where there are too many of them to ask for each', async () => {
    const { db, cache, lines } = await withShut(undefined, 'pgoutput', 300)
    await db.query('update by_state set state = $1', [STATES[0]])
    await expectEqual(db, cache, ['by_state'])
    expect(cache.table(FILTERS.by_state).local.count()).toBe(300)
    expect(anew(lines)).toBeGreaterThan(0)
    expect(cache.health().reconnects).toBe(0)
  })

  test('is never shown as a later transaction has left it', async () => {
    const { db, cache } = await withShut()
    const inserted: [id: number | undefined, body: string | null | undefined][] = []
    const end = new AbortController()
    const reading = (async () => {
      for await (const change of cache.table(FILTERS.by_state).changes({ signal: end.signal }))
        if (change.kind === 'insert') inserted.push([change.key.id, change.new?.body])
    })()
    for (let id = 1; id <= 5; id++) {
      // By the time that the first of the two is asked about, the server has the second one.
      await db.query(
        `begin; update by_state set state = 'it''s ' || chr(92) || ' open' where id = ${id}; commit;
         begin; update by_state set body = 'later' where id = ${id}; commit`,
      )
      await expectEqual(db, cache, ['by_state'])
    }
    expect(cache.health().reconnects).toBe(0)
    // A gap may have taken the place of some, but not of all that are still to come.
    let last = 100
    await until(async () => {
      await db.query('insert into by_state values ($1, $2)', [last++, STATES[0]])
      return inserted.some(([id]) => id !== undefined && id >= 100)
    }, 'the follower is told of a row')
    end.abort()
    await reading.catch(() => undefined)
    expect(inserted.filter(([, body]) => body === 'later')).toEqual([])
  })

  test('comes with the stream under REPLICA IDENTITY FULL', async () => {
    const { db, cache, lines } = await withShut()
    await db.query('alter table by_state replica identity full')
    await db.query(
      `begin; savepoint a; update by_state set state = 'it''s ' || chr(92) || ' open' where id < 5; commit`,
    )
    await expectEqual(db, cache, ['by_state'])
    expect(lines.filter(line => line.includes('lacks a row'))).toEqual([])
  })
})

test('a table that is altered, or added, has the rows for which its filter holds', async () => {
  const db = await created()
  const cache = await open(db, { entities: [FILTERS.by_range] })
  await db.query(`insert into by_range select i, null, i, true, null from generate_series(1, 60) i;
    insert into by_state select i, case when i % 2 = 0 then 'it''s ' || chr(92) || ' open' end, i, true, null from generate_series(1, 60) i`)
  await cache.addTable(FILTERS.by_state)
  await expectEqual(db, cache, ['by_range', 'by_state'])
  await db.query(
    `alter table by_range alter n type int using n + 5; update by_range set n = 20 where id = 60`,
  )
  await expectEqual(db, cache, ['by_range', 'by_state'])
})

test('absent is what the filter leaves out, in memory and in PostgreSQL alike', async () => {
  const db = await created()
  await db.query(`create unique index on by_range (state)`)
  await db.query(`insert into by_range values (1, 'a', 20, true, null), (2, 'b', 99, true, null)`)
  const cache = await open(db, { entities: [FILTERS.by_range] })
  const table = cache.table(FILTERS.by_range)
  for (const more of [{}, { maxStaleness: 0, onStale: 'database' as const }]) {
    expect(await table.findUnique({ where: { id: 1 }, ...more })).toMatchObject({ state: 'a' })
    expect(await table.findUnique({ where: { id: 2 }, ...more })).toBeNull()
    expect(await table.findUnique({ where: { state: 'b' }, ...more })).toBeNull()
    expect(await table.count({ where: { flag: true }, ...more })).toBe(1)
    expect(await table.findMany({ where: { n: { gt: 0 } }, ...more })).toHaveLength(1)
  }
  expect(table.local.get(2)).toBeUndefined()
  expect(table.explain({ where: { flag: true } }).sql).toContain(`t."n" < '50'`)
})

test('followers are told what comes in, and what leaves', async () => {
  const db = await created()
  const cache = await open(db, { entities: [FILTERS.by_range] })
  const changes = cache.table(FILTERS.by_range).changes()
  await db.query(`insert into by_range values (1, null, 99, true, null), (2, null, 20, true, null)`)
  await db.query('update by_range set n = n - 50')
  await db.query('update by_range set n = n + 60')
  const kinds: unknown[] = []
  for await (const change of changes) {
    if (change.kind !== 'insert' && change.kind !== 'delete' && change.kind !== 'update') continue
    kinds.push([change.kind, change.key.id])
    if (kinds.length === 4) break
  }
  expect(kinds).toEqual([
    ['insert', 2],
    ['insert', 1],
    ['delete', 2],
    ['delete', 1],
  ])
})

test('every filter that can not be kept by is refused by name, all at once', async () => {
  const db = await created()
  await db.query(`alter table by_body add extra json, alter state type text collate "en-x-icu"`)
  const pool = poolOf(db.url)
  const refused = openCache({
    pool,
    entities: [
      defineTable({ name: 'by_body', where: { extra: 'x' } }),
      defineTable({ name: 'by_state', where: { nothing: 1 } }),
    ],
  })
  await expect(refused).rejects.toThrow(SetupError)
  const error = await refused.catch((thrown: unknown) => thrown)
  expect((error as SetupError).problems.map(({ kind, table }) => `${kind} ${table}`)).toEqual([
    'table-filter public.by_body',
    'table-filter public.by_state',
  ])
})

test("a class's filter is checked by the compiler", () => {
  @ReplicatedTable({ name: 'docs', where: { state: 'open', n: { gte: 3 } } })
  class Right {
    @PrimaryKey() id!: number
    @Column() state!: string
    @Column() n!: number
  }
  // @ts-expect-error: there is no such property
  @ReplicatedTable({ name: 'docs', where: { nothing: 'open' } })
  class NoSuchProperty {
    @PrimaryKey() id!: number
    @Column() state!: string
  }
  // @ts-expect-error: a number is not compared with a list
  @ReplicatedTable({ name: 'docs', where: { n: { gte: [3] } } })
  class OtherType {
    @PrimaryKey() id!: number
    @Column() n!: number
  }
  expect([Right, NoSuchProperty, OtherType]).toHaveLength(3)
})
