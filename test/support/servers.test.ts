import { expect, test } from 'vitest'
import { sharedServer, testDatabase } from './servers.js'

test('two databases of one major are on one server and share nothing', async () => {
  await using first = await testDatabase()
  await using second = await testDatabase()
  await first.query('create table t (id int)')
  expect(second.server.pid).toBe(first.server.pid)
  expect(await second.query("select 1 from pg_class where relname = 't'")).toEqual([])
})

test('a dropped database takes its slots and its connections along', async () => {
  const db = await testDatabase({ major: 14 })
  await db.query("select pg_create_logical_replication_slot($1, 'test_decoding')", [`${db.name}_slot`])
  const own = await db.connect()
  await db.drop()
  await expect(own.query('select 1')).rejects.toThrow()
  const other = await testDatabase({ major: 14 })
  expect(await other.query('select 1 from pg_replication_slots where database = $1', [db.name])).toEqual([])
  expect(await other.query('select 1 from pg_database where datname = $1', [db.name])).toEqual([])
})

test('the shared server of major 15 has all three decoders', async context => {
  const { decoders } = await sharedServer(15)
  if (decoders.length === 1 && process.env['CI'] !== 'true')
    context.skip('wal2json and decoderbufs are not to be had here')
  expect(decoders).toEqual(['pgoutput', 'wal2json', 'decoderbufs'])
  const db = await testDatabase({ major: 15 })
  for (const decoder of decoders) {
    await db.query('select pg_create_logical_replication_slot($1, $2)', [`${db.name}_${decoder}`, decoder])
  }
})
