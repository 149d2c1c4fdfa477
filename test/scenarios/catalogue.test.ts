/** The catalogue and the tests agree, as far as their texts say; whether what is shown holds, a run says. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { catalogue, type ScenarioId, scenarioIds } from './catalogue.js'
import { scenarioDocument } from './document.js'
import { scenarioTable } from './table.js'

const root = join(import.meta.dirname, '../..')

/** The numbers that stand in a file that says what it shows, with the file. */
const said = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter(path => path.endsWith('.test.ts'))
  .map(path => ({ path, text: readFileSync(join(root, 'test', path), 'utf8') }))
  .filter(({ text }) => /^import \{ shows \} from /m.test(text))
  .flatMap(({ path, text }) => [...text.matchAll(/'([CSI]\d+)'/g)].map(([, id]) => ({ id: id!, path })))

test('a scenario is shown by a test, or says why not, and never both', () => {
  const shown = new Set(said.map(({ id }) => id))
  const excused = scenarioIds.filter(id => 'open' in catalogue[id] || 'notApplicable' in catalogue[id])
  expect(scenarioIds.filter(id => !shown.has(id))).toEqual(excused)
})

test('no test shows what is not in the catalogue', () => {
  expect(said.filter(({ id }) => !scenarioIds.includes(id as ScenarioId))).toEqual([])
})

test('docs/scenarios.md is written from the catalogue', () => {
  expect(readFileSync(join(root, 'docs/scenarios.md'), 'utf8')).toBe(scenarioDocument())
})

describe('the table of a run', () => {
  const file = 'a.test.ts'
  const open = scenarioIds.find(id => 'open' in catalogue[id])

  test('says pass only of what a test has shown', () => {
    const { lines, disagreements } = scenarioTable(
      [
        { ids: ['C1', 'C2', 'S1'], file, state: 'passed' },
        { ids: ['C2'], file: 'b.test.ts', state: 'failed' },
        { ids: ['S2'], file, state: 'skipped' },
      ],
      true,
    )
    const line = (id: string): string => lines.find(each => each.startsWith(`  ${id} `))!
    expect(line('C1')).toMatch(/^ {2}C1 {2}pass .*\(a\.test\.ts\)$/)
    expect(line('C2')).toMatch(/^ {2}C2 {2}FAIL .*\(a\.test\.ts, b\.test\.ts\)$/)
    expect(line('S2')).toMatch(/open: its tests were skipped/)
    expect(line('C3')).toMatch(/open: no test shows it/)
    expect(disagreements).toContain('No test shows C3, and the catalogue does not say why.')
    expect(disagreements.filter(each => /\b(C1|C2|S2)\b/.test(each))).toEqual([])
    expect(lines).toHaveLength(scenarioIds.length + 2)
  })

  test('of a part of the tests lists what that part shows', () => {
    const { lines, disagreements } = scenarioTable([{ ids: ['C1'], file, state: 'passed' }], false)
    expect(lines).toHaveLength(3)
    expect(disagreements).toEqual([])
    expect(scenarioTable([], false).lines).toEqual([])
  })

  test('names what does not exist, and what is shown though it is said to be open', () => {
    const showing = { ids: ['C99', ...(open === undefined ? [] : [open])], file, state: 'passed' } as const
    const { disagreements } = scenarioTable([showing], false)
    expect(disagreements[0]).toMatch(/C99/)
    if (open !== undefined)
      expect(disagreements[1]).toBe(`${open} is open in the catalogue, and a test shows it.`)
  })
})
