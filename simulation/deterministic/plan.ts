import type { DecoderName } from '../../src/decode/index.js'
import { Random } from '../random.js'
import { CHANCE_FAULTS, type FaultName, TIMED_FAULTS, type TimedFault } from './faults.js'
import { type Feature, FEATURES, generate, type Mix, needsOf, tablesFor } from './generate.js'
import type { HistoryOptions } from './history.js'
import type { Pair } from './pairs.js'

/**
 * `every frame`: the stream is cut after each frame of the history, once each. `swarm`: everything else goes wrong. `volume`: the same, less
 * often, in transactions of thousands of changes.
 */
export type Mode = 'every frame' | 'swarm' | 'volume'

/** After these everything is loaded anew, and what is loaded is not streamed: then no frame of it can be cut after. */
const LOADS_ANEW: ReadonlySet<FaultName> = new Set(['statement fails', 'no walsender left'])

/** These strike only where the stream is cut after each frame. */
const OF_CUTS: ReadonlySet<FaultName> = new Set([
  'cut after a frame',
  'cut inside a frame',
  'walsender lingers',
])

/** What a decoder can't carry; `pairs.ts` says why. */
const NOT_CARRIED: Readonly<Partial<Record<DecoderName, readonly Feature[]>>> = { decoderbufs: ['truncate'] }

/** Where giant transactions are to be cut after each frame: of so many transactions of a writer some are, and of so many steps a hundred have an effect. */
const GIANT_CUT_TRANSACTIONS = 3
const GIANT_CUT_STEPS = 220

/** Of other faults than the favoured one, a run has so many at most: it is to strike often. */
const OTHER_FAULTS_MAX = 3

/** Bytes that wait in a short queue: a few frames, some dozens, a good part of what the network brings at once. */
const SHORT_QUEUES = [500, 4_000, 60_000] as const

/** Everything about history `index` of a seed: the same for the same numbers. Each run has a random part of what there is, and much of what it favours. */
export function plan(
  seed: number,
  index: number,
  decoder: DecoderName,
  asked: Mode,
  favours: Pair = {},
): HistoryOptions {
  const mode = favours.fault !== undefined && OF_CUTS.has(favours.fault) ? 'every frame' : asked
  const random = new Random(seed).fork(index + 1)
  const notCarried = NOT_CARRIED[decoder] ?? []
  const features = new Set(FEATURES.filter(() => random.chance(0.75)))
  const needs = needsOf(favours)
  // What every history is to have, if it can be had.
  for (const feature of ['toast', 'key changes', 'truncate'] as const) features.add(feature)
  if (needs.feature !== undefined) features.add(needs.feature)
  for (const feature of notCarried) features.delete(feature)
  const mix = mixOf(random, mode, features, favours)
  const isCut = mode === 'every frame'
  const faults = faultsOf(random, mode, favours.fault)
  return {
    seed: random.uint32(),
    decoder,
    mix,
    script: generate(random, mix),
    chanceFaults: faults.chance,
    timedFaults: faults.timed,
    faultPauseMs: favours.fault === undefined ? random.pick([40, 150, 600]) : 40,
    major: random.between(14, 18),
    isDurable: isCut || random.chance(favours.fault?.startsWith('slot ') === true ? 0.9 : 0.5),
    cutsEveryFrame: isCut,
    latency: { fromMs: 0.05, toMs: random.pick([0.1, 1, 8]) },
    chunkFrames: chunkFrames(random, mode),
    // Whatever arrives is looked at anyway; and between two cuts there is much time, in which nothing does.
    readPauseMs: random.pick(mode === 'swarm' ? [2, 5, 20] : [20, 60]),
    maxStalenessMs: random.pick(isCut ? [2_000, 100_000] : [400, 2_000, 10_000, 100_000]),
    walSenderTimeoutMs: favours.fault === 'wal_sender_timeout' ? 500 : random.pick([0, 500, 60_000]),
    lookMs: random.pick([0, 0.001, 0.05]),
    isFollowed: mode !== 'volume' && random.chance(0.4),
    memoryBytes: mode === 'swarm' && random.chance(0.1) ? random.between(1, 6) * 2 ** 20 : undefined,
    closesInTurmoil: !isCut && random.chance(0.08),
    queueBytes: queueBytes(random, mode, favours.fault),
  }
}

/** What may wait before the cache stops reading; undefined: as much as it likes. */
function queueBytes(random: Random, mode: Mode, favoured: FaultName | undefined): number | undefined {
  if (favoured === 'backpressure') return SHORT_QUEUES[0]
  return mode === 'swarm' && random.chance(0.25) ? random.pick(SHORT_QUEUES) : undefined
}

function mixOf(random: Random, mode: Mode, features: ReadonlySet<Feature>, favours: Pair): Mix {
  const tables = [...new Set([...tablesFor(random), ...needsOf(favours).tables])]
  const shared = { tables, features, favours, pauseMs: random.between(2, 60) }
  const isGiant = favours.operation === 'giant transaction'
  switch (mode) {
    // As few frames as every history is to have, or a little more: each costs a connection.
    case 'every frame':
      return {
        ...shared,
        writers: random.between(2, 3),
        transactions: isGiant ? GIANT_CUT_TRANSACTIONS : random.between(6, 7),
        stepsMax: random.between(3, 5),
        keys: random.between(6, 40),
        giantSteps: isGiant ? GIANT_CUT_STEPS : 15,
        giantChance: 0.03,
      }
    case 'swarm':
      return {
        ...shared,
        writers: random.between(1, 4),
        transactions: random.between(6, 10),
        stepsMax: random.between(3, 12),
        keys: random.between(6, 40),
        giantSteps: random.pick(isGiant ? [400, 1000, 4000] : [100, 1000, 4000]),
        giantChance: 0.03,
      }
    case 'volume':
      return {
        ...shared,
        features: new Set([...features, 'giant transactions']),
        writers: random.between(2, 3),
        transactions: random.between(4, 6),
        stepsMax: random.between(3, 12),
        keys: random.between(20, 300),
        giantSteps: random.pick([1_000, 4_000, 10_000]),
        giantChance: 0.7,
      }
  }
}

/** Of the faults, what the run has; if it favours one, that and a few. */
function faultsOf(
  random: Random,
  mode: Mode,
  favoured: FaultName | undefined,
): { readonly chance: readonly FaultName[]; readonly timed: readonly TimedFault[] } {
  const isCut = mode === 'every frame'
  const isFavoured = (name: FaultName): boolean => name === favoured
  const chance = CHANCE_FAULTS.filter(
    name => isFavoured(name) || (random.chance(isCut ? 0.3 : 0.5) && !(isCut && LOADS_ANEW.has(name))),
  )
  if (isCut) return { chance, timed: [] }
  const timed = TIMED_FAULTS.filter(() => random.chance(mode === 'volume' ? 0.15 : 0.4))
  // What comes by itself comes of others.
  const isTimed = TIMED_FAULTS.some(name => name === favoured)
  if (!isTimed) return { chance, timed }
  const few = random.sample(timed, OTHER_FAULTS_MAX)
  return { chance, timed: TIMED_FAULTS.filter(name => isFavoured(name) || few.includes(name)) }
}

function chunkFrames(random: Random, mode: Mode): number {
  switch (mode) {
    case 'every frame':
      return random.pick([1, 3, 20])
    case 'swarm':
      return random.pick([1, 5, 50, 200])
    case 'volume':
      return random.pick([50, 200])
  }
}
