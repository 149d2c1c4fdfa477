import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  cached,
  defineTable,
  KeyError,
  NotLocalError,
  openCache,
  type OpenCacheOptions,
} from '../../src/index.js'
import { caughtUp, poolOf } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface User {
  readonly id: number
  readonly email: string | null
  readonly org: number
  readonly badge: string
  readonly seat: number
}

const users = defineTable<User>({ name: 'users', indexes: [['email'], ['org', 'badge']] })

async function opened(db: TestDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [users], ...options })
  onTestFinished(() => cache.close())
  return cache
}

const schema = `
  create table users (id int primary key, email text collate "C" unique, org int not null, badge varchar(10) not null,
    seat int unique deferrable initially deferred, unique (org, badge));
  create unique index on users (badge) where org = 1;
  insert into users select i, case when i % 10 = 0 then null else 'u' || i || '@example.com' end, i % 3, 'b' || i, i
    from generate_series(1, 100) i`

let db: TestDatabase

beforeAll(async () => {
  db = await testDatabase()
  await db.query(schema)
})

const ada = { id: 7, email: 'u7@example.com', org: 1, badge: 'b7', seat: 7 }

describe('a unique key', () => {
  test('finds its row from memory, by one column or several, on every face', async () => {
    const cache = await opened(db, { onUnknown: 'throw' })
    const table = cache.table(users)
    const where = { email: 'u7@example.com' }
    const pair = { badge: 'b7', org: 1 }
    expect(table.local.get(where)).toEqual(ada)
    expect(table.local.getMany([pair, { id: 7 }, 7])).toEqual([ada, ada, ada])
    expect([table.local.has(where), table.local.has({ email: 'nobody' })]).toEqual([true, false])
    expect(await table.findUnique({ where })).toEqual(ada)
    expect(await table.findUniqueOrThrow({ where: pair })).toEqual(ada)
    expect(await table.findUnique({ where: { email: 'nobody' } })).toBeNull()
    using snapshot = cache.snapshot()
    expect(snapshot.table(users).local.get(where)).toEqual(ada)
    expect(await snapshot.table(users).findUnique({ where: pair })).toEqual(ada)
    const load = cached((email: string) => Promise.reject<User | null>(new Error(email)), {
      table,
      key: 'email',
    })
    expect(await load('u7@example.com')).toEqual(ada)
  })

  test('that changes hands within one transaction is its new holder’s, and a snapshot shows the old one', async () => {
    const cache = await opened(db, { onUnknown: 'throw' })
    using before = cache.snapshot()
    await db.query(`begin; update users set email = 'swap' where id = 11;
                    update users set email = 'u11@example.com', seat = 111 where id = 12;
                    update users set email = 'u12@example.com', seat = 12 where id = 11;
                    update users set seat = 11 where id = 12; commit`)
    await caughtUp(cache)
    const { local } = cache.table(users)
    const old = before.table(users).local
    for (const email of ['u11@example.com', 'u12@example.com'])
      expect([local.get({ email })?.id, old.get({ email })?.id]).toEqual(
        email.startsWith('u11') ? [12, 11] : [11, 12],
      )
    // A deferrable one: two rows had the same value within the transaction.
    expect([local.get({ seat: 11 })?.id, local.get({ seat: 12 })?.id]).toEqual([12, 11])
    expect([old.get({ seat: 11 })?.id, old.get({ seat: 12 })?.id]).toEqual([11, 12])
  })

  test('is asked for in PostgreSQL where memory has no answer', async () => {
    const cache = await opened(db, { wait: false })
    const table = cache.table(users)
    const found = await Promise.all(
      [{ email: 'u7@example.com' }, { org: 1, badge: 'b7' }, { email: 'nobody' }].map(where =>
        table.findUnique({ where, maxStaleness: 0, onStale: 'database' }),
      ),
    )
    expect(found).toEqual([ada, ada, null])
  })

  test('is nothing else than what the catalogue says: no null, no part, no partial index, no condition', async () => {
    const cache = await opened(db)
    const table = cache.table(users)
    const keys: object[] = [
      { email: null },
      { email: undefined },
      { email: { equals: 'u7@example.com' } },
      { org: 1 },
      { badge: 'b7' },
      { email: 'u7@example.com', org: 1 },
      { email: 'u7@example.com', id: 7 },
    ]
    for (const key of keys) {
      expect(() => table.local.get(key)).toThrow(KeyError)
      await expect(table.findUnique({ where: key })).rejects.toThrow(KeyError)
    }
  })

  test('that has lost its index answers for no two rows', async () => {
    const own = await testDatabase()
    await own.query(schema)
    const cache = await opened(own)
    await own.query(`alter table users drop constraint users_email_key;
                     update users set email = 'u7@example.com' where id = 8`)
    await caughtUp(cache)
    const table = cache.table(users)
    const where = { email: 'u7@example.com' }
    expect(() => table.local.get(where)).toThrow(KeyError)
    await expect(table.findUnique({ where, maxStaleness: 0, onStale: 'database' })).rejects.toThrow(KeyError)
  })
})

test('a unique key without an index in memory is looked for as any query is, and then by PostgreSQL', async () => {
  const own = await testDatabase()
  await own.query(`create table codes (id int primary key, code text collate "C" not null unique);
                   insert into codes select i, 'c' || i from generate_series(1, 30000) i`)
  const codes = defineTable<{ id: number; code: string }>({ name: 'codes' })
  const cache = await openCache({ pool: poolOf(own.url), entities: [codes] })
  onTestFinished(() => cache.close())
  const table = cache.table(codes)
  expect(() => table.local.get({ code: 'nobody' })).toThrow(NotLocalError)
  expect(await table.findUnique({ where: { code: 'c29999' } })).toEqual({ id: 29999, code: 'c29999' })
  expect(await table.findUnique({ where: { code: 'nobody' } })).toBeNull()
})
