import pg from 'pg'
import { expect, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { type Connections, systemRuntime } from '../../src/runtime.js'
import { connectionsOf } from '../../src/wire/connection.js'
import { testDatabase } from '../support/servers.js'

test('every connection comes through the runtime, where it has its own: the pool is never connected', async () => {
  const database = await testDatabase({ major: 18 })
  await database.query('create table users (id int primary key, name text)')
  await database.query(`insert into users values (1, 'Ada')`)
  const real = connectionsOf(new pg.Pool({ connectionString: database.url }), {
    settings: { timeZone: 'UTC', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' },
    applicationName: 'walcache',
    timers: systemRuntime.timers,
  })
  const made: string[] = []
  const connections: Connections = {
    query(signal) {
      made.push('query')
      return real.query(signal)
    },
    replication(signal) {
      made.push('replication')
      return real.replication(signal)
    },
  }
  const users = defineTable<{ id: number; name: string }>({ name: 'users' })
  const pool = new pg.Pool({ host: 'nowhere.invalid' })
  await using cache = await openCache({ pool, entities: [users], runtime: { ...systemRuntime, connections } })
  expect(cache.table(users).local.get(1)).toEqual({ id: 1, name: 'Ada' })
  expect(made.filter(kind => kind === 'replication')).toHaveLength(1)
  expect(pool.totalCount).toBe(0)
})
