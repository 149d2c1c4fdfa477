import { expect, test, vi } from 'vitest'
import { sumOf } from '../../simulation/command-line.js'
import { productions, productionsFor } from '../../simulation/statements/grammar.js'
import { runStatements } from '../../simulation/statements/run.js'
import { Random } from '../../simulation/random.js'
import { testDatabase } from '../support/servers.js'

vi.setConfig({ testTimeout: 120_000 })
const seed = Number(process.env['SEED'] ?? 1)

test.each([14, 18] as const)(
  'on Postgres %i, what statements of a grammar do is shown, told and true in every snapshot',
  async major => {
    await using database = await testDatabase({ major })
    const { mismatch, ...counts } = await runStatements({
      databaseUrl: database.url,
      seed,
      steps: 96,
      decoder: 'pgoutput',
    })
    expect(mismatch, `seed ${seed}`).toBeUndefined()
    expect(counts.barriers).toBe(2)
    expect(counts.commits).toBeGreaterThan(10)
    expect(counts.comparisons).toBeGreaterThan(100)
    expect(counts.told).toBeGreaterThan(0)
  },
)

test('a server and a decoder get the statements that they can carry', () => {
  const names = (version: number, truncates: boolean): string[] =>
    productionsFor({ version, truncates }).map(({ name }) => name)
  expect(names(180_000, true)).toEqual(productions.map(({ name }) => name))
  expect(names(140_000, true)).not.toContain('merge')
  expect(names(180_000, false)).not.toContain('truncate')
})

test('a seed decides every text', () => {
  const texts = (of: number): string[] => {
    const random = new Random(of)
    return productions.map(({ text }) => text(random))
  }
  expect(texts(1)).toEqual(texts(1))
  expect(texts(2)).not.toEqual(texts(1))
})

test('the counts of several runs are added up', () => {
  expect(sumOf({}, { n: 1, faults: { cut: 2 } })).toEqual({ n: 1, faults: { cut: 2 } })
  expect(
    sumOf({ n: 1, name: 'a', faults: { cut: 2 } }, { n: 2, name: 'b', faults: { cut: 1, crash: 3 } }),
  ).toEqual({
    n: 3,
    name: 'b',
    faults: { cut: 3, crash: 3 },
  })
})
