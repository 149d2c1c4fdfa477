import { beforeAll, describe, expect, test } from 'vitest'
import { type Cache, defineTable, NotLocalError, openCache, type Where } from '../../src/index.js'
import { caughtUp, poolOf } from '../support/cache.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

interface User {
  readonly id: number
  readonly email: string
  readonly is_active: boolean | null
  readonly balance: string
  readonly created_at: Date
}

const users = defineTable<User>({ name: 'users' })

let db: TestDatabase

beforeAll(async () => {
  db = await testDatabase()
  await db.query(`create table users (
    id int primary key, email text not null, is_active boolean, balance numeric not null, created_at timestamptz not null)`)
  await db.query(`insert into users values
    (1, 'ada@example.com', true, 10.0, '2024-01-01 10:00:00.123456+00'),
    (2, 'grace@example.com', false, 'NaN', 'infinity'),
    (3, 'edsger%@example.com', null, 10.00, '2024-01-01 10:00:00.123457+00'),
    (4, 'Barbara@example.com', true, -0.5, '2023-01-01 00:00:00+00')`)
})

async function opened(): Promise<Cache & AsyncDisposable> {
  return openCache({ pool: poolOf(db.url), entities: [users] })
}

const ids = (rows: readonly { readonly id: number }[]): number[] => rows.map(({ id }) => id)

describe('findMany', () => {
  const cases: [string, Where<User>, readonly number[]][] = [
    ['a value', { email: 'ada@example.com' }, [1]],
    ['null', { is_active: null }, [3]],
    ['not null', { is_active: { not: null } }, [1, 2, 4]],
    ['not a value, which leaves out null', { is_active: { not: true } }, [2]],
    ['a list', { id: { in: [4, 1, 99] } }, [1, 4]],
    ['an empty list', { id: { in: [] } }, []],
    ['not in an empty list, null or not', { is_active: { notIn: [] } }, [1, 2, 3, 4]],
    ['a range of numerics, NaN above all', { balance: { gt: '9.99' } }, [1, 2, 3]],
    ['numerics of another scale', { balance: 10 }, [1, 3]],
    ['microseconds', { created_at: { gt: '2024-01-01T10:00:00.123456Z', lt: 'infinity' } }, [3]],
    ['a beginning, with a sign that LIKE would read', { email: { startsWith: 'edsger%' } }, [3]],
    ['texts by code point', { email: { lt: 'a' } }, [4]],
    ['OR of nothing', { OR: [] }, []],
    ['NOT of what is unknown', { NOT: { is_active: true } }, [2]],
    [
      'AND, OR and NOT',
      { OR: [{ id: 1 }, { AND: [{ id: { gt: 1 } }, { NOT: [{ id: 2 }, { id: 3 }] }] }] },
      [1, 4],
    ],
  ]

  test.each(cases)('%s: memory and PostgreSQL agree', async (_, where, expected) => {
    await using cache = await opened()
    const table = cache.table(users)
    expect(ids(table.local.findMany({ where, orderBy: { id: 'asc' } }))).toEqual(expected)
    const asked = await table.findMany({
      where,
      orderBy: { id: 'asc' },
      maxStaleness: 0,
      onStale: 'database',
    })
    expect(ids(asked)).toEqual(expected)
    expect(asked).toEqual(table.local.findMany({ where, orderBy: { id: 'asc' } }))
    expect(table.local.count({ where })).toBe(expected.length)
    expect(await table.count({ where, maxStaleness: 0, onStale: 'database' })).toBe(expected.length)
  })

  test('order, skip, take, select and omit', async () => {
    await using cache = await opened()
    const { local } = cache.table(users)
    expect(ids(local.findMany({ orderBy: [{ is_active: 'asc' }, { id: 'desc' }] }))).toEqual([2, 4, 1, 3])
    expect(ids(local.findMany({ orderBy: [{ is_active: 'desc' }, { id: 'asc' }] }))).toEqual([3, 1, 4, 2])
    expect(
      local.findMany({ orderBy: { balance: 'desc' }, skip: 1, take: 2, select: { id: true, balance: true } }),
    ).toEqual(expect.arrayContaining([{ id: 1, balance: '10.0' }]))
    expect(
      local.findFirst({ orderBy: { created_at: 'asc' }, omit: { email: true, created_at: true } }),
    ).toEqual({
      id: 4,
      is_active: true,
      balance: '-0.5',
    })
    expect(local.findFirst({ where: { id: 99 } })).toBeNull()
  })

  test('a snapshot answers for its commit', async () => {
    await using cache = await opened()
    const table = cache.table(users)
    using snapshot = cache.snapshot()
    await db.query(`update users set email = 'lady@example.com' where id = 1`)
    await caughtUp(cache)
    const where = { email: 'ada@example.com' }
    expect(ids(await snapshot.table(users).findMany({ where }))).toEqual([1])
    expect(await snapshot.table(users).count({ where })).toBe(1)
    expect(await table.findMany({ where })).toEqual([])
    expect(table.explain({ where })).toMatchObject({ local: true, reason: null })
    await db.query(`update users set email = 'ada@example.com' where id = 1`)
  })
})

