import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { runTpcb } from '../../simulation/tpcb.js'
import { defineTable, openCache } from '../../src/index.js'
import { testDatabase } from '../support/servers.js'

test('over 2,000 snapshots, the sums of accounts, tellers, branches and history are equal in each', async () => {
  const database = await testDatabase()
  const result = await runTpcb({ databaseUrl: database.url, seed: 1, snapshots: 2001, decoder: 'pgoutput' })
  expect(result).toMatchObject({ snapshots: 2001, disagreements: 0, firstDisagreement: undefined })
  expect(result.transactions).toBeGreaterThanOrEqual(2001)
}, 120_000)

test('a history without a key is refused by name, and no publication gets it', async () => {
  const database = await testDatabase()
  await database.query('create table accounts (id int primary key, balance int)')
  await database.query('create table history (account int, delta int)')
  const pool = new pg.Pool({ connectionString: database.url })
  onTestFinished(() => pool.end())

  const opening = openCache({
    pool,
    entities: [defineTable({ name: 'accounts' }), defineTable({ name: 'history' })],
  })
  await expect(opening).rejects.toMatchObject({
    code: 'CACHE_SETUP',
    problems: [expect.objectContaining({ table: 'public.history' })],
  })
  const published = await database.query("select 1 from pg_publication_tables where tablename = 'history'")
  expect(published).toEqual([])
  // Were it published, PostgreSQL would refuse the application's own UPDATE.
  await database.query('insert into history values (1, 5)')
  await database.query('update history set delta = 6')
})
