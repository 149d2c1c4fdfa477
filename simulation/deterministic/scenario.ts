import type { DecoderName } from '../../src/decode/index.js'
import { deterministicBreaks } from './breaks.js'
import type { FeatureCounts } from './coverage.js'
import { type HistoryOptions, type HistoryResult, runHistory } from './history.js'
import { type Mode, plan } from './plan.js'

export interface DeterministicOptions {
  readonly seed: number
  /** For each decoder. */
  readonly histories: number
  readonly decoders: readonly DecoderName[]
  readonly mode: Mode
  /** The first history's number: to run one of many again. */
  readonly from?: number
  /** One of `deterministicBreaks`. */
  readonly broken?: string | undefined
  /** Told now and then how far it is. */
  readonly onProgress?: (line: string) => void
}

/** The line of `--json`. */
export interface DeterministicReport {
  readonly seed: number
  readonly histories: number
  readonly transactions: number
  readonly writes: number
  readonly frames: number
  readonly cuts: number
  readonly comparisons: number
  readonly answered: number
  readonly mismatches: number
  readonly virtualSeconds: number
  /** The fewest frames and transactions that one of the histories had. */
  readonly framesMin: number
  readonly transactionsMin: number
  readonly faults: Readonly<Record<string, number>>
  readonly operations: Readonly<Record<string, number>>
  readonly refused: Readonly<Record<string, number>>
  readonly traceHash: string
}

export interface Failure {
  readonly options: HistoryOptions
  readonly error: Error
  readonly decoder: DecoderName
  readonly index: number
  readonly lines: readonly string[]
}

const PROGRESS_EVERY = 25
/** Of the failed history, so many of the newest notes are shown. */
const LINES_SHOWN = 40

/** Runs histories until all are done, or one fails. */
export async function runDeterministic({
  seed,
  histories,
  decoders,
  mode,
  from = 0,
  broken,
  onProgress = () => undefined,
}: DeterministicOptions): Promise<{ report: DeterministicReport; failure: Failure | undefined }> {
  const totals = new Totals(seed)
  for (let index = from; index < from + histories; index++)
    for (const decoder of decoders) {
      const options = {
        ...plan(seed, index, decoder, mode),
        broken: broken === undefined ? undefined : deterministicBreaks[broken],
      }
      const result = await runHistory(options)
      totals.add(result)
      if (result.failure !== undefined) {
        const again = await runHistory({ ...options, traceLines: LINES_SHOWN })
        return {
          report: totals.report(1),
          failure: { options, error: result.failure, decoder, index, lines: again.lines },
        }
      }
      if (totals.histories % PROGRESS_EVERY === 0) onProgress(totals.line())
    }
  return { report: totals.report(0), failure: undefined }
}

/** Sums over histories. */
class Totals {
  histories = 0
  readonly #seed: number
  readonly #sums = {
    transactions: 0,
    writes: 0,
    frames: 0,
    cuts: 0,
    comparisons: 0,
    answered: 0,
    virtualSeconds: 0,
  }
  #framesMin = Number.POSITIVE_INFINITY
  #transactionsMin = Number.POSITIVE_INFINITY
  readonly #faults: FeatureCounts = {}
  readonly #operations: FeatureCounts = {}
  readonly #refused: FeatureCounts = {}
  #hash = 0n

  constructor(seed: number) {
    this.#seed = seed
  }

  add({ coverage, cuts, answered, virtualMs, faults, refused, hash }: HistoryResult): void {
    this.histories++
    const sums = this.#sums
    sums.transactions += coverage.transactions
    sums.writes += coverage.writes
    sums.frames += coverage.frames
    sums.cuts += cuts
    sums.comparisons += coverage.comparisons
    sums.answered += answered
    sums.virtualSeconds += Math.round(virtualMs / 1000)
    this.#framesMin = Math.min(this.#framesMin, coverage.distinctFrames)
    this.#transactionsMin = Math.min(this.#transactionsMin, coverage.transactions)
    addAll(this.#faults, faults)
    addAll(this.#operations, coverage.operations)
    addAll(this.#refused, refused)
    // Of all histories, in their order.
    this.#hash = BigInt.asUintN(64, this.#hash * 0x100_0000_01b3n + BigInt(`0x${hash}`))
  }

  line(): string {
    const { writes, comparisons, cuts } = this.#sums
    return `${this.histories} histories, ${writes} writes, ${comparisons} comparisons, ${cuts} cuts, ${Object.keys(this.#faults).length} kinds of faults`
  }

  report(mismatches: number): DeterministicReport {
    return {
      seed: this.#seed,
      histories: this.histories,
      ...this.#sums,
      mismatches,
      framesMin: this.#framesMin,
      transactionsMin: this.#transactionsMin,
      faults: sorted(this.#faults),
      operations: sorted(this.#operations),
      refused: sorted(this.#refused),
      traceHash: this.#hash.toString(16).padStart(16, '0'),
    }
  }
}

function addAll(sums: FeatureCounts, counts: Readonly<FeatureCounts>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + count
}

function sorted(counts: Readonly<FeatureCounts>): FeatureCounts {
  return Object.fromEntries(Object.entries(counts).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** What is wrong, and how to see it again. */
export function failureText({ error, decoder, index, lines }: Failure, seed: number, mode: Mode): string {
  const scenario = mode === 'swarm' ? 'deterministic' : 'every-frame'
  return [
    `${error.message}`,
    ...lines.map(line => `  ${line.replaceAll(/\s+/g, ' ').slice(0, 160)}`),
    `To see it alone: npm run simulate -- --scenario ${scenario} --seed ${seed} --decoder ${decoder} --from ${index} --histories 1`,
  ].join('\n')
}
