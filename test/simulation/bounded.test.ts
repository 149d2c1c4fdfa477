import { expect, test } from 'vitest'
import { runBounded } from '../../simulation/bounded/run.js'
import { startPostgres } from '../support/postgres.js'

// Each on a server of its own: its commits are made to hang.
test('each answer of a bounded table was true at its commit, whatever is written and evicted meanwhile', async () => {
  await using server = await startPostgres()
  const result = await runBounded({ databaseUrl: server.url, seed: 1, reads: 4_000, decoder: 'pgoutput' })
  expect(result).toMatchObject({ wrong: 0, firstWrong: undefined })
  expect(result.reads).toBeGreaterThanOrEqual(4_000)
  expect(result.accepted).toBeGreaterThan(0)
}, 120_000)

test('without the log of recent commits, wrong answers are found', async () => {
  await using server = await startPostgres()
  const broken = { seed: 1, reads: 100_000, decoder: 'pgoutput', broken: 'no-log' } as const
  expect(await runBounded({ databaseUrl: server.url, ...broken })).toMatchObject({
    firstWrong: expect.anything(),
  })
}, 240_000)
