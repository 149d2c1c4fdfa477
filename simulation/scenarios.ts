import { inspect } from 'node:util'
import { auditSettings, runAudit } from './audit.js'
import { breaks } from './bounded/breaks.js'
import { runBounded } from './bounded/run.js'
import type { DecoderName } from '../src/decode/index.js'
import type { Mode } from './deterministic/plan.js'
import { openCacheSubject } from './cache-subject.js'
import type { Oddity } from './decoders.js'
import { faultNames } from './faults/faults.js'
import { runGiant } from './giant.js'
import type { PostgresServer } from '../test/support/postgres.js'
import { ProgressLine } from './progress.js'
import { runQueries } from './queries/run.js'
import { Random } from './random.js'
import { runReconnect } from './reconnect.js'
import { type Mismatch, simulate } from './simulate.js'
import { runStatements } from './statements/run.js'
import { runTokens } from './tokens.js'
import { runTpcb } from './tpcb.js'

export interface ScenarioOptions {
  readonly databaseUrl: string
  /** The one that the database is on, for scenarios that crash it. */
  readonly server: Pick<PostgresServer, 'url' | 'stop' | 'start'>
  readonly seed: number
  readonly steps: number
  readonly decoder: DecoderName
  /** What a history is not to have. */
  readonly leaveOut: readonly Oddity[]
  /** One of the scenario's `breaks`. */
  readonly broken?: string | undefined
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
  /** How many of its histories run side by side with `--minutes`, each with a server of its own; without it, one. For those that mostly wait. */
  readonly lanes?: number
  /** What the server has to be set to. */
  readonly settings?: Readonly<Record<string, string>>
  /** How many steps it has when it takes its turn with all others; without it, it has none. */
  readonly nightlySteps?: number
  /** What can be broken on purpose, to see that it is found. */
  readonly breaks?: readonly string[]
  run(options: ScenarioOptions): Promise<ScenarioOutcome>
}

/** One that needs no server: everything but the cache is a script. */
export interface ScriptedScenario {
  readonly summary: string
  readonly unit: string
  readonly defaultSteps: number
  readonly mode: Mode
}

