import type { Random } from '../random.js'
import { FatalServerError, ServerError } from './server/server-error.js'

/** Faults that strike when something happens: each at the place in the script that it concerns. */
export const CHANCE_FAULTS = [
  'walsender lingers',
  'cut inside a frame',
  'split packets',
  'no walsender left',
  'no connection left',
  'connection ends while it is made',
  'statement fails',
  'session ends in a statement',
  'session ends in a COPY',
  'others are loading',
  'connecting takes long',
  'a statement takes long',
  'walsender decodes for long',
  'a listener throws',
  'evicted while it is filled',
] as const

/** Faults that come at any time, by themselves. */
export const TIMED_FAULTS = [
  'stream cut',
  'walsender terminated',
  'stream half-open',
  'stream frozen',
  'session cut',
  'session half-open',
  'session frozen',
  'all connections cut',
  'nobody listens',
  'immediate crash',
  'fast restart',
  'failover',
  'failover with slots',
  'slot dropped',
  'slot made anew',
  'slot invalidated',
  'slot in use',
  'standby missing',
  'table altered',
  'table locked',
  'long writer',
  'event loop stalls',
  'clock is set',
  'taken for a standby of ours',
  'a standby answers',
  'exported snapshots gone',
  'relations announced again',
  'keepalives in a row',
  'checkpoint',
  'table leaves the publication',
  'everything is evicted',
] as const

export type TimedFault = (typeof TIMED_FAULTS)[number]

/** What happens by itself, and is counted. */
export const COUNTED = [
  'cut after a frame',
  'slot waits for writers',
  'wal_sender_timeout',
  'backpressure',
] as const

/** What comes of the others, or of how a run was planned: counted as well, with nothing that it has to meet. */
export const CONSEQUENCES = [
  'redelivery',
  'a slot goes back',
  'commits are lost in a crash',
  'failover behind memory',
  'memory limit reached',
  'closed in the middle',
  'a vanished session is given up',
] as const

export type Consequence = (typeof CONSEQUENCES)[number]

export type FaultName = (typeof CHANCE_FAULTS)[number] | (typeof COUNTED)[number] | TimedFault

/** A fault that the run favours strikes so much more often than it would. */
const FAVOURED_FACTOR = 4

/** Which faults a run has, and how often each has struck. */
export class Faults {
  readonly counts: Partial<Record<FaultName | Consequence, number>> = {}
  readonly #random: Random
  readonly #enabled: ReadonlySet<FaultName>
  readonly #favoured: FaultName | undefined
  #isActive = true
  /** Told of each that strikes. */
  onStruck: (name: FaultName) => void = () => undefined

  constructor(random: Random, enabled: Iterable<FaultName>, favoured?: FaultName) {
    this.#random = random
    this.#enabled = new Set(enabled)
    this.#favoured = favoured
  }

  /** No more of them. */
  stop(): void {
    this.#isActive = false
  }

  /** Whether this fault strikes here and now. */
  strikes(name: FaultName, chance: number): boolean {
    if (!this.#isActive || !this.#enabled.has(name)) return false
    if (!this.#random.chance(name === this.#favoured ? FAVOURED_FACTOR * chance : chance)) return false
    this.count(name)
    return true
  }

  /** How much longer than usual something takes, in milliseconds: 0 unless it strikes. */
  delayMs(name: FaultName, chance: number, longestMs: number): number {
    return this.strikes(name, chance) ? this.#random.between(1, longestMs) : 0
  }

  count(name: FaultName): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1
    this.onStruck(name)
  }

  tally(name: Consequence): void {
    this.counts[name] = (this.counts[name] ?? 0) + 1
  }

  /** @throws what the server answers instead. */
  beforeStatement(_name: string): void {
    if (this.strikes('statement fails', 0.02)) throw new ServerError('53200', 'out of memory')
    if (this.strikes('session ends in a statement', 0.02))
      throw new FatalServerError('57P01', 'terminating connection due to administrator command')
  }

  beforeCopyChunk(): void {
    if (this.strikes('session ends in a COPY', 0.05))
      throw new FatalServerError('57P01', 'terminating connection due to administrator command')
  }
}
