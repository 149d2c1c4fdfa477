/** A server with as many replication slots and walsenders as there are caches: what needs no further one must not ask for it. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { databaseOn, type OwnDatabase, poolOf, until } from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

const NAME = 'walcache_only'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({ settings: { max_replication_slots: 1, max_wal_senders: 1 } })
})
afterAll(() => server[Symbol.asyncDispose]())

interface Item {
  readonly id: number
  readonly n: number
}
const items = defineTable<Item>({ name: 'items' })
const others = defineTable<{ id: number }>({ name: 'others' })

async function shop(): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query('create table items (id int primary key, n int); insert into items values (1, 1)')
  await db.query('create table others (id int primary key); insert into others values (1)')
  return db
}

test('a table that was altered is read anew, and one more is added', async () => {
  shows('C18')
  const db = await shop()
  await using cache = await openCache({ pool: poolOf(db.url), entities: [items] })
  const { local } = cache.table(items)
  await db.query('alter table items alter n type bigint using n + 6, replica identity full')
  await until(() => cache.health().tables[0]!.failed !== null, 'it is being read anew')
  await until(() => cache.health().tables[0]!.failed === null, 'it is back')
  expect(local.get(1)).toEqual({ id: 1, n: '7' })
  const added = await cache.addTable(others)
  expect(added.local.get(1)).toEqual({ id: 1 })
}, 60_000)

test('a durable slot that an ended process left behind is no other’s', async () => {
  const db = await shop()
  await db.query(`select pg_create_logical_replication_slot('${NAME}', 'pgoutput')`)
  const slot = { durable: true, name: NAME } as const
  await using cache = await openCache({ pool: poolOf(db.url), entities: [items], slot })
  expect(cache.table(items).local.get(1)).toEqual({ id: 1, n: 1 })
  await db.query(`select pg_terminate_backend(active_pid) from pg_replication_slots`)
  await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
}, 60_000)
