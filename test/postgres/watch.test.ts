import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotLocalError,
  openCache,
  OptionError,
  QueryError,
  type Watched,
} from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Account {
  readonly id: number
  readonly owner: string
  readonly balance: number
  readonly extra: unknown
}

const accounts = defineTable<Account>({ name: 'accounts' })
const TOTAL = 1_000

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
beforeEach(async () => {
  await db.query(`
    drop table if exists accounts;
    create table accounts (id int primary key, owner text not null, balance int not null, extra json);
    insert into accounts select i, case when i <= 5 then 'Ada' else 'Grace' end, ${TOTAL / 10} from generate_series(1, 10) i`)
})

async function open(): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [accounts] })
  onTestFinished(() => cache.close())
  return cache
}

async function next<Row>(answers: AsyncIterator<Watched<Row>>): Promise<Watched<Row>> {
  const { value, done } = await answers.next()
  if (done === true) throw new Error('There is no next answer.')
  return value
}

const cutStream = (): Promise<unknown> =>
  db.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active',
    [db.name],
  )

describe('watch', () => {
  test('gives the answer, and the next one when a commit has changed it', async () => {
    const cache = await open()
    const answers = cache.table(accounts).watch({ where: { owner: 'Ada' }, orderBy: { id: 'asc' } })
    const first = await next(answers)
    expect(first.rows.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5])
    await cache.waitFor(first.position, { timeoutMs: 1 })
    const asked = answers.next()
    await db.query("update accounts set balance = 1 where owner = 'Grace'")
    await db.query("update accounts set balance = balance where owner = 'Ada'")
    await caughtUp(cache)
    await db.query("update accounts set owner = 'Ada' where id = 7")
    const second = (await asked).value as Watched<Account>
    expect(second.rows.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5, 7])
    expect(second.lsn > first.lsn).toBe(true)
    await cache.waitFor(second.position, { timeoutMs: 1 })
    await db.query('delete from accounts where id = 1')
    expect((await next(answers)).rows.map(({ id }) => id)).toEqual([2, 3, 4, 5, 7])
    await db.query('truncate accounts')
    expect((await next(answers)).rows).toEqual([])
    await answers.return?.()
    expect(cache.health().changeReaders).toBe(0)
  })

  test('is not told of what leaves its answer as it is', async () => {
    const cache = await open()
    const answers = cache
      .table(accounts)
      .watch({ orderBy: { id: 'asc' }, take: 3, select: { id: true, balance: true } })
    expect((await next(answers)).rows).toEqual([1, 2, 3].map(id => ({ id, balance: 100 })))
    const asked = answers.next()
    await db.query('update accounts set balance = 7 where id = 9')
    await db.query("update accounts set owner = 'Eve' where id = 1")
    await db.query('update accounts set balance = 8 where id = 2')
    expect(((await asked).value as Watched<Account>).rows).toEqual([
      { id: 1, balance: 100 },
      { id: 2, balance: 8 },
      { id: 3, balance: 100 },
    ])
  })

  test('gives a slow reader one answer for all that has happened', async () => {
    const cache = await open()
    const answers = cache.table(accounts).watch({ where: { id: 1 } })
    await next(answers)
    for (let i = 1; i <= 50; i++) await db.query('update accounts set balance = $1 where id = 1', [i])
    await caughtUp(cache)
    expect((await next(answers)).rows[0]?.balance).toBe(50)
    const asked = answers.next()
    await db.query('update accounts set balance = 51 where id = 1')
    expect(((await asked).value as Watched<Account>).rows[0]?.balance).toBe(51)
  })

  test('never shows half a commit, also across a reload', async () => {
    const cache = await open()
    const stop = new AbortController()
    const sums: number[] = []
    const ended = (async () => {
      for await (const { rows } of cache.table(accounts).watch({ signal: stop.signal }))
        sums.push(rows.reduce((sum, { balance }) => sum + balance, 0))
    })()
    let going = true
    const work = Array.from({ length: 3 }, async (_, n) => {
      const client = await db.connect()
      for (let i = n; going; i++) {
        const amount = i % 7
        const [from, to] = [1 + (i % 10), 1 + ((i * 3 + 1) % 10)].toSorted((a, b) => a - b)
        await client.query('begin')
        await client.query('update accounts set balance = balance - $1 where id = $2', [amount, from])
        await client.query('update accounts set balance = balance + $1 where id = $2', [amount, to])
        await client.query('commit')
      }
    })
    await until(() => sums.length > 50, 'much was shown')
    await cutStream()
    await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
    const before = sums.length
    await until(() => sums.length > before + 20, 'more was shown')
    going = false
    await Promise.all(work)
    stop.abort()
    await ended
    expect(new Set(sums)).toEqual(new Set([TOTAL]))
  })

  test('says what only PostgreSQL can answer, and ends', async () => {
    const cache = await open()
    const table = cache.table(accounts)
    expect(() => table.watch({ where: { extra: 'x' } })).toThrow(NotLocalError)
    expect(() => table.watch({ where: { nobody: 1 } as object })).toThrow(QueryError)
    expect(() => table.watch({ after: 'x' } as object)).toThrow(QueryError)
    const sorted = table.watch({ orderBy: { extra: 'asc' } })
    await expect(sorted.next()).rejects.toBeInstanceOf(NotLocalError)
    expect(await sorted.next()).toEqual({ done: true, value: undefined })
    expect(cache.health().changeReaders).toBe(0)
    expect(() => table.changes({ take: 1 } as object)).toThrow(OptionError)
  })

  test('ends quietly with its cache', async () => {
    const cache = await open()
    const answers = cache.table(accounts).watch()
    await next(answers)
    const asked = answers.next()
    await cache.close()
    expect(await asked).toEqual({ done: true, value: undefined })
  })
})
