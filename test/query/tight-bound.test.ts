/** Reads with a tighter bound than the cache's have the server asked. A stream that is stuck keeps none of them waiting for long. */
import { kill } from 'node:process'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, StaleError } from '../../src/index.js'
import { poolOf, until } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'

const users = defineTable<{ id: number; name: string }>({ name: 'users' })
const where = { id: 1 }
let cache: Cache

/** A cache whose stream is stuck since before a commit, while its queries are answered as ever. */
beforeEach(async () => {
  const db = await testDatabase()
  await db.query("create table users (id int primary key, name text); insert into users values (1, 'Ada')")
  cache = await openCache({ pool: poolOf(db.url), entities: [users] })
  const [walsender] = await db.query<{ pid: number }>(
    'select active_pid as pid from pg_replication_slots where database = current_database()',
  )
  kill(walsender!.pid, 'SIGSTOP')
  onTestFinished(async () => {
    kill(walsender!.pid, 'SIGCONT')
    await cache.close()
  })
  await db.query("update users set name = 'Grace'")
  await until(() => cache.health().stalenessMs > 100, 'the last proof is older than the bound')
})

test('the read asks PostgreSQL when the stream is stuck', async () => {
  expect(await cache.table(users).findUnique({ where, maxStaleness: 100 })).toEqual({ id: 1, name: 'Grace' })
  expect(cache.table(users).local.get(1)).toEqual({ id: 1, name: 'Ada' })
})

test('the policies say what else it may do', async () => {
  const table = cache.table(users)
  expect(await table.findUnique({ where, maxStaleness: 100, onStale: 'serve' })).toEqual({
    id: 1,
    name: 'Ada',
  })
  await expect(table.findUnique({ where, maxStaleness: 100, onStale: 'throw' })).rejects.toThrow(StaleError)
})

test('its signal ends the wait', async () => {
  const reason = new Error('The request was cancelled.')
  const read = cache.table(users).findUnique({ where, maxStaleness: 100, signal: AbortSignal.abort(reason) })
  await expect(read).rejects.toBe(reason)
})
