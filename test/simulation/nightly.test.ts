import { expect, test } from 'vitest'
import { CONSEQUENCES } from '../../simulation/deterministic/faults.js'
import { FAULTS } from '../../simulation/deterministic/pairs.js'
import { nightlyTable, runNightly } from '../../simulation/nightly.js'

test('everything has its turn, however short the time is: every kind of fault is counted, and nothing is wrong', async () => {
  const lines: string[] = []
  const { report, failures } = await runNightly({
    seed: Number(process.env['SEED'] ?? 1),
    minutes: 0,
    withServers: false,
    onProgress: line => lines.push(line),
  })
  expect(failures).toEqual([])
  expect(Object.keys(report.faults)).toEqual(expect.arrayContaining([...FAULTS, ...CONSEQUENCES]))
  expect(Object.keys(report.scenarios).toSorted()).toEqual(['every frame', 'swarm', 'volume'])
  expect(report.mismatches).toBe(0)
  expect(report.framesMin).toBeGreaterThanOrEqual(60)
  expect(report.transactionsMin).toBeGreaterThanOrEqual(6)
  expect(report.pairwise.covered).toBeGreaterThan(100)
  expect(lines.length).toBeGreaterThan(0)
  for (const name of FAULTS) expect(nightlyTable(report)).toContain(name)
}, 300_000)
