import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotLocalError,
  openCache,
  OptionError,
  QueryError,
  type ReadOptions,
  TokenError,
  type WaitOptions,
  type Where,
} from '../../src/index.js'
import { poolOf } from '../support/cache.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

interface Visit {
  readonly id: number
  readonly day: string
  readonly place: string | null
}
const visits = defineTable<Visit>({ name: 'visits' })

let db: TestDatabase
let pool: pg.Pool
let cache: Cache

beforeAll(async () => {
  db = await testDatabase()
  await db.query(`
    create type place as (x int, y int);
    create table visits (id int primary key, day date not null, place place);
    insert into visits values (1, '2024-02-01', null), (2, '2024-01-02', '(,)'), (3, '2024-03-03', '(1,)')`)
  pool = new pg.Pool({ connectionString: db.url })
  cache = await openCache({ pool, entities: [visits] })
})

afterAll(async () => {
  await cache.close()
  await pool.end()
})

/** Answers of PostgreSQL's own. */
const asked = { maxStaleness: 0, onStale: 'database' } as const

const ids = (rows: readonly Visit[]): number[] => rows.map(({ id }) => id)

describe('a read', () => {
  const wrong: [string, object][] = [
    ['no bound that is a number', { maxStaleness: Number.NaN }],
    ['a bound as a text', { maxStaleness: '500' }],
    ['a bound in the future', { maxStaleness: -1 }],
    ['a policy that is spelled wrong', { onStale: 'thorw' }],
    ['a policy of another option', { onUnknown: 'serve' }],
    ['no policy', { onTimeout: null }],
    ['no timeout that is a number', { timeoutMs: Number.NaN }],
    ['a timeout that no timer takes', { timeoutMs: Number.POSITIVE_INFINITY }],
    ['a signal that is none', { signal: {} }],
  ]

  test.each(wrong)('with %s is refused', async (_, options) => {
    const wait = options as WaitOptions
    const read = { where: { id: 1 }, ...(options as ReadOptions) }
    const table = cache.table(visits)
    await expect(table.findUnique(read)).rejects.toBeInstanceOf(OptionError)
    await expect(table.findMany(read)).rejects.toBeInstanceOf(OptionError)
    await expect(cache.run(options, () => 1)).rejects.toBeInstanceOf(OptionError)
    if (!('timeoutMs' in options || 'signal' in options)) return
    await expect(cache.waitFor(cache.position, wait)).rejects.toBeInstanceOf(OptionError)
    await expect(cache.strictSnapshot(wait)).rejects.toBeInstanceOf(OptionError)
    await expect(cache.session(cache.position).snapshot(wait)).rejects.toBeInstanceOf(OptionError)
  })

  test('that is given up before it has begun rejects, also where memory has the answer', async () => {
    const table = cache.table(visits)
    const reason = new Error('given up')
    const signal = AbortSignal.abort(reason)
    const where = { id: 1 }
    for (const read of [
      () => table.findUnique({ where, signal }),
      () => table.findMany({ where, signal }),
      () => table.count({ where, signal }),
      () => table.prefetch([1], { signal }),
      () => cache.run({ signal }, () => 1),
    ])
      await expect(read()).rejects.toBe(reason)
  })

  const blank: [string, () => unknown][] = [
    ['a Promise that was not awaited', () => Promise.resolve({ id: 1 })],
    ['a Map', () => new Map([['id', 1]])],
    ['a pattern', () => /1/],
    ['an object that inherits its properties', () => Object.create({ id: 1 }) as object],
    ['an object of symbols', () => ({ [Symbol('or')]: [{ id: 1 }] })],
  ]

  test.each(blank)('whose where is %s does not mean every row', async (_, make) => {
    const table = cache.table(visits)
    // The shape of an empty condition is known from here on.
    expect(table.local.count({ where: {} })).toBe(3)
    const where = make() as Where<Visit>
    for (const given of [where, { AND: [where] }, { NOT: where }] as Where<Visit>[]) {
      expect(() => table.local.findMany({ where: given })).toThrow(QueryError)
      await expect(table.count({ where: given, ...asked })).rejects.toBeInstanceOf(QueryError)
    }
    expect(() => table.local.findMany(where as object)).toThrow(QueryError)
  })

  test('takes an object without a prototype for what it says', () => {
    const { local } = cache.table(visits)
    expect(local.count({ where: Object.create(null) as object })).toBe(3)
    expect(local.count({ where: Object.assign(Object.create(null) as object, { id: 1 }) })).toBe(1)
  })
})

