import { expect, test } from 'vitest'
import { runQueries } from '../../simulation/queries/run.js'
import { seed } from '../support/seed.js'
import { testDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

test('random queries in memory are answered as PostgreSQL answers them at the same commit', {
  timeout: 600_000,
}, async () => {
  shows('I27')
  const { url } = await testDatabase()
  const { report, firstDifference } = await runQueries({
    databaseUrl: url,
    seed,
    queries: 5_000,
    decoder: 'pgoutput',
  })
  const again = `npm run simulate -- --scenario queries --steps 5000 --seed ${seed}`
  expect({ firstDifference, again }).toEqual({ firstDifference: undefined, again })
  expect(report).toMatchObject({ queries: 5_000, differences: 0 })
  expect(report.local / report.queries).toBeGreaterThanOrEqual(0.6)
  expect(Object.keys(report.plans).sort()).toEqual(['index', 'key', 'ordered index', 'scan', 'union'])
})
