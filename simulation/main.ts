/** The command: `npm run simulate -- --help`. */
import { randomInt } from 'node:crypto'
import { inspect, parseArgs } from 'node:util'
import type { DecoderName } from '../src/decode/index.js'
import {
  createDatabase,
  type Major,
  type PostgresOptions,
  serverFor,
  startPostgres,
} from '../test/support/postgres.js'
import { decoderNames, notCarriedBy, oddities, type Oddity } from './decoders.js'
import { deterministicBreaks } from './deterministic/breaks.js'
import { printReport, type Report, sumOf, UsageError, wholeNumber } from './command-line.js'
import { type ScenarioOutcome, scenarios, scriptedScenarios } from './scenarios.js'
import {
  readScripted,
  runAll,
  runEachBreak,
  runScripted,
  scriptedOptions,
  scriptedHelp,
  type AllCommand,
  type EachBreakCommand,
  type ScriptedCommand,
} from './scripted-command.js'

/** Of the sums so far, so many characters are shown between two runs. */
const LINE_MAX = 160
const MAJORS: readonly number[] = [14, 15, 16, 17, 18]

const help = `Usage: npm run simulate -- [options]

  --scenario NAME   ${Object.entries(scenarios)
    .map(([name, { summary }]) => `${name.padEnd(8)} ${summary}`)
    .join('\n                    ')}
${scriptedHelp}
  --seed N          decides everything that is random; printed, so that a run can be repeated
  --steps N         ${Object.entries(scenarios)
    .map(([name, { unit, defaultSteps }]) => `${name}: ${unit} (${defaultSteps})`)
    .join(', ')}
  --minutes N       again and again, with one seed after the other, for so long; what is counted is added up.
                    Side by side: ${Object.entries(scenarios)
                      .flatMap(([name, { lanes = 1 }]) =>
                        lanes === 1 ? [] : [`${name}: ${lanes}, each with a server of its own`],
                      )
                      .join('; ')}
  --decoder NAME    ${decoderNames.join(', ')} (pgoutput); without a server also all
  --portable        the same history for every decoder: without ${oddities.join(', ')}.
                    Then changesHash is the same too. Otherwise, only what the decoder itself can't carry is left out
  --major N         Postgres ${MAJORS[0]} to ${MAJORS.at(-1)}; an embedded server of its own
                    (${decoderNames.map(name => `${name}: ${serverFor(name).major}`).join(', ')})
  --break NAME      takes a protection away, to see that it is missed: ${Object.entries(scenarios)
    .flatMap(([name, { breaks = [] }]) => (breaks.length === 0 ? [] : [`${name}: ${breaks.join(', ')}`]))
    .join('; ')}
                    without a server: ${Object.keys(deterministicBreaks).join(', ')}; list names these, each tries them all
  --json            ends with one line of JSON
  --help            this text

Exits with 1 on a mismatch and says how to see it again.
`

interface Command {
  readonly scenario: string
  readonly seed: number
  readonly steps: number
  readonly decoder: DecoderName
  readonly portable: boolean
  readonly leaveOut: readonly Oddity[]
  readonly server: Required<Pick<PostgresOptions, 'major' | 'withDecoders'>>
  readonly broken: string | undefined
  /** For so long it is run again, with the next seed; 0: once. */
  readonly minutes: number
  readonly json: boolean
}

function readCommand(
  args: readonly string[],
): Command | ScriptedCommand | AllCommand | EachBreakCommand | 'help' | 'breaks' {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: 'string', default: 'history' },
      seed: { type: 'string' },
      steps: { type: 'string' },
      ...scriptedOptions,
      decoder: { type: 'string', default: 'pgoutput' },
      portable: { type: 'boolean', default: false },
      major: { type: 'string' },
      break: { type: 'string' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return 'help'
  if (values.break === 'list') return 'breaks'
  const { scenario, decoder, portable, break: broken, json } = values
  const seed = values.seed === undefined ? randomInt(2 ** 32) : wholeNumber('--seed', values.seed)
  if (broken === 'each') return { kind: 'each break', seed }
  const scripted = readScripted({ ...values, seed })
  if (scripted !== undefined) return scripted
  const known = scenarios[scenario]
  if (known === undefined)
    throw new UsageError(
      `--scenario is one of ${[...Object.keys(scenarios), ...Object.keys(scriptedScenarios), 'all'].join(', ')}.`,
    )
  if (!isDecoder(decoder)) throw new UsageError(`--decoder is one of ${decoderNames.join(', ')}.`)
  if (broken !== undefined && known.breaks?.includes(broken) !== true)
    throw new UsageError(`--break is one of ${known.breaks?.join(', ') ?? 'none'} for this scenario.`)
  return {
    scenario,
    decoder,
    portable,
    broken,
    minutes: values.minutes === undefined ? 0 : wholeNumber('--minutes', values.minutes),
    leaveOut: !known.isOdd ? [] : portable ? oddities : notCarriedBy(decoder),
    json,
    server: serverOf(decoder, values.major),
    seed,
    steps: values.steps === undefined ? known.defaultSteps : wholeNumber('--steps', values.steps),
  }
}

