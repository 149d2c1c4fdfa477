import pg from 'pg'
import { expect, test } from 'vitest'
import { Injector } from '../../simulation/faults/injector.js'
import { Random } from '../../simulation/random.js'
import { startPostgres } from '../support/postgres.js'
import { testDatabase } from '../support/servers.js'

/** Of tests that share theirs. */
const server = {
  stop: () => Promise.reject(new Error('Others use this server.')),
  start: () => Promise.reject(new Error('Others use this server.')),
}

test('what others commit may hang on a standby, and goes on by itself: what ends that does not wait behind it', async () => {
  await using server = await startPostgres()
  await using injector = await Injector.open({
    server,
    databaseUrl: server.url,
    tables: [],
    random: new Random(1),
    reconnect: () => Promise.resolve(),
  })
  await injector.begin('commits hang on a standby')
  await injector.begin('others write and send messages')
  await injector.end()
  expect(injector.counts).toMatchObject({
    'commits hang on a standby': 1,
    'others write and send messages': 1,
    'the server crashes': 0,
  })
}, 120_000)

/** Found by seed 6 of the scenario, with wal2json: a TRUNCATE of the history waited for a load that had nobody to go to. */
test.each(['connections are half-open, unknown to the server', 'the network swallows everything'] as const)(
  'when %s, what they have locked on the server is free again before others give up',
  async fault => {
    await using database = await testDatabase()
    const options = { server, databaseUrl: database.url, tables: [], reconnect: () => Promise.resolve() }
    await using injector = await Injector.open({ ...options, random: new Random(1) })
    const cache = new pg.Client({ connectionString: injector.url, application_name: 'walcache' })
    // It is what the fault is about.
    cache.on('error', () => undefined)
    const writer = new pg.Client({ connectionString: database.url })
    await cache.connect()
    await writer.connect()
    try {
      await writer.query("create table loaded (id int); set lock_timeout = '60s'")
      await cache.query('begin; select from loaded')
      await injector.begin(fault)
      await writer.query('truncate loaded')
      await injector.end()
    } finally {
      await writer.end()
    }
  },
  120_000,
)
