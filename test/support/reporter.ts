/** Ends a run with one plain line, `N passed, N failed, N skipped`. */
import { writeFileSync } from 'node:fs'
import type { Reporter, SerializedError, TestModule } from 'vitest/node'

export interface Counts {
  passed: number
  failed: number
  skipped: number
}

export function closingLine({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`
}

/** Where the counts go instead, when the run is a part of a larger one that prints the line itself. */
export const COUNTS_FILE = 'WALCACHE_TEST_COUNTS'

export default class PlainReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts: Counts = { passed: 0, failed: unhandled.length, skipped: 0 }
    for (const module of modules) {
      const before = counts.failed
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        // A test that never ran to an end did not pass.
        counts[state === 'pending' ? 'failed' : state]++
      }
      // A file that does not load, or whose hooks fail, may have no failed test to show for it.
      if (module.state() === 'failed' && counts.failed === before) counts.failed++
    }
    const file = process.env[COUNTS_FILE]
    if (file === undefined) console.log(closingLine(counts))
    else writeFileSync(file, JSON.stringify(counts))
  }
}
