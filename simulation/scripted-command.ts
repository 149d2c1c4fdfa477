import type { DecoderName } from '../src/decode/index.js'
import { printReport, UsageError, wholeNumber } from './command-line.js'
import { decoderNames } from './decoders.js'
import { deterministicBreaks } from './deterministic/breaks.js'
import { FAULTS, type Pair, pairOf } from './deterministic/pairs.js'
import { eachBreak } from './deterministic/each-break.js'
import type { DeterministicOptions } from './deterministic/scenario.js'
import { PROCESSES_MAX, runShards } from './deterministic/shards.js'
import type { Part } from './deterministic/shrink.js'
import { HISTORIES_FOR_ALL_FAULTS, nightlyTable, runNightly } from './nightly.js'
import { ProgressLine } from './progress.js'
import { scriptedScenarios } from './scenarios.js'

/** What is asked of a scenario without a server. */
export interface ScriptedCommand {
  readonly kind: 'scripted'
  readonly scenario: string
  readonly options: DeterministicOptions
  readonly processes: number
  readonly json: boolean
}

/** What is asked of all scenarios together. */
export interface AllCommand {
  readonly kind: 'all'
  readonly seed: number
  readonly minutes: number
  readonly withServers: boolean
}

/** Each protection is to be taken away, to see that it is missed. */
export interface EachBreakCommand {
  readonly kind: 'each break'
  readonly seed: number
}

/** Of everything in turn. */
const MINUTES = '10'

export const scriptedOptions = {
  histories: { type: 'string' },
  from: { type: 'string' },
  processes: { type: 'string', default: '1' },
  minutes: { type: 'string' },
  'no-servers': { type: 'boolean', default: false },
  favour: { type: 'string' },
  'only-steps': { type: 'string' },
  'only-faults': { type: 'string' },
  salt: { type: 'string', default: '0' },
  'make-up': { type: 'boolean', default: false },
} as const

export const scriptedHelp = `                    Without a server, and the same event for event for the same seed:
                    ${Object.entries(scriptedScenarios)
                      .map(([name, { summary }]) => `${name.padEnd(13)} ${summary}`)
                      .join('\n                    ')}
                    all           everything in turn, for --minutes N (10); --no-servers leaves real servers out.
                                  Exits with 1 also if, after ${HISTORIES_FOR_ALL_FAULTS} histories of swarms, a fault has never struck
  Of these scenarios:
  --histories N     for each decoder (${scriptedScenarios['deterministic']!.defaultSteps})
  --from N          begins with history N of the seed
  --processes N     that share the histories (1)
  --favour PAIR     what the histories have much of, as "fault=stream cut,operation=truncate"
  --only-steps N,N  of a history, these steps alone; with --only-faults NAME,NAME, --salt N, --make-up:
                    what is printed when a failure was made as small as can be`

interface Values {
  readonly scenario: string
  readonly seed: number
  readonly decoder: string
  readonly steps?: string | undefined
  readonly histories?: string | undefined
  readonly from?: string | undefined
  readonly processes: string
  readonly minutes?: string | undefined
  readonly 'no-servers': boolean
  readonly favour?: string | undefined
  readonly 'only-steps'?: string | undefined
  readonly 'only-faults'?: string | undefined
  readonly salt: string
  readonly 'make-up': boolean
  readonly break?: string | undefined
  readonly json: boolean
}

