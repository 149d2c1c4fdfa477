import { expect, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { poolOf } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'

const users = defineTable<{ id: number }>({ name: 'users' })

/** As `pg` gives it. */
const outOfMemory = (): Error =>
  Object.assign(new Error('out of memory'), { severity: 'ERROR', code: '53200' })

const named = { code: 'CACHE_CONNECTION', failure: 'refused', transient: true, cause: { code: '53200' } }

test('what the server refuses for want of something comes by name, at the start and when a token is asked for', async () => {
  const db = await testDatabase()
  await db.query('create table users (id int primary key)')
  const pool = poolOf(db.url)
  let refused: RegExp | null = /pg_catalog|from pg_roles/
  const runtime = await tamperedRuntime(pool, {
    query: sql => {
      if (refused?.test(sql) === true) throw outOfMemory()
    },
  })
  await expect(openCache({ pool, entities: [users], runtime })).rejects.toMatchObject(named)
  refused = null
  await using cache = await openCache({ pool, entities: [users], runtime })
  refused = /./
  await expect(cache.token()).rejects.toMatchObject(named)
  refused = null
  await cache.waitFor(await cache.token())
})
