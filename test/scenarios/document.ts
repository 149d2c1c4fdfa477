/** docs/scenarios.md, from the catalogue. */
import { catalogue, chapters, type ScenarioId } from './catalogue.js'

const INTRODUCTION = `# Scenarios

What goes wrong with caches that are fed by logical replication, and what is right then. Most of these have cost somebody data: they come from the incidents of
change-data-capture systems, and from experiments with servers. Each is shown by tests, most of them against real servers: a test says \`shows('C1')\`, and
\`npm test\` ends with this table and how each line of it did. This page is written from \`test/scenarios/catalogue.ts\` by \`npm run scenarios\`.
`

export function scenarioDocument(): string {
  const parts = chapters.map(({ title, ids }) =>
    [
      `## ${title}`,
      '',
      '| | what happens | what is right then | shown |',
      '|---|---|---|---|',
      ...ids.map(row),
      '',
    ].join('\n'),
  )
  return [INTRODUCTION, ...parts].join('\n')
}

function row(id: ScenarioId): string {
  const { what, right, open, notApplicable } = catalogue[id]
  const shown =
    open !== undefined
      ? `not yet: ${open}`
      : notApplicable !== undefined
        ? `not applicable: ${notApplicable}`
        : 'by tests'
  return `| ${id} | ${what} | ${right} | ${shown} |`
}
