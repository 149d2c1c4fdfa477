import { inspect } from 'node:util'
import type { DecoderName } from '../src/decode/index.js'
import { openCacheSubject } from './cache-subject.js'
import type { Oddity } from './decoders.js'
import { runGiant } from './giant.js'
import { type Mismatch, simulate } from './simulate.js'
import { runTpcb } from './tpcb.js'

export interface ScenarioOptions {
  readonly databaseUrl: string
  readonly seed: number
  readonly steps: number
  readonly decoder: DecoderName
  /** What a history is not to have. */
  readonly leaveOut: readonly Oddity[]
}

export interface ScenarioOutcome {
  /** The one line of `--json`. */
  readonly report: Readonly<Record<string, unknown>>
  /** What went wrong, for people; undefined if nothing did. */
  readonly failure: string | undefined
}

export interface Scenario {
  readonly summary: string
  /** What `--steps` counts, and how many there are without it. */
  readonly unit: string
  readonly defaultSteps: number
  /** Whether it has what not every decoder can carry, unless that is left out. */
  readonly isOdd: boolean
  run(options: ScenarioOptions): Promise<ScenarioOutcome>
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  history: {
    summary: 'random transactions of several writers; model, SELECT and cache must agree',
    unit: 'transactions',
    defaultSteps: 2000,
    isOdd: true,
    run: options => runHistory(options),
  },
  cuts: {
    summary: 'the same, and now and then the change stream is cut off',
    unit: 'transactions',
    defaultSteps: 500,
    isOdd: true,
    run: options => runHistory(options, { cuts: true }),
  },
  tpcb: {
    summary: 'eight writers move money; its four sums must be equal in every snapshot',
    unit: 'snapshots',
    defaultSteps: 2000,
    isOdd: false,
    async run({ databaseUrl, seed, steps, decoder }) {
      const { firstDisagreement, ...report } = await runTpcb({ databaseUrl, seed, snapshots: steps, decoder })
      return {
        report: { seed, decoder, ...report },
        failure: firstDisagreement && `Sums differ: ${inspect(firstDisagreement)}`,
      }
    },
  },
  giant: {
    summary: 'one transaction of very many rows; nobody may see part of it',
    unit: 'rows',
    defaultSteps: 1_000_000,
    isOdd: false,
    async run({ databaseUrl, steps, decoder }) {
      const report = await runGiant({ databaseUrl, rows: steps, decoder })
      return {
        report: { decoder, ...report },
        failure: report.partialReads > 0 ? 'Part of a transaction was seen.' : undefined,
      }
    },
  },
}

async function runHistory(options: ScenarioOptions, { cuts = false } = {}): Promise<ScenarioOutcome> {
  const { databaseUrl, seed, steps, decoder, leaveOut } = options
  const { mismatch, transactions, changes, comparisons, historyHash, changesHash, ...result } =
    await simulate({
      databaseUrl,
      seed,
      steps,
      cuts,
      leaveOut,
      ...(!cuts && { recordWith: decoder }),
      openSubject: subject => openCacheSubject({ ...subject, decoder }),
    })
  const mismatches = mismatch === undefined ? 0 : 1
  const counts = { transactions, changes, comparisons, ...(cuts && { cuts: result.cuts }), mismatches }
  const hashes = { historyHash, ...(!cuts && { changesHash }) }
  return {
    report: { seed, decoder, leftOut: leaveOut, ...counts, ...hashes },
    failure: mismatch && failureOf(mismatch),
  }
}

function failureOf({ step, operation, difference }: Mismatch): string {
  const found = inspect(difference, { depth: 5, maxStringLength: 120 })
  return `After ${step} commits, at ${operation.slice(0, 300)}:\n${found}`
}
