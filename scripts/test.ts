/**
 * `npm test`: every check, then the tests; arguments go to vitest, such as a part of a file's name.
 *
 * All of it runs, so that one run shows all that is wrong. Each check counts as one test in the closing line.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scenarioTable } from '../test/scenarios/table.js'
import { closingLine, type Counts, type Summary, SUMMARY_FILE } from '../test/support/reporter.js'

const CHECKS = ['typecheck', 'lint', 'format:check', 'layers', 'decoders', 'chromium']
const root = join(import.meta.dirname, '..')

const total: Counts = { passed: 0, failed: 0, skipped: 0 }
const failedChecks = CHECKS.filter(check => !passes(check))
total.passed += CHECKS.length - failedChecks.length
total.failed += failedChecks.length

const filters = process.argv.slice(2)
const { counts, totals, showings } = runTests(filters)
for (const outcome of ['passed', 'failed', 'skipped'] as const) total[outcome] += counts[outcome]
const { lines, disagreements } = scenarioTable(showings, filters.length === 0 && counts.passed > 0)
total.failed += disagreements.length

if (failedChecks.length > 0)
  console.log(`\nFailed checks: ${failedChecks.map(check => `npm run ${check}`).join(', ')}`)
console.log([...totals, ...lines, ...disagreements, closingLine(total)].join('\n'))
if (total.failed > 0) process.exitCode = 1

function passes(check: string): boolean {
  console.log(`\n> ${check}`)
  return spawnSync('npm', ['run', '--silent', check], { cwd: root, stdio: 'inherit' }).status === 0
}

function runTests(filters: readonly string[]): Summary {
  console.log('\n> vitest')
  const folder = mkdtempSync(join(tmpdir(), 'walcache-test-'))
  const summaryFile = join(folder, 'summary.json')
  const vitest = join(root, 'node_modules/vitest/vitest.mjs')
  try {
    const { status } = spawnSync(process.execPath, [vitest, 'run', ...filters], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, [SUMMARY_FILE]: summaryFile },
    })
    const summary = JSON.parse(readFileSync(summaryFile, 'utf8')) as Summary
    // Vitest may fail for a reason that no test shows.
    if (status !== 0 && summary.counts.failed === 0) summary.counts.failed = 1
    return summary
  } catch (error) {
    console.error('vitest left no summary:', error)
    return { counts: { passed: 0, failed: 1, skipped: 0 }, totals: [], showings: [] }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
