import type { DecoderName } from '../../src/decode/index.js'
import { deterministicBreaks } from './breaks.js'
import { type HistoryOptions, type HistoryResult, runHistory } from './history.js'
import { LivenessError, MismatchError } from './oracle.js'
import { type Pair, textOfPair } from './pairs.js'
import { type Mode, plan } from './plan.js'
import { describe, type Part, partOf, shrink, type Shrunk } from './shrink.js'
import { type DeterministicReport, Totals } from './totals.js'

/** Which history, and what of it. */
export interface Chosen {
  readonly seed: number
  readonly index: number
  readonly decoder: DecoderName
  readonly mode: Mode
  /** What it has much of. */
  readonly favours?: Pair | undefined
  /** One of `deterministicBreaks`. */
  readonly broken?: string | undefined
  /** Not all of it. */
  readonly part?: Part | undefined
}

export interface Failure {
  readonly chosen: Chosen
  readonly options: HistoryOptions
  readonly error: Error
  /** The newest notes of what happened in it. */
  readonly lines: readonly string[]
  /** What is left of it, if that was looked for. */
  readonly shrunk: Shrunk | undefined
}

export interface DeterministicOptions extends Omit<Chosen, 'index' | 'decoder'> {
  /** For each decoder. */
  readonly histories: number
  readonly decoders: readonly DecoderName[]
  /** The first history's number: to run one of many again. */
  readonly from?: number
  /** Whether a failure is made as small as can be. */
  readonly shrinks?: boolean
  /** Told after each history. */
  readonly onProgress?: (line: string) => void
}

/** Of the failed history, so many of the newest notes are shown. */
const LINES_SHOWN = 40

/** Runs histories until all are done, or one fails. */
export async function runDeterministic({
  histories,
  decoders,
  from = 0,
  shrinks = false,
  onProgress = () => undefined,
  ...rest
}: DeterministicOptions): Promise<{
  report: DeterministicReport
  failure: Failure | undefined
  totals: Totals
}> {
  const totals = new Totals()
  for (let index = from; index < from + histories; index++)
    for (const decoder of decoders) {
      const failure = await runOne({ ...rest, index, decoder }, totals, shrinks, onProgress)
      if (failure !== undefined) return { report: totals.report(rest.seed, 1), failure, totals }
      onProgress(totals.line)
    }
  return { report: totals.report(rest.seed, 0), failure: undefined, totals }
}

/** Runs one history, and looks closer if it fails. */
export async function runOne(
  chosen: Chosen,
  totals: Totals,
  shrinks: boolean,
  onProgress: (line: string) => void = () => undefined,
): Promise<Failure | undefined> {
  const options = optionsOf(chosen)
  const result = await runHistory(options)
  totals.add(chosen.index, chosen.decoder, result)
  if (result.failure === undefined) return undefined
  const shrunk = shrinks
    ? await shrink(options, result.failure, line => onProgress(`shrinking: ${line}`))
    : undefined
  const shown = await runHistory({ ...(shrunk?.options ?? options), traceLines: LINES_SHOWN })
  return { chosen, options, error: shown.failure ?? result.failure, lines: shown.lines, shrunk }
}

/** Whether the history is the same, event for event, when it is run once more. */
export async function runAgain(chosen: Chosen): Promise<HistoryResult> {
  return runHistory(optionsOf(chosen))
}

function optionsOf({ seed, index, decoder, mode, favours, broken, part }: Chosen): HistoryOptions {
  const whole = {
    ...plan(seed, index, decoder, mode, favours),
    broken: broken === undefined ? undefined : deterministicBreaks[broken],
  }
  return part === undefined ? whole : partOf(whole, part)
}

export const SCENARIO_NAMES: Readonly<Record<Mode, string>> = {
  swarm: 'deterministic',
  'every frame': 'every-frame',
  volume: 'volume',
}

/** What is wrong, and how to see it again. */
export function failureText({ chosen, options, error, lines, shrunk }: Failure): string {
  const { seed, index, decoder } = chosen
  const {
    script: _script,
    mix,
    traceLines: _traceLines,
    broken: _broken,
    ...settings
  } = shrunk?.options ?? options
  return [
    `${kindOf(error)}: seed ${seed}, history ${index}, ${decoder}: ${error.message}`,
    `Options: ${JSON.stringify({ ...settings, tables: mix.tables.map(({ name }) => name), features: [...mix.features] })}`,
    ...(shrunk === undefined ? [] : shrunkText(shrunk)),
    'What happened last:',
    ...lines.map(line => `  ${line.replaceAll(/\s+/g, ' ').slice(0, 160)}`),
    `To see it alone: npm run simulate -- ${commandOf(chosen)}`,
    ...(shrunk === undefined
      ? []
      : [`To see what is left of it: npm run simulate -- ${commandOf({ ...chosen, part: shrunk.part })}`]),
  ].join('\n')
}

function kindOf(error: Error): string {
  if (error instanceof LivenessError) return 'LIVENESS'
  return error instanceof MismatchError ? 'SAFETY' : 'BROKEN RUN'
}

function shrunkText({ options, part: { steps, isMadeUp }, attempts, stepsOfAll }: Shrunk): string[] {
  return [
    `Shrunk from ${stepsOfAll} operations to ${steps.length}${isMadeUp ? ', and what every history has' : ''}, in ${attempts} attempts:`,
    ...describe(options).map(line => `  ${line}`),
  ]
}

/** The options of `npm run simulate` that run exactly this. */
export function commandOf({ seed, index, decoder, mode, favours = {}, broken, part }: Chosen): string {
  const options = [
    `--scenario ${SCENARIO_NAMES[mode]} --seed ${seed} --decoder ${decoder} --from ${index} --histories 1`,
  ]
  if (Object.keys(favours).length > 0) options.push(`--favour "${textOfPair(favours)}"`)
  if (broken !== undefined) options.push(`--break ${broken}`)
  if (part !== undefined)
    options.push(
      `--only-steps "${part.steps.join(',')}" --only-faults "${part.faults.join(',')}" --salt ${part.salt}${part.isMadeUp ? ' --make-up' : ''}`,
    )
  return options.join(' ')
}
