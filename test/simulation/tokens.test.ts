import { expect, test } from 'vitest'
import { runTokens } from '../../simulation/tokens.js'
import { testDatabase } from '../support/servers.js'

test('what one process writes, another one reads with its token, whatever else goes on', async () => {
  const db = await testDatabase()
  const results = await runTokens({ databaseUrl: db.url, steps: 100, decoder: 'pgoutput' })
  expect(results.map(({ situation, stale }) => [situation, stale])).toEqual([
    ['idle', 0],
    ['busy', 0],
    ['asynchronous', 0],
    ['openTransaction', 0],
  ])
}, 120_000)
