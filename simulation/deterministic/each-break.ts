import { deterministicBreaks } from './breaks.js'
import { MismatchError } from './oracle.js'
import { runDeterministic } from './scenario.js'

/** A break that is not found in so many histories is not found. */
const HISTORIES_MAX = 200

/** What came of one break. */
export interface BreakReport {
  readonly name: string
  /** How many histories it took; null if it was not found. */
  readonly histories: number | null
  readonly seconds: number
  /** What was noticed first. */
  readonly noticed: string
}

/** Runs swarms with each protection taken away in turn, until that is noticed. */
export async function* eachBreak(seed: number): AsyncGenerator<BreakReport> {
  for (const name of Object.keys(deterministicBreaks)) {
    const startedMs = performance.now()
    const { failure, totals } = await runDeterministic({
      seed,
      histories: HISTORIES_MAX,
      decoders: ['pgoutput'],
      mode: 'swarm',
      broken: name,
    })
    const isFound = failure?.error instanceof MismatchError
    yield {
      name,
      histories: isFound ? totals.sums.histories : null,
      seconds: (performance.now() - startedMs) / 1000,
      noticed: failure?.error.message ?? '',
    }
  }
}
