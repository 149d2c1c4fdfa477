import { expect, test } from 'vitest'
import { Injector } from '../../simulation/faults/injector.js'
import { Random } from '../../simulation/random.js'
import { startPostgres } from '../support/postgres.js'

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
