import type { DecoderName } from '../../src/decode/index.js'
import { decoderNames } from '../decoders.js'
import type { FeatureCounts } from './coverage.js'
import type { HistoryResult } from './history.js'
import { CONSEQUENCES } from './faults.js'
import { FAULTS, type Pair, type PairReport, Pairs } from './pairs.js'

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
  /** Commits that followers of changes were told of, and gaps. */
  readonly told: number
  readonly gaps: number
  readonly mismatches: number
  readonly virtualSeconds: number
  /** The fewest frames and transactions that one of the histories has streamed. */
  readonly framesMin: number
  readonly transactionsMin: number
  /** All kinds that there are; those that have never struck with 0. */
  readonly faults: Readonly<Record<string, number>>
  readonly operations: Readonly<Record<string, number>>
  readonly refused: Readonly<Record<string, number>>
  readonly pairwise: PairReport
  /** Of all histories; in which order they ran is no matter. */
  readonly traceHash: string
}

/** Everything that is counted as going wrong. */
const KINDS: readonly string[] = [...FAULTS, ...CONSEQUENCES]

/** Sums over histories, as one process hands them to another. */
export interface Sums {
  histories: number
  transactions: number
  writes: number
  frames: number
  cuts: number
  comparisons: number
  answered: number
  told: number
  gaps: number
  virtualMs: number
  framesMin: number
  transactionsMin: number
  hash: bigint
  readonly faults: FeatureCounts
  readonly operations: FeatureCounts
  readonly refused: FeatureCounts
  readonly met: Uint8Array
}

/** Sums over histories. */
export class Totals {
  readonly #pairs = new Pairs()
  readonly sums: Sums = {
    histories: 0,
    transactions: 0,
    writes: 0,
    frames: 0,
    cuts: 0,
    comparisons: 0,
    answered: 0,
    told: 0,
    gaps: 0,
    virtualMs: 0,
    framesMin: Number.POSITIVE_INFINITY,
    transactionsMin: Number.POSITIVE_INFINITY,
    hash: 0n,
    faults: Object.fromEntries(KINDS.map(name => [name, 0])),
    operations: {},
    refused: {},
    met: this.#pairs.met,
  }

  /** One history has run. */
  add(index: number, decoder: DecoderName, result: HistoryResult): void {
    const { coverage, cuts, answered, told, gaps, virtualMs, faults, refused, pairs, hash } = result
    const { transactions, writes, frames, comparisons, distinctFrames, streamed, operations } = coverage
    this.merge({
      histories: 1,
      transactions,
      writes,
      frames,
      cuts,
      comparisons,
      answered,
      told,
      gaps,
      virtualMs,
      framesMin: distinctFrames,
      transactionsMin: streamed,
      // Different for each place in the run, so that two histories that change places are seen.
      hash:
        BigInt(`0x${hash}`) * BigInt(2 * (index * decoderNames.length + decoderNames.indexOf(decoder)) + 1),
      faults,
      operations,
      refused,
      met: pairs.met,
    })
  }

  merge(other: Sums): void {
    const { sums } = this
    sums.histories += other.histories
    sums.transactions += other.transactions
    sums.writes += other.writes
    sums.frames += other.frames
    sums.cuts += other.cuts
    sums.comparisons += other.comparisons
    sums.answered += other.answered
    sums.told += other.told
    sums.gaps += other.gaps
    sums.virtualMs += other.virtualMs
    sums.framesMin = Math.min(sums.framesMin, other.framesMin)
    sums.transactionsMin = Math.min(sums.transactionsMin, other.transactionsMin)
    sums.hash = BigInt.asUintN(64, sums.hash + other.hash)
    addAll(sums.faults, other.faults)
    addAll(sums.operations, other.operations)
    addAll(sums.refused, other.refused)
    this.#pairs.add(other.met)
  }

  /** Feasible pairs that no history has met yet. */
  get missing(): Pair[] {
    return this.#pairs.missing
  }

  /** Faults that have never struck. */
  get silent(): string[] {
    return KINDS.filter(name => this.sums.faults[name] === 0)
  }

  /** How far it is, for people. */
  get line(): string {
    const { histories, writes, comparisons, cuts, faults } = this.sums
    const struck = Object.values(faults).reduce((sum, count) => sum + count, 0)
    const kinds = KINDS.length - this.silent.length
    const { percent } = this.#pairs.report
    return `${histories} histories, ${writes} writes, ${comparisons} comparisons, ${cuts} cuts, ${struck} faults of ${kinds}/${KINDS.length} kinds, ${percent} % of pairs`
  }

  report(seed: number, mismatches: number): DeterministicReport {
    const { hash, met: _, virtualMs, faults, operations, refused, ...sums } = this.sums
    return {
      seed,
      ...sums,
      mismatches,
      virtualSeconds: Math.round(virtualMs / 1000),
      faults: sorted(faults),
      operations: sorted(operations),
      refused: sorted(refused),
      pairwise: this.#pairs.report,
      traceHash: hash.toString(16).padStart(16, '0'),
    }
  }
}

function addAll(sums: FeatureCounts, counts: Readonly<Partial<FeatureCounts>>): void {
  for (const [name, count] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + (count ?? 0)
}

function sorted(counts: Readonly<FeatureCounts>): FeatureCounts {
  return Object.fromEntries(Object.entries(counts).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
