import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  cached,
  defineTable,
  KeyError,
  NotFoundError,
  openCache,
  OptionError,
} from '../../src/index.js'
import { caughtUp, poolOf } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Product {
  readonly id: number
  readonly name: string
}
interface Price {
  readonly at: number
  readonly name: string
}

const products = defineTable<Product>({ name: 'products' })
/** Its keys only PostgreSQL can compare. */
const prices = defineTable<Price>({ name: 'prices' })

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
beforeEach(async () => {
  await db.query(`
    drop table if exists products, prices;
    create table products (id int primary key, name text not null);
    create table prices (at float8 primary key, name text not null);
    insert into products values (1, 'chair');
    insert into prices values (1.5, 'first')`)
})

async function open(): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [products, prices] })
  onTestFinished(() => cache.close())
  return cache
}

/** A repository's read, and how often it was called. */
function repository<Row>(sql: string) {
  const calls: unknown[] = []
  const load = async (id: number): Promise<Row | null> => {
    calls.push(id)
    return ((await db.query(sql, [id]))[0] as Row | undefined) ?? null
  }
  return { calls, load }
}

describe('cached', () => {
  test('answers from memory, what is not there too, without the loader', async () => {
    const cache = await open()
    const { calls, load } = repository<Product>('select * from products where id = $1')
    const product = cached(load, { table: cache.table(products), key: 'id' })
    expect(await product(1)).toEqual(await load(1))
    expect(await product(2)).toBeNull()
    await db.query("update products set name = 'table'")
    await caughtUp(cache)
    expect(await product(1)).toEqual({ id: 1, name: 'table' })
    expect(calls).toEqual([1])
    await expect(product('x' as unknown as number)).rejects.toBeInstanceOf(KeyError)
  })

  test('calls the loader where memory can’t prove the answer', async () => {
    const cache = await open()
    const { calls, load } = repository<Price>('select * from prices where at = $1')
    const price = cached(load, { table: cache.table(prices), key: at => ({ at }) })
    expect(await price(1.5)).toEqual({ at: 1.5, name: 'first' })
    expect(await price(2.5)).toBeNull()
    expect(calls).toEqual([1.5, 2.5])
    const old = repository<Product>('select * from products where id = $1')
    const product = cached(old.load, { table: cache.table(products), key: 'id', maxStaleness: 0 })
    expect(await product(1)).toEqual({ id: 1, name: 'chair' })
    expect(old.calls).toEqual([1])
    const boom = new Error('boom')
    const failing = cached(() => Promise.reject(boom), { table: cache.table(prices), key: 'at' })
    await expect(failing(1)).rejects.toBe(boom)
  })

  test('sees the commit of its request, and after the loader nothing older', async () => {
    const cache = await open()
    const { calls, load } = repository<Product>('select * from products where id = $1')
    const product = cached(load, { table: cache.table(products), key: 'id' })
    const price = cached(repository<Price>('select * from prices where at = $1').load, {
      table: cache.table(prices),
      key: 'at',
    })
    await cache.run({}, async () => {
      await db.query("update products set name = 'table'; update prices set name = 'second'")
      await caughtUp(cache)
      expect((await product(1))?.name).toBe('chair')
      expect((await price(1.5))?.name).toBe('second')
      expect((await product(1))?.name).toBe('table')
    })
    expect(calls).toEqual([])
  })

  test('says in the caller’s way that there is no such row', async () => {
    const cache = await open()
    const table = cache.table(products)
    const { load } = repository<Product>('select * from products where id = $1')
    const orUndefined = cached(async (id: number) => (await load(id)) ?? undefined, {
      table,
      key: 'id',
      absent: () => undefined,
    })
    const orThrow = cached<number, Product, never>(
      async id => {
        const row = await load(id)
        if (row === null) throw new NotFoundError('products')
        return row
      },
      {
        table,
        key: 'id',
        absent: () => {
          throw new NotFoundError('products')
        },
      },
    )
    expect(await orUndefined(2)).toBeUndefined()
    await expect(orThrow(2)).rejects.toBeInstanceOf(NotFoundError)
    expect(() => cached(load, { table, key: 'id', ttl: 1 } as never)).toThrow(OptionError)
  })
})