function serverOf(decoder: DecoderName, given: string | undefined): Command['server'] {
  const server = serverFor(decoder)
  if (given === undefined) return server
  const major = wholeNumber('--major', given)
  if (!MAJORS.includes(major)) throw new UsageError(`--major is one of ${MAJORS.join(', ')}.`)
  if (server.withDecoders && major !== server.major)
    throw new UsageError(`${decoder} is to be had for Postgres ${server.major} only.`)
  return { ...server, major: major as Major }
}

function isDecoder(text: string): text is DecoderName {
  return (decoderNames as readonly string[]).includes(text)
}

async function run(command: Command): Promise<void> {
  const { scenario, seed: firstSeed, steps, decoder, leaveOut, portable, broken, minutes, json } = command
  const { major } = command.server
  console.log(
    `Postgres ${major}, ${decoder}, ${scenario}: ${steps} ${scenarios[scenario]!.unit}, seed ${firstSeed}`,
  )
  if (leaveOut.length > 0) {
    const why = portable ? 'Not every decoder can carry these' : `${decoder} can't carry these`
    console.log(`${why}, so the history is without: ${leaveOut.join(', ')}`)
  }
  const startedAt = performance.now()
  const { sums, histories, failure } = await runSeeds(command, startedAt + minutes * 60_000)
  const report = minutes === 0 ? sums : { ...sums, seed: firstSeed, histories }
  if (failure !== undefined) {
    const again = `--scenario ${scenario} --seed ${failure.seed} --steps ${steps} --decoder ${decoder} --major ${major}${portable ? ' --portable' : ''}${broken === undefined ? '' : ` --break ${broken}`}`
    console.error(
      `MISMATCH with seed ${failure.seed}. ${failure.text}\nTo see it again: npm run simulate -- ${again}`,
    )
    process.exitCode = 1
  }
  printReport(report, failure === undefined, startedAt, json)
}

/** What a scenario throws is a failure of that seed: of a statement that should have succeeded, or of something that never came. */
const thrown = (error: unknown): ScenarioOutcome => ({ report: {}, failure: inspect(error) })

interface Sums {
  readonly sums: Report
  readonly histories: number
  readonly failure: { readonly seed: number; readonly text: string } | undefined
}

/** One seed after the other until the time is over or one has failed; at least one. Each lane takes the next seed when it is done with one. */
async function runSeeds(command: Command, untilMs: number): Promise<Sums> {
  const { scenario, seed: firstSeed, steps, decoder, leaveOut, broken, minutes } = command
  const { run: runOne, settings = {}, lanes = 1 } = scenarios[scenario]!
  let next = firstSeed
  let histories = 0
  let sums: Report = {}
  let failure: Sums['failure']

  const runLane = async (): Promise<void> => {
    await using server = await startPostgres({ ...command.server, settings })
    let databaseUrl = server.url
    for (;;) {
      const seed = next++
      const options = { databaseUrl, server, seed, steps, decoder, leaveOut, broken }
      const outcome = await runOne(options).catch(thrown)
      histories++
      sums = sumOf(sums, outcome.report)
      if (minutes > 0) console.log(`  ${histories} histories, ${JSON.stringify(sums).slice(0, LINE_MAX)}`)
      if (outcome.failure !== undefined) failure ??= { seed, text: outcome.failure }
      if (failure !== undefined || performance.now() >= untilMs) return
      databaseUrl = await createDatabase(server)
    }
  }
  await Promise.all(Array.from({ length: minutes === 0 ? 1 : lanes }, runLane))
  return { sums, histories, failure }
}

try {
  const command = readCommand(process.argv.slice(2))
  if (command === 'help') console.log(help)
  else if (command === 'breaks') console.log(Object.keys(deterministicBreaks).join('\n'))
  else if (!('kind' in command)) await run(command)
  else if (command.kind === 'all') await runAll(command)
  else if (command.kind === 'each break') await runEachBreak(command)
  else await runScripted(command)
} catch (error) {
  if (!isUsageError(error)) throw error
  console.error(`${error.message}\n\n${help}`)
  process.exitCode = 2
}

/** Ours, or one of `parseArgs`. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true
  return error instanceof TypeError && String((error as { code?: unknown }).code).startsWith('ERR_PARSE_ARGS')
}