test('lists of values that only PostgreSQL compares: of arrays there is no array type', async () => {
  await db.query(`create type pair as (a int, b text)`)
  await db.query(`create domain counts as int[]`)
  await db.query(`create table remote (
    id int primary key, numbers int[], counts counts, pair pair, span int4range, document jsonb, pairs pair[])`)
  await db.query(`insert into remote values
    (1, '{1,NULL}', '{1}', '(1,"a b")', '[1,4)', '{"a":1}', '{"(1,a)"}'),
    (2, '{}', '{}', '(2,)', 'empty', '2', '{}'), (3, '{3}', '{3}', '(3,c)', '[3,4)', '3', '{"(3,)"}')`)
  const remote = defineTable<{ readonly id: number } & Record<string, unknown>>({ name: 'remote' })
  await using cache = await openCache({ pool: poolOf(db.url), entities: [remote] })
  const table = cache.table(remote)
  const orderBy = { id: 'asc' } as const
  const lists = {
    numbers: ['{1,NULL}', '{}'],
    counts: ['{1}', '{}'],
    pair: ['(1,"a b")', '(2,)'],
    span: ['[1,3]', 'empty'],
    document: ['{"a": 1}', '2'],
    pairs: ['{"(1,a)"}', '{}'],
  }
  for (const [property, list] of Object.entries(lists)) {
    const [one, listed, others] = await Promise.all([
      table.findMany({ where: { [property]: list[0] } }),
      table.findMany({ where: { [property]: { in: list } }, orderBy }),
      table.findMany({ where: { [property]: { notIn: list } }, orderBy }),
    ])
    const found = { property, one: ids(one), listed: ids(listed), others: ids(others) }
    expect(found).toEqual({ property, one: [1], listed: [1, 2], others: [3] })
  }
})

test('citext whose operators are not in the search path is compared by PostgreSQL, as text', async () => {
  await db.query(`create schema aside; create extension citext schema aside`)
  await db.query(`create table folded (id int primary key, name aside.citext collate "C")`)
  await db.query(`insert into folded values (1, 'Ada'), (2, 'ADA')`)
  const folded = defineTable<{ readonly id: number; readonly name: string }>({ name: 'folded' })
  await using cache = await openCache({ pool: poolOf(db.url), entities: [folded] })
  const table = cache.table(folded)
  expect(() => table.local.findMany({ where: { name: 'ADA' } })).toThrow(NotLocalError)
  expect(ids(await table.findMany({ where: { name: 'ADA' } }))).toEqual([2])
})

test("citext means what it does in the pool's own sessions, whose search path is theirs, not the role's", async () => {
  await db.query(`create schema if not exists "a side"; drop extension if exists citext cascade;
    create extension citext schema "a side"`)
  await db.query(
    `drop table if exists folded; create table folded (id int primary key, name "a side".citext collate "C", of regclass)`,
  )
  await db.query(
    `create table "a side".things (); insert into folded values (1, 'Ada', '"a side".things'), (2, 'ADA', null)`,
  )
  const folded = defineTable<{ readonly id: number; readonly name: string; readonly of: string }>({
    name: 'folded',
  })
  const pool = poolOf(db.url, { options: '-c search_path=public,"a\\ side"' })
  await using cache = await openCache({ pool, entities: [folded], replication: db.url })
  const table = cache.table(folded)
  const { rows } = await pool.query(`select id from folded where name = 'ADA' order by id`)
  expect(rows).toHaveLength(2)
  expect(ids(table.local.findMany({ where: { name: 'ADA' }, orderBy: { id: 'asc' } }))).toEqual([1, 2])
  expect(
    ids(await table.findMany({ where: { name: 'ADA' }, onStale: 'database', maxStaleness: 0 })),
  ).toHaveLength(2)
  // The text of a regclass leaves out a schema that is in the path, in loads and in the stream.
  await pool.query(`insert into folded select 3, 'x', of from folded where id = 1`)
  await caughtUp(cache)
  const texts = await pool.query<{ of: string }>('select of::text from folded where id in (1, 3) order by id')
  expect([1, 3].map(id => table.local.get(id)?.of)).toEqual(texts.rows.map(({ of }) => of))
})

test('what means nothing is refused, and never means every row', async () => {
  await using cache = await opened()
  const { local } = cache.table(users)
  const queries: object[] = [
    { where: { id: undefined } },
    { where: { nobody: 1 } },
    { where: { id: { equal: 1 } } },
    { where: { id: {} } },
    { where: { id: { lt: undefined } } },
    { where: { id: { in: [1, null] } } },
    { where: { id: { gt: null } } },
    { where: { id: 1.5 } },
    { where: { id: 'one' } },
    { where: { OR: { id: 1 } } },
    { where: [] },
    { where: null },
    { were: { id: 1 } },
    { take: -1 },
    { skip: 0.5 },
    { orderBy: { id: 'up' } },
    { orderBy: { id: 'asc', email: 'asc' } },
    { select: {} },
    { select: { id: false } },
    { select: { id: true }, omit: { id: true } },
  ]
  for (const query of queries)
    expect(() => local.findMany(query)).toThrow(expect.objectContaining({ code: 'CACHE_QUERY' }))
})
