import type { DecoderName } from '../../src/decode/index.js'
import { Random } from '../random.js'
import { CHANCE_FAULTS, type FaultName, TIMED_FAULTS } from './faults.js'
import { type Feature, FEATURES, generate, type Mix, tablesFor } from './generate.js'
import type { HistoryOptions } from './history.js'

/** `every frame`: the stream is cut after each frame of the history, once each. `swarm`: everything else goes wrong. */
export type Mode = 'every frame' | 'swarm'

/** After these everything is loaded anew, and what is loaded is not streamed: then no frame of it can be cut after. */
const LOADS_ANEW: ReadonlySet<FaultName> = new Set(['statement fails', 'no walsender left'])

/** What a decoder can't carry, and why: the pairs with it are not to be had. */
export const INFEASIBLE: Readonly<Partial<Record<DecoderName, Partial<Record<Feature, string>>>>> = {
  decoderbufs: {
    truncate:
      'decoderbufs sends nothing for TRUNCATE: it is found by the table’s file, which takes a real server',
  },
}

/** Everything about history `index` of a seed: the same for the same numbers. Each run has a random part of what there is. */
export function plan(seed: number, index: number, decoder: DecoderName, mode: Mode): HistoryOptions {
  const random = new Random(seed).fork(index + 1)
  const infeasible = INFEASIBLE[decoder] ?? {}
  const features = new Set(
    FEATURES.filter(feature => random.chance(0.75) && !Object.hasOwn(infeasible, feature)),
  )
  // What every history is to have, if it can be had.
  for (const feature of ['toast', 'key changes', 'truncate'] as const)
    if (!Object.hasOwn(infeasible, feature)) features.add(feature)
  const isCut = mode === 'every frame'
  const mix: Mix = {
    writers: random.between(isCut ? 2 : 1, 4),
    transactions: isCut ? random.between(15, 18) : random.between(6, 10),
    stepsMax: random.between(3, isCut ? 5 : 12),
    keys: random.between(6, 40),
    tables: tablesFor(random),
    features,
    pauseMs: random.between(2, 60),
    giantSteps: isCut ? 15 : random.pick([100, 1000, 4000]),
  }
  return {
    seed: random.uint32(),
    decoder,
    mix,
    script: generate(random, mix),
    chanceFaults: CHANCE_FAULTS.filter(
      name => random.chance(isCut ? 0.3 : 0.5) && !(isCut && LOADS_ANEW.has(name)),
    ),
    timedFaults: isCut ? [] : TIMED_FAULTS.filter(() => random.chance(0.4)),
    faultPauseMs: random.pick([40, 150, 600]),
    major: random.between(14, 18),
    isDurable: isCut || random.chance(0.5),
    cutsEveryFrame: isCut,
    latency: { fromMs: 0.05, toMs: random.pick([0.1, 1, 8]) },
    chunkFrames: isCut ? random.pick([1, 3, 20]) : random.pick([1, 5, 50, 200]),
    readPauseMs: random.pick([2, 5, 20]),
    maxStalenessMs: random.pick(isCut ? [2_000, 100_000] : [400, 2_000, 10_000, 100_000]),
    walSenderTimeoutMs: random.pick([0, 500, 60_000]),
    lookMs: random.pick([0, 0.001, 0.05]),
  }
}
