/** Transactions that the cache runs for its caller, and the tokens that come with their commits. */
import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cache, defineTable, OptionError, openCache, WriteError } from '../../src/index.js'
import { databaseOn, type OwnDatabase, poolOf, until } from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'

const rows = defineTable<{ id: number; n: number }>({ name: 'rows' })

// Of its own, and quiet: what lies unflushed must not depend on others.
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({
    settings: { wal_writer_delay: '10s', wal_writer_flush_after: 0, autovacuum: 'off' },
  })
})
afterAll(() => server[Symbol.asyncDispose]())

interface Given {
  readonly db: OwnDatabase
  readonly pool: pg.Pool
  readonly cache: Cache
}

async function given(config: pg.PoolConfig = {}): Promise<Given & AsyncDisposable> {
  const db = await databaseOn(server)
  await db.query('create table rows (id int primary key, n int unique deferrable initially deferred)')
  await db.query('insert into rows values (1, 0)')
  const pool = poolOf(db.url, config)
  const cache = await openCache({ pool, entities: [rows] })
  return { db, pool, cache, [Symbol.asyncDispose]: () => cache.close() }
}

const set = (n: number) => (client: pg.PoolClient) => client.query('update rows set n = $1 where id = 1', [n])

describe('cache.write', () => {
  test('gives the result, and a token after which every read sees the commit', async () => {
    await using here = await given()
    await using there = await openCache({ pool: poolOf(here.db.url), entities: [rows] })
    for (let n = 1; n <= 30; n++) {
      const { result, token } = await here.cache.write(set(n))
      expect(result.rowCount).toBe(1)
      expect(
        (await there.table(rows).findUnique({ where: { id: 1 }, after: token, onTimeout: 'throw' }))?.n,
      ).toBe(n)
    }
    expect(here.pool.idleCount).toBe(here.pool.totalCount)
  })

  test('covers a commit that does not wait for its flush, even if only this one does not', async () => {
    await using here = await given()
    for (let n = 1; n <= 10; n++) {
      const { token } = await here.cache.write(async client => {
        await client.query('set local synchronous_commit = off')
        await set(n)(client)
      })
      await here.cache.waitFor(token)
      expect(here.cache.table(rows).local.get(1)?.n).toBe(n)
    }
  })

  test('covers what a transaction that writes nothing has seen of such commits', async () => {
    await using here = await given()
    await here.db.query('set synchronous_commit = off')
    for (let n = 1; n <= 10; n++) {
      await here.db.query('update rows set n = $1', [n])
      const { result, token } = await here.cache.write(async client => {
        const seen = await client.query<{ n: number }>('select n from rows')
        return seen.rows[0]!.n
      })
      await here.cache.waitFor(token)
      expect(here.cache.table(rows).local.get(1)?.n).toBe(result)
    }
  })

  test('is rolled back when the function rejects, and rejects with the same', async () => {
    await using here = await given({ max: 1 })
    const mine = new Error('not today')
    const failing = async (client: pg.PoolClient): Promise<never> => {
      await set(7)(client)
      throw mine
    }
    await expect(here.cache.write(failing)).rejects.toBe(mine)
    const notAsynchronous = (): never => {
      throw mine
    }
    await expect(here.cache.write(notAsynchronous)).rejects.toBe(mine)
    await expect(here.cache.write(client => client.query('select nothing'))).rejects.toMatchObject({
      code: '42703',
    })
    // The pool's one client is as good as new.
    expect((await here.pool.query('select n from rows')).rows).toEqual([{ n: 0 }])
    expect(here.pool.totalCount).toBe(1)
  })

  test('says when a caught error has undone it, and when the commit itself is refused', async () => {
    await using here = await given({ max: 1 })
    const swallowing = async (client: pg.PoolClient): Promise<void> => {
      await set(7)(client)
      await client.query('select nothing').catch(() => undefined)
    }
    await expect(here.cache.write(swallowing)).rejects.toMatchObject({
      code: 'CACHE_WRITE',
      outcome: 'rolled back',
    })
    const twice = (client: pg.PoolClient): Promise<unknown> => client.query('insert into rows values (2, 0)')
    await expect(here.cache.write(twice)).rejects.toMatchObject({ code: '23505' })
    expect((await here.pool.query('select id, n from rows')).rows).toEqual([{ id: 1, n: 0 }])
  })

  test('whose connection is lost in the commit says that nobody knows, and ends no process', async () => {
    await using here = await given({ max: 1 })
    await here.db.query(`
      create function slowly() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return null; end $$;
      create constraint trigger at_commit after update on rows deferrable initially deferred for each row execute function slowly()`)
    const written = here.cache.write(set(7)).catch((error: unknown) => error)
    const busy = `from pg_stat_activity where datname = '${here.db.name}' and wait_event = 'PgSleep'`
    await until(async () => (await here.db.query(`select ${busy}`)).length === 1, 'the commit is under way')
    await here.db.query(`select pg_terminate_backend(pid) ${busy}`)
    const error = await written
    expect(error).toBeInstanceOf(WriteError)
    expect(error).toMatchObject({ outcome: 'unknown' })
    expect((await here.pool.query('select n from rows')).rows).toEqual([{ n: 0 }])
  })

  test('is given up by its signal, whatever it waits for, and leaves no transaction', async () => {
    await using here = await given({ max: 1 })
    const reason = new Error('The request was cancelled.')
    await expect(here.cache.write(set(1), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const stop = new AbortController()
    const holder = await here.pool.connect()
    const waiting = here.cache.write(set(1), { signal: stop.signal }).catch((error: unknown) => error)
    const inside = new AbortController()
    stop.abort(reason)
    expect(await waiting).toBe(reason)
    holder.release()
    const sleeping = here.cache.write(
      async client => {
        await set(7)(client)
        inside.abort(reason)
        await new Promise(() => undefined)
      },
      { signal: inside.signal },
    )
    await expect(sleeping).rejects.toBe(reason)
    expect((await here.pool.query('select n from rows')).rows).toEqual([{ n: 0 }])
  })

  test('begins as it is told, and refuses what it does not know', async () => {
    await using here = await given()
    const level = async (client: pg.PoolClient): Promise<unknown> =>
      (await client.query('show transaction_isolation')).rows[0]
    const { result } = await here.cache.write(level, { isolation: 'serializable' })
    expect(result).toEqual({ transaction_isolation: 'serializable' })
    await expect(here.cache.write(level, { isolation: 'chaos' as 'serializable' })).rejects.toThrow(
      OptionError,
    )
    await expect(here.cache.write(level, { isolate: 'serializable' } as object)).rejects.toThrow(OptionError)
    await expect(here.cache.write('update' as never)).rejects.toThrow(OptionError)
  })
})

describe('cache.token(client)', () => {
  test('is at or after what the client has committed', async () => {
    await using here = await given()
    const client = await here.db.connect()
    await client.query('set synchronous_commit = off')
    for (let n = 1; n <= 10; n++) {
      await client.query('begin')
      await client.query('update rows set n = $1', [n])
      await client.query('commit')
      await here.cache.waitFor(await here.cache.token(client))
      expect(here.cache.table(rows).local.get(1)?.n).toBe(n)
    }
    expect(await here.cache.token(here.pool)).toMatch(/^1\./)
  })

  test('is refused inside a transaction, failed or not', async () => {
    await using here = await given()
    const client = await here.db.connect()
    await client.query('begin')
    await expect(here.cache.token(client)).rejects.toThrow(/inside a transaction/)
    await client.query('select nothing').catch(() => undefined)
    await expect(here.cache.token(client)).rejects.toThrow(/inside a transaction/)
    await client.query('rollback')
    await here.cache.token(client)
    await expect(here.cache.token({} as pg.Client)).rejects.toThrow(OptionError)
  })
})
