/** The table of scenarios that a run ends with, and where it and the catalogue disagree. */
import { catalogue, type ScenarioId, scenarioIds } from './catalogue.js'

/** A test that said that it shows scenarios, and how it ended. */
export interface Showing {
  readonly ids: readonly string[]
  readonly file: string
  readonly state: 'passed' | 'failed' | 'skipped'
}

export interface ScenarioTable {
  readonly lines: readonly string[]
  /** What is wrong with the catalogue, or with the tests. */
  readonly disagreements: readonly string[]
}

/**
 * One line for each scenario: its number, how it stands, what it is, and which files show it.
 *
 * `isWhole` says whether all tests ran: only then can a scenario be missing. Otherwise those alone are listed that were shown.
 */
export function scenarioTable(showings: readonly Showing[], isWhole: boolean): ScenarioTable {
  const known = new Set<string>(scenarioIds)
  const disagreements = [...new Set(showings.flatMap(({ ids }) => ids))]
    .filter(id => !known.has(id))
    .map(id => `A test shows ${id}, which is not in the catalogue.`)
  const lines: string[] = []
  const counts = new Map<string, number>()
  for (const id of scenarioIds) {
    const shown = showings.filter(({ ids }) => ids.includes(id))
    if (!isWhole && shown.length === 0) continue
    const { standing, disagreement } = standingOf(id, shown, isWhole)
    if (disagreement !== undefined) disagreements.push(disagreement)
    const kind = standing.split(':', 1)[0]!
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
    const files = [...new Set(shown.map(({ file }) => file))].sort()
    lines.push(
      `  ${id.padEnd(4)}${standing}  ${catalogue[id].what}${files.length === 0 ? '' : `  (${files.join(', ')})`}`,
    )
  }
  if (lines.length === 0) return { lines, disagreements }
  const totals = [...counts].map(([kind, count]) => `${count} ${kind}`).join(', ')
  return { lines: ['Scenarios:', ...lines, `Scenarios: ${totals}`], disagreements }
}

function standingOf(
  id: ScenarioId,
  shown: readonly Showing[],
  isWhole: boolean,
): { standing: string; disagreement?: string } {
  const { open, notApplicable } = catalogue[id]
  const excuse = open ?? notApplicable
  const word = open === undefined ? 'not applicable' : 'open'
  if (excuse !== undefined) {
    const standing = `${word}: ${excuse}`
    if (shown.length === 0) return { standing }
    return { standing, disagreement: `${id} is ${word} in the catalogue, and a test shows it.` }
  }
  if (shown.some(({ state }) => state === 'failed')) return { standing: 'FAIL' }
  if (shown.some(({ state }) => state === 'passed')) return { standing: 'pass' }
  if (shown.length > 0) return { standing: 'open: its tests were skipped' }
  return {
    standing: 'open: no test shows it',
    ...(isWhole && { disagreement: `No test shows ${id}, and the catalogue does not say why.` }),
  }
}