export const scriptedScenarios: Readonly<Record<string, ScriptedScenario>> = {
  deterministic: {
    summary: 'the whole cache over a scripted PostgreSQL and a virtual clock: everything goes wrong',
    unit: 'histories',
    defaultSteps: 100,
    mode: 'swarm',
  },
  'every-frame': {
    summary: 'the same, and the stream is cut after every frame of the history',
    unit: 'histories',
    defaultSteps: 100,
    mode: 'every frame',
  },
  volume: {
    summary:
      'the same in transactions of thousands of changes, with fewer faults: many writes in little time',
    unit: 'histories',
    defaultSteps: 20,
    mode: 'volume',
  },
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  history: {
    summary: 'random transactions of several writers; model, SELECT and cache must agree',
    unit: 'transactions',
    defaultSteps: 2000,
    nightlySteps: 300,
    isOdd: true,
    run: runHistory,
  },
  faults: {
    summary: 'the same, while connections, server, slot and publication fail in all ways',
    unit: 'transactions',
    defaultSteps: 200,
    lanes: 3,
    nightlySteps: 40,
    isOdd: true,
    run: runFaults,
  },
  sql: {
    summary:
      'statements of a grammar by several sessions: triggers, foreign keys, blocks, MERGE, COPY; memory, changes and SELECT must agree',
    unit: 'transactions',
    defaultSteps: 2000,
    nightlySteps: 400,
    isOdd: true,
    async run({ databaseUrl, seed, steps, decoder }) {
      const { mismatch, ...report } = await runStatements({ databaseUrl, seed, steps, decoder })
      return {
        report: { seed, decoder, ...report, mismatches: mismatch === undefined ? 0 : 1 },
        failure: mismatch,
      }
    },
  },
  tpcb: {
    summary: 'eight writers move money; its four sums must be equal in every snapshot',
    unit: 'snapshots',
    defaultSteps: 2000,
    nightlySteps: 300,
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
  bounded: {
    summary: 'rows come and leave all the time; each answer must have been true at its commit',
    unit: 'reads',
    defaultSteps: 200_000,
    nightlySteps: 20_000,
    isOdd: false,
    breaks: Object.keys(breaks),
    async run({ databaseUrl, seed, steps, decoder, broken }) {
      const { firstWrong, ...report } = await runBounded({ databaseUrl, seed, reads: steps, decoder, broken })
      return {
        report: { seed, decoder, ...report },
        failure: firstWrong && `Never true: ${inspect(firstWrong)}`,
      }
    },
  },
  audit: {
    summary:
      'memory is compared with PostgreSQL while it is written, in transactions of all sizes; nothing may be found',
    unit: 'changes',
    defaultSteps: 1_000_000,
    nightlySteps: 50_000,
    isOdd: false,
    settings: auditSettings,
    breaks: ['corrupt'],
    async run({ databaseUrl, seed, steps, decoder, broken }) {
      const progress = new ProgressLine()
      const report = await runAudit({
        databaseUrl,
        seed,
        changes: steps,
        decoder,
        corrupt: broken === 'corrupt',
        onProgress: counts =>
          progress.show(
            Object.entries(counts)
              .map(entry => entry.join(' '))
              .join(', '),
          ),
      })
      progress.end()
      const { mismatched, excludedAtRest, mended } = report
      const problems = [
        ...(mismatched > 0 ? [`${mismatched} keys differed.`] : []),
        ...(excludedAtRest > 0 ? [`${excludedAtRest} keys could not be compared at rest.`] : []),
        ...(mended ? [] : ['What was altered in memory was not found, or not mended.']),
      ]
      return {
        report: { seed, decoder, ...report },
        failure: problems.length === 0 ? undefined : problems.join(' '),
      }
    },
  },
  queries: {
    summary:
      'random tables and queries, with snapshots open and commits coming; memory and PostgreSQL must agree',
    unit: 'queries',
    defaultSteps: 100_000,
    nightlySteps: 3000,
    isOdd: false,
    async run({ databaseUrl, seed, steps, decoder }) {
      const { report, firstDifference } = await runQueries({ databaseUrl, seed, queries: steps, decoder })
      const share = report.local / report.queries
      const tooFew = share < LOCAL_SHARE_MIN && `Only ${Math.round(share * 100)} % were answered in memory.`
      return { report: { seed, decoder, ...report }, failure: firstDifference ?? (tooFew || undefined) }
    },
  },
  reconnect: {
    summary: 'walsenders are killed and the server crashes; nothing may be lost or doubled',
    unit: 'kills',
    defaultSteps: 100,
    isOdd: false,
    settings: { fsync: 'on' },
    run: runReconnects,
  },
  tokens: {
    summary: 'what one process writes, another one reads with the token of the write; never the state before',
    unit: 'writes in each of four situations',
    defaultSteps: 10_000,
    isOdd: false,
    async run({ databaseUrl, steps, decoder }) {
      const situations = await runTokens({ databaseUrl, steps, decoder })
      const stale = situations.reduce((sum, result) => sum + result.stale, 0)
      const timings = situations.flatMap(({ situation, p50Ms, p99Ms, maxMs }) => [
        [`${situation}P50Ms`, p50Ms],
        [`${situation}P99Ms`, p99Ms],
        [`${situation}MaxMs`, maxMs],
      ])
      return {
        report: { decoder, reads: steps * situations.length, stale, ...Object.fromEntries(timings) },
        failure: stale > 0 ? `${stale} reads did not show the write whose token they had.` : undefined,
      }
    },
  },
}

/** Of the queries that are made up, so many are to be answered in memory. */
const LOCAL_SHARE_MIN = 0.6
/** Salt of the random numbers that choose what a run has. */
const CHOICE = 3
const FAULTS_MIN = 3
/** A server that crashes for every so many walsenders that are killed. */
const KILLS_PER_CRASH = 5
/** From the moment when the server accepts connections: with a durable slot, memory has to be fresh again by then; with a temporary one, and a load more. */
const FRESH_AGAIN_MS = 1_000

async function runReconnects({ server, seed, steps }: ScenarioOptions): Promise<ScenarioOutcome> {
  const counts = { server, seed, kills: steps, crashes: Math.ceil(steps / KILLS_PER_CRASH) }
  const durable = await runReconnect({ ...counts, slot: { durable: true, name: 'walcache_simulation' } })
  const temporary = await runReconnect({ ...counts, slot: { temporary: true }, rests: true })
  const problems = Object.entries({ durable, temporary }).flatMap(([slot, result]) =>
    (['lost', 'doubled', 'differing', 'wrong'] as const)
      .filter(count => result[count] > 0)
      .map(count => `${slot} slot: ${result[count]} ${count}`),
  )
  if (durable.loads > 1) problems.push(`durable slot: loaded ${durable.loads} times`)
  if (durable.fresh.maxMs > FRESH_AGAIN_MS)
    problems.push(`durable slot: fresh again after ${durable.fresh.maxMs} ms`)
  if (temporary.fresh.maxMs > FRESH_AGAIN_MS + temporary.load.maxMs)
    problems.push(`temporary slot: fresh again after ${temporary.fresh.maxMs} ms`)
  return {
    report: { seed, durable, temporary },
    failure: problems.length === 0 ? undefined : problems.join('; '),
  }
}

async function runHistory({
  databaseUrl,
  seed,
  steps,
  decoder,
  leaveOut,
}: ScenarioOptions): Promise<ScenarioOutcome> {
  const result = await simulate({
    databaseUrl,
    seed,
    steps,
    leaveOut,
    recordWith: decoder,
    openSubject: subject => openCacheSubject({ ...subject, decoder }),
  })
  const { mismatch, transactions, changes, comparisons, historyHash, changesHash } = result
  const mismatches = mismatch === undefined ? 0 : 1
  const counts = { transactions, changes, comparisons, mismatches }
  return {
    report: { seed, decoder, leftOut: leaveOut, ...counts, historyHash, changesHash },
    failure: mismatch && failureOf(mismatch),
  }
}

/** Each seed has its own choice of faults, since some hide others, and its own kind of slot. */
async function runFaults(options: ScenarioOptions): Promise<ScenarioOutcome> {
  const { databaseUrl, server, seed, steps, decoder, leaveOut } = options
  const random = new Random(seed).fork(CHOICE)
  const names = random.sample(faultNames, random.between(FAULTS_MIN, faultNames.length))
  const slot = random.chance(0.5) ? { durable: true as const, name: 'walcache_simulation' } : undefined
  const result = await simulate({
    databaseUrl,
    seed,
    steps,
    leaveOut,
    faults: { names, server },
    openSubject: subject => openCacheSubject({ ...subject, decoder, ...(slot && { slot }) }),
  })
  const { mismatch, transactions, changes, comparisons, comparisonsBy, refused, feedBehind } = result
  const { faults, historyHash } = result
  const mismatches = mismatch === undefined ? 0 : 1
  const counts = {
    transactions,
    writes: changes,
    comparisons,
    comparisonsBy,
    refused,
    feedBehind,
    mismatches,
  }
  return {
    report: {
      seed,
      decoder,
      slot: slot ? 'durable' : 'temporary',
      leftOut: leaveOut,
      ...counts,
      faults,
      historyHash,
    },
    failure: mismatch && failureOf(mismatch),
  }
}

function failureOf({ step, operation, difference }: Mismatch): string {
  const found = inspect(difference, { depth: 5, maxStringLength: 120 })
  return `After ${step} commits, at ${operation.slice(0, 300)}:\n${found}`
}
