import type { DecoderName } from '../src/decode/index.js'
import { type Major, startPostgres } from '../test/support/postgres.js'
import { decoderNames, notCarriedBy } from './decoders.js'
import { FAULTS, type Pair } from './deterministic/pairs.js'
import type { Mode } from './deterministic/plan.js'
import { type Chosen, failureText, runAgain, runOne } from './deterministic/scenario.js'
import { type DeterministicReport, Totals } from './deterministic/totals.js'
import { Random } from './random.js'
import { scenarios } from './scenarios.js'

export interface NightlyOptions {
  readonly seed: number
  readonly minutes: number
  /** Whether real servers have a part of the time. */
  readonly withServers: boolean
  readonly onProgress: (line: string) => void
}

/** The last line of a run. */
export interface NightlyReport extends DeterministicReport {
  readonly minutes: number
  /** By what was run: how often, and how long. */
  readonly scenarios: Readonly<Record<string, { readonly runs: number; readonly seconds: number }>>
  /** Histories that were run twice, and had the same trace. */
  readonly replayed: number
}

/** How the time is divided. Volume makes the writes, swarms make the faults, cuts take the longest for what they show. */
const SHARES: Readonly<Record<Mode | 'servers', number>> = {
  swarm: 0.3,
  'every frame': 0.25,
  volume: 0.25,
  servers: 0.2,
}
const MODES: readonly Mode[] = ['swarm', 'every frame', 'volume']
/** Of so many histories of a swarm, the last one favours nothing: chance alone also finds something. */
const UNSTEERED = 4
/** Every so many turns a history is run twice. */
const REPLAY_EVERY = 40
/** After so many histories of swarms, a fault that has never struck is an error of the simulation's: it says that it tries it. */
export const HISTORIES_FOR_ALL_FAULTS = 1_200
/** Servers that are started for a turn. */
const MAJORS: readonly Major[] = [14, 15, 16, 17, 18]

/** Runs everything in turn, for so many minutes. */
export async function runNightly(options: NightlyOptions): Promise<{
  report: NightlyReport
  failures: readonly string[]
}> {
  return new Nightly(options).run()
}

