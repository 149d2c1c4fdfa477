import { expect, test } from 'vitest'
import { runAudit } from '../../simulation/audit.js'
import { startPostgres } from '../support/postgres.js'

const seed = Number(process.env['SEED'] ?? 1)

// On a server of its own: its commits are made to hang.
test(`nothing is found to differ in random changes of mixed sizes, but for what is altered in memory (seed ${seed})`, async () => {
  await using server = await startPostgres()
  const result = await runAudit({ databaseUrl: server.url, seed, changes: 15_000, decoder: 'pgoutput' })
  expect(result).toMatchObject({ mismatched: 0, excludedAtRest: 0, mended: true })
  expect(result.changes).toBeGreaterThanOrEqual(15_000)
  expect(result.audited).toBeGreaterThan(result.verifiedAtRest)
  expect(result.verifiedAtRest).toBeGreaterThan(500)
}, 300_000)
