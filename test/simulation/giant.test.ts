import { expect, test } from 'vitest'
import { runGiant } from '../../simulation/giant.js'
import { testDatabase } from '../support/servers.js'

test('nobody sees part of a transaction of 200,000 rows, in any turn of the event loop', async () => {
  const database = await testDatabase()
  const result = await runGiant({ databaseUrl: database.url, rows: 200_000, decoder: 'pgoutput' })
  expect(result).toMatchObject({ rows: 200_000, partialReads: 0 })
  expect(result.reads).toBeGreaterThan(10)
}, 120_000)