class Nightly {
  readonly #options: NightlyOptions
  readonly #totals = new Totals()
  readonly #random: Random
  readonly #spentMs: Record<Mode | 'servers', number> = {
    swarm: 0,
    'every frame': 0,
    volume: 0,
    servers: 0,
  }
  readonly #turns: Record<Mode | 'servers', number> = { swarm: 0, 'every frame': 0, volume: 0, servers: 0 }
  readonly #scenarios: Record<string, { runs: number; seconds: number }> = {}
  readonly #failures: string[] = []
  readonly #endMs: number
  #swarms = 0
  #replayed = 0

  constructor(options: NightlyOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
    this.#endMs = performance.now() + options.minutes * 60_000
  }

  async run(): Promise<{ report: NightlyReport; failures: readonly string[] }> {
    while (this.#failures.length === 0 && !this.#isOver) {
      const part = this.#next()
      const startedMs = performance.now()
      if (part === 'servers') await this.#server(this.#turns.servers++)
      else await this.#histories(part, this.#turns[part]++)
      this.#spentMs[part] += performance.now() - startedMs
    }
    const mismatches = this.#failures.length
    const { silent } = this.#totals
    if (mismatches === 0 && silent.length > 0 && this.#swarms >= HISTORIES_FOR_ALL_FAULTS)
      this.#failures.push(
        `In ${this.#swarms} histories of swarms these have never struck: ${silent.join(', ')}.`,
      )
    const { seed, minutes } = this.#options
    const report = {
      ...this.#totals.report(seed, mismatches),
      minutes,
      scenarios: this.#scenarios,
      replayed: this.#replayed,
    }
    return { report, failures: this.#failures }
  }

  get #parts(): readonly (Mode | 'servers')[] {
    return this.#options.withServers ? [...MODES, 'servers'] : MODES
  }

  /** However short the time is, everything has had its turn. */
  get #isOver(): boolean {
    return performance.now() >= this.#endMs && this.#parts.every(part => this.#turns[part] > 0)
  }

  /** Whatever is furthest behind its share of the time. */
  #next(): Mode | 'servers' {
    const waiting = this.#parts.find(part => this.#turns[part] === 0)
    if (waiting !== undefined) return waiting
    return this.#parts.reduce((least, part) =>
      this.#spentMs[part] / SHARES[part] < this.#spentMs[least] / SHARES[least] ? part : least,
    )
  }

  /** One history with each decoder. */
  async #histories(mode: Mode, index: number): Promise<void> {
    const startedMs = performance.now()
    for (const decoder of decoderNames) {
      const { seed } = this.#options
      const chosen: Chosen = { seed, index, decoder, mode, favours: this.#favours(mode, index, decoder) }
      const failure = await runOne(chosen, this.#totals, true, line => this.#options.onProgress(line))
      if (mode === 'swarm') this.#swarms++
      if (failure !== undefined) {
        this.#failures.push(failureText(failure))
        break
      }
      if (index % REPLAY_EVERY === REPLAY_EVERY - 1) await this.#replay(chosen)
      this.#options.onProgress(this.#totals.line)
    }
    this.#note(mode, startedMs)
  }

  /** A pair that has not been met yet: of swarms, most are about one. */
  #favours(mode: Mode, index: number, decoder: DecoderName): Pair | undefined {
    if (mode !== 'swarm' || index % UNSTEERED === UNSTEERED - 1) return undefined
    const missing = this.#totals.missing.filter(pair => (pair.decoder ?? decoder) === decoder)
    return missing.length === 0 ? undefined : this.#random.pick(missing)
  }

  async #replay(chosen: Chosen): Promise<void> {
    const [one, other] = [await runAgain(chosen), await runAgain(chosen)]
    this.#replayed++
    if (one.hash !== other.hash)
      this.#failures.push(`History ${chosen.index}, ${chosen.decoder}, ${chosen.mode} is not the same twice.`)
  }

  /** A turn of one scenario with a real server, of each in its turn. */
  async #server(turn: number): Promise<void> {
    const startedMs = performance.now()
    const short = Object.entries(scenarios).filter(([, { nightlySteps }]) => nightlySteps !== undefined)
    const [name, scenario] = short[turn % short.length]!
    const seed = this.#random.uint32()
    const steps = scenario.nightlySteps!
    const major = this.#random.pick(MAJORS)
    const decoder = 'pgoutput'
    this.#options.onProgress(`${name} on PostgreSQL ${major}: ${steps} ${scenario.unit}`)
    const { settings = {} } = scenario
    await using server = await startPostgres({ major, withDecoders: false, settings })
    const { failure } = await scenario.run({
      databaseUrl: server.url,
      server,
      seed,
      steps,
      decoder,
      leaveOut: scenario.isOdd ? notCarriedBy(decoder) : [],
    })
    if (failure !== undefined)
      this.#failures.push(
        `${name}: ${failure}\nTo see it again: npm run simulate -- --scenario ${name} --seed ${seed} --steps ${steps} --major ${major}`,
      )
    this.#note(name, startedMs)
  }

  #note(name: string, startedMs: number): void {
    const seconds = (performance.now() - startedMs) / 1000
    const sums = (this.#scenarios[name] ??= { runs: 0, seconds: 0 })
    sums.runs++
    sums.seconds += seconds
  }
}

/** The table at the end. */
export function nightlyTable(report: NightlyReport): string {
  const { histories, writes, frames, cuts, comparisons, mismatches, framesMin, transactionsMin } = report
  const { percent, covered, feasible, missing, infeasible } = report.pairwise
  const rows: [string, string][] = [
    ['histories', String(histories)],
    ['simulated writes', String(writes)],
    ['frames sent', String(frames)],
    ['cuts', String(cuts)],
    ['comparisons', String(comparisons)],
    ['mismatches', String(mismatches)],
    ['shortest history', `${framesMin} frames, ${transactionsMin} transactions`],
    ['run twice', `${report.replayed}, the same`],
    ['pairs met', `${covered} of ${feasible} (${percent} %)`],
    ...missing.map((pair): [string, string] => ['  missing', pair]),
    ...Object.entries(infeasible).map(([pair, reason]): [string, string] => [
      '  not to be had',
      `${pair}: ${reason}`,
    ]),
    ...Object.entries(report.scenarios).map(([name, { runs, seconds }]): [string, string] => [
      name,
      `${runs} runs, ${seconds.toFixed(1)} s`,
    ]),
    ...FAULTS.map((name): [string, string] => [name, String(report.faults[name] ?? 0)]),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n')
}