/** Undefined if the scenario is another kind's. */
export function readScripted(values: Values): ScriptedCommand | AllCommand | undefined {
  const { scenario, seed, decoder, break: broken, json } = values
  if (scenario === 'all')
    return {
      kind: 'all',
      seed,
      minutes: wholeNumber('--minutes', values.minutes ?? MINUTES),
      withServers: !values['no-servers'],
    }
  const scripted = scriptedScenarios[scenario]
  if (scripted === undefined) return undefined
  if (broken !== undefined && !Object.hasOwn(deterministicBreaks, broken))
    throw new UsageError(
      `--break is one of ${Object.keys(deterministicBreaks).join(', ')} for this scenario.`,
    )
  const histories = values.histories ?? values.steps
  const processes = wholeNumber('--processes', values.processes)
  if (processes < 1 || processes > PROCESSES_MAX)
    throw new UsageError(`--processes is from 1 to ${PROCESSES_MAX}.`)
  return {
    kind: 'scripted',
    scenario,
    processes,
    json,
    options: {
      seed,
      mode: scripted.mode,
      histories: histories === undefined ? scripted.defaultSteps : wholeNumber('--histories', histories),
      from: values.from === undefined ? 0 : wholeNumber('--from', values.from),
      decoders: decodersOf(decoder),
      broken,
      favours: favoursOf(values.favour),
      part: partOf(values),
    },
  }
}

function decodersOf(text: string): readonly DecoderName[] {
  if (text === 'all') return decoderNames
  const decoder = decoderNames.find(name => name === text)
  if (decoder === undefined) throw new UsageError(`--decoder is one of ${decoderNames.join(', ')}, all.`)
  return [decoder]
}

function favoursOf(text: string | undefined): Pair | undefined {
  if (text === undefined) return undefined
  try {
    return pairOf(text)
  } catch (error) {
    throw new UsageError(`--favour: ${(error as Error).message}`)
  }
}

function partOf(values: Values): Part | undefined {
  const { 'only-steps': steps, 'only-faults': faults = '', salt } = values
  if (steps === undefined) return undefined
  return {
    steps: listOf(steps).map(text => wholeNumber('--only-steps', text)),
    faults: listOf(faults).map(text => {
      const fault = FAULTS.find(name => name === text)
      if (fault === undefined) throw new UsageError(`--only-faults: no fault is called "${text}".`)
      return fault
    }),
    salt: wholeNumber('--salt', salt),
    isMadeUp: values['make-up'],
  }
}

function listOf(text: string): string[] {
  return text === '' ? [] : text.split(',')
}

/** Everything but the cache is a script: no server is started. */
export async function runScripted({ scenario, options, processes, json }: ScriptedCommand): Promise<void> {
  const { seed, histories, decoders } = options
  console.log(`${decoders.join(', ')}, ${scenario}: ${histories} histories each, seed ${seed}`)
  const startedAt = performance.now()
  const progress = new ProgressLine()
  const onProgress = (line: string): void => progress.show(line)
  const { totals, failure } = await runShards({ ...options, onProgress }, processes)
  progress.end()
  if (failure !== undefined) {
    console.error(`MISMATCH. ${failure}`)
    process.exitCode = 1
  }
  printReport(totals.report(seed, failure === undefined ? 0 : 1), failure === undefined, startedAt, json)
}

export async function runAll({ seed, minutes, withServers }: AllCommand): Promise<void> {
  console.log(`Everything for ${minutes} minutes, seed ${seed}`)
  const progress = new ProgressLine()
  const { report, failures } = await runNightly({
    seed,
    minutes,
    withServers,
    onProgress: line => progress.show(line),
  })
  progress.end()
  for (const failure of failures) console.error(`MISMATCH. ${failure}`)
  if (failures.length > 0) process.exitCode = 1
  console.log(nightlyTable(report))
  console.log(JSON.stringify(report))
}

/** A line for each: how long it took to notice, and what was noticed. */
export async function runEachBreak({ seed }: EachBreakCommand): Promise<void> {
  console.log(`Each protection is taken away in turn, seed ${seed}`)
  for await (const { name, histories, seconds, noticed } of eachBreak(seed)) {
    if (histories === null) process.exitCode = 1
    const found = histories === null ? 'NOT FOUND' : `history ${histories}`
    console.log(
      `${name.padEnd(BREAK_WIDTH)} ${found.padEnd(12)} ${seconds.toFixed(1).padStart(6)} s  ${noticed.split('\n')[0]!.slice(0, NOTICED_SHOWN)}`,
    )
  }
}

/** Columns of what is printed. */
const BREAK_WIDTH = 24
const NOTICED_SHOWN = 90