test('a read that has to wait asks for what it was asked for, whatever becomes of the object meanwhile', async () => {
  const table = cache.table(visits)
  const { token } = await cache.write(client => client.query('update visits set place = place where id = 1'))
  using snapshot = cache.snapshot()
  for (const options of [{ after: token }, asked]) {
    const where = { id: 0 }
    const reads = [1, 2, 3].map(id => {
      where.id = id
      return table.findUnique({ where, ...options })
    })
    where.id = 4
    expect((await Promise.all(reads)).map(row => row?.id)).toEqual([1, 2, 3])
  }
  const where = { id: 1 }
  const read = snapshot.table(visits).findUnique({ where })
  where.id = 4
  expect((await read)?.id).toBe(1)
})

test('a loop of awaited reads that memory answers lets commits in', async () => {
  const table = cache.table(visits)
  const changed = db.query("update visits set day = '2024-04-04' where id = 3 returning id")
  let reads = 0
  // As old as may be, so that nothing else makes it ask PostgreSQL.
  for (; reads < 5_000_000; reads++) {
    const row = await table.findUnique({ where: { id: 3 }, maxStaleness: 1e9 })
    if (new Date(row!.day).getMonth() === 3) break
  }
  expect(reads).toBeLessThan(5_000_000)
  expect(await changed).toEqual([{ id: 3 }])
})

test('a session begins with a token, and with nothing else', () => {
  for (const token of [5, {}, 'x', true] as unknown as string[])
    expect(() => cache.session(token).observe(token)).toThrow(TokenError)
})

test('whether a composite value is null, only PostgreSQL says', async () => {
  const table = cache.table(visits)
  const orderBy = { id: 'asc' } as const
  for (const [where, expected] of [
    // A row of nothing but NULLs is one, in SQL.
    [{ place: null }, [1, 2]],
    [{ place: { not: null } }, [3]],
  ] as [Where<Visit>, number[]][]) {
    expect(() => table.local.findMany({ where })).toThrow(NotLocalError)
    expect(ids(await table.findMany({ where, orderBy }))).toEqual(expected)
  }
})

test.each([
  ['ISO, MDY', 2],
  ['ISO, DMY', 1],
])('a date that only PostgreSQL can read is read as on the pool, under %s', async (style, id) => {
  const styled = poolOf(db.url, { options: `-c datestyle=${style.replace(' ', '\\ ')}` })
  const own = await openCache({ pool: styled, entities: [visits] })
  onTestFinished(() => own.close())
  const { rows } = await styled.query<{ id: number }>('select id from visits where day = $1', ['1/2/2024'])
  expect(rows).toEqual([{ id }])
  expect(ids(await own.table(visits).findMany({ where: { day: '1/2/2024' } }))).toEqual([id])
  // Dates are written in one way, whatever the order in which they are read.
  expect(ids(own.table(visits).local.findMany({ where: { day: '2024-01-02' } }))).toEqual([2])
})

test('a token is right whatever a pool makes of int8', async () => {
  const numbers = {
    getTypeParser: ((oid: number, format: 'text') =>
      oid === 20 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
  }
  const counting = poolOf(db.url, { types: numbers })
  await cache.waitFor(await cache.token(counting))
  const client = await counting.connect()
  try {
    await client.query('begin')
    await expect(cache.token(client)).rejects.toBeInstanceOf(OptionError)
  } finally {
    await client.query('rollback')
    client.release()
  }
})
