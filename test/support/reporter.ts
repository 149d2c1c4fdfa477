/**
 * Ends a run with plain lines: the totals that tests have left in `task.meta.totals`, the scenarios that they have shown, and
 * `N passed, N failed, N skipped`.
 */
import { writeFileSync } from 'node:fs'
import type { Reporter, SerializedError, TestModule } from 'vitest/node'
import { type Showing, scenarioTable } from '../scenarios/table.js'

declare module 'vitest' {
  interface TaskMeta {
    /** Lines to be printed at the end of the run. */
    totals?: readonly string[]
  }
}

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

export function closingLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}

/** What a run leaves behind. */
export interface Summary {
  readonly counts: Counts
  readonly totals: readonly string[]
  readonly showings: readonly Showing[]
}

/** Where the summary goes instead, when the run is a part of a larger one that prints the lines itself. */
export const SUMMARY_FILE = 'WALCACHE_TEST_SUMMARY'

export default class PlainReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts: Counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    const totals: string[] = []
    const showings: Showing[] = []
    for (const module of modules) {
      const before = counts.failed
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        // A test that never ran to an end did not pass.
        const outcome = state === 'pending' ? 'failed' : state
        counts[outcome]++
        const { totals: lines = [], shows: ids = [] } = test.meta()
        totals.push(...lines)
        if (ids.length > 0) showings.push({ ids, file: module.relativeModuleId, state: outcome })
      }
      // A file that does not load, or whose hooks fail, may have no failed test to show for it.
      if (module.state() === 'failed' && counts.failed === before) counts.failed++
    }
    const file = process.env[SUMMARY_FILE]
    const summary: Summary = { counts, totals, showings }
    if (file === undefined)
      console.log([...totals, ...scenarioTable(showings, false).lines, closingLine(counts)].join('\n'))
    else writeFileSync(file, JSON.stringify(summary))
  }
}
