/** What a local read says when there is nothing to read: why, and never how old nothing is. */
import { expect, onTestFinished, test } from 'vitest'
import { ClosedError, defineTable, NotReadyError, openCache } from '../../src/index.js'
import { systemRuntime } from '../../src/runtime.js'
import { poolOf } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'

const users = defineTable<{ id: number }>({ name: 'users' })
const HOUR_MS = 3_600_000

test('before the load and after the end, whenever that was', async () => {
  const db = await testDatabase()
  await db.query('create table users (id int primary key); insert into users values (1)')
  let aheadMs = 0
  const clock = { ...systemRuntime.clock, monotonicMs: () => systemRuntime.clock.monotonicMs() + aheadMs }
  const runtime = { ...systemRuntime, clock }
  const cache = await openCache({ pool: poolOf(db.url), entities: [users], wait: false, runtime })
  onTestFinished(() => cache.close())
  const { local } = cache.table(users)
  const reads = [
    () => local.get(1),
    () => local.has(1),
    () => local.size,
    () => [...local],
    () => cache.snapshot(),
  ]

  for (const read of reads) expect(read).toThrow(NotReadyError)
  expect(await cache.table(users).findUnique({ where: { id: 1 } })).toEqual({ id: 1 })
  await cache.ready()
  for (const read of reads) expect(read).not.toThrow()
  await cache.close()
  for (const read of reads) expect(read).toThrow(ClosedError)
  aheadMs = HOUR_MS
  for (const read of reads) expect(read).toThrow(ClosedError)
})
