import { TestRunner } from 'vitest'
import type { ScenarioId } from '../scenarios/catalogue.js'

declare module 'vitest' {
  interface TaskMeta {
    /** Scenarios of the catalogue that the test shows if it passes. */
    shows?: readonly string[]
  }
}

/** Says which scenarios the running test shows, for the table at the end of a run. First thing in a test, so that a failure counts. */
export function shows(...ids: readonly ScenarioId[]): void {
  const test = TestRunner.getCurrentTest()
  if (test === undefined) throw new Error('shows() is called within a test.')
  test.meta.shows = [...(test.meta.shows ?? []), ...ids]
}
