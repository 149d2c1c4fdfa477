import type { Fault } from '../apply/fault.js'
import {
  asError,
  CacheError,
  ConnectionError,
  InternalError,
  type PoisonError,
  SetupError,
  SlotInUseError,
} from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { CallerSession } from '../mapping/session.js'
import { type Connections, pause, within } from '../runtime.js'
import {
  failureEvent,
  initialSlotState,
  nextSlotState,
  type SlotEvent,
  type SlotState,
  waitMs,
} from '../source/slot-state.js'
import type { DurableSlot } from '../source/slot-source.js'
import type { RunQuery } from '../query/database.js'
import type { SessionPool } from '../wire/session-pool.js'
import { isServerError, noAnswer } from '../wire/connect-errors.js'
import { Generation, type GenerationEvents } from './generation.js'
import type { ResolvedOptions } from './options.js'
import { Poison } from './poison.js'
import { type GrowingSetup, prepare, type Setup } from './setup.js'
import { SlotKeeper } from './slot-keeper.js'
import { START_RETRY_MS } from './start-retry.js'

/**
 * A stream that has lasted this many times as long as its load took was a success: the next failure counts from one again. So loading anew
 * takes no more than a small part of the database's time, and a small cache is not kept waiting for what costs nobody anything.
 */
const SETTLED_LOADS = 20
const SETTLED_MIN_MS = 1_000
const SETTLED_MAX_MS = 30_000

/** How long the catalogue may take to be looked at anew, locks on tables to publish included: a session may have died unnoticed. */
const PREPARE_LIMIT_MS = 60_000

/** SQLSTATE: the slot's last walsender is not gone yet. */
const OBJECT_IN_USE = '55006'

export interface LifecycleHooks extends Omit<GenerationEvents, 'onFault'> {
  /** The next generation is about to be loaded, beside the one that is being read. */
  readonly beforeLoad: (setup: Setup) => void
  /** It failed for good. */
  readonly onFailed: (error: CacheError) => void
}

/** Keeps a generation alive: loads one, runs it until something is lost, waits, loads the next, until it is told to end or nothing helps any more. */
export class Lifecycle {
  readonly #options: ResolvedOptions
  readonly #session: CallerSession
  readonly #connections: Connections
  readonly #sessions: SessionPool
  readonly #fallThrough: RunQuery
  readonly #isBusy: () => boolean
  readonly #hooks: LifecycleHooks
  #state: SlotState = initialSlotState
  #lastError: CacheError | null = null
  #reconnects = 0
  #generation: Generation | null = null
  /** The one whose stream was cut off, if it may be gone on with. */
  #cut: Generation | null = null
  /** What the newest generation was loaded by. */
  #setup: Setup | null = null
  /** Whether the stream that runs goes on where another was cut off, with nothing loaded. */
  #hasResumed = false
  readonly #poison = new Poison()
  /** What the attempt that is about to fail failed of, if it was what the server sent. */
  #fault: Fault | null = null
  /** Tables that can't be taken into memory, by their declarations. */
  readonly #poisoned = new Map<object, PoisonError>()
  readonly #slot: DurableSlot | null
  readonly #keeper: SlotKeeper | null

  constructor(
    options: ResolvedOptions,
    session: CallerSession,
    connections: Connections,
    sessions: SessionPool,
    fallThrough: RunQuery,
    isBusy: () => boolean,
    hooks: LifecycleHooks,
  ) {
    this.#options = options
    this.#session = session
    this.#connections = connections
    this.#sessions = sessions
    this.#fallThrough = fallThrough
    this.#isBusy = isBusy
    this.#hooks = hooks
    const { durableSlot } = options
    this.#slot = durableSlot === null ? null : { name: durableSlot.name, walSenderPid: null }
    this.#keeper =
      this.#slot === null
        ? null
        : new SlotKeeper(this.#slot, durableSlot!.walBudgetBytes, options, connections, sessions)
  }

  get state(): SlotState['kind'] {
    return this.#state.kind
  }

  /** The generation that streams now, which need not be the one that is read yet. */
  get generation(): Generation | null {
    return this.#generation
  }

  /** The last thing that went wrong, or null. */
  get lastError(): CacheError | null {
    return this.#lastError
  }

  /** How often a lost generation was followed by an attempt at the next. */
  get reconnects(): number {
    return this.#reconnects
  }

  /** Bytes of its log that the server keeps for a durable slot; null if there is none, or it is not known yet. */
  get retainedWalBytes(): number | null {
    return this.#keeper?.retainedBytes ?? null
  }

  /** Runs until `signal` aborts or nothing helps. `setup` is what the first generation goes by. Never rejects. */
  async run(setup: Setup, signal: AbortSignal, mayGiveUp: () => boolean): Promise<void> {
    const ended = new AbortController()
    const kept = this.#keeper?.run(AbortSignal.any([signal, ended.signal]))
    await this.#keepAlive(setup, signal, mayGiveUp)
    ended.abort()
    await kept
    await this.#keeper?.drop()
    if (this.#state.kind === 'failed') this.#hooks.onFailed(this.#state.error)
  }

  async #keepAlive(setup: Setup, signal: AbortSignal, mayGiveUp: () => boolean): Promise<void> {
    const { clock, timers } = this.#options.runtime
    const random = (): number => this.#options.runtime.random()
    const startedMs = clock.monotonicMs()
    let known: Setup | null = setup
    while (this.#state.kind !== 'failed' && this.#state.kind !== 'closed') {
      if (this.#state.kind === 'waiting') {
        this.#options.logger.warn(this.#state.error.message)
        await pause(timers, waitMs(this.#state, random), signal)
        this.#reconnects++
        this.#turn({ kind: signal.aborted ? 'close' : 'elapsed' })
        continue
      }
      try {
        await this.#oneGeneration(known, signal)
      } catch (error) {
        const isLate = clock.monotonicMs() - startedMs > START_RETRY_MS
        this.#failed(asCacheError(error), signal, isLate && mayGiveUp())
      }
      known = null
    }
  }

  async #oneGeneration(known: Setup | null, signal: AbortSignal): Promise<never> {
    const { clock } = this.#options.runtime
    const resumed = await this.#resumed(signal)
    const beganMs = clock.monotonicMs()
    const generation = resumed ?? (await this.#loaded(known, signal))
    const startedMs = clock.monotonicMs()
    const settlesMs = Math.max(
      SETTLED_MIN_MS,
      Math.min(SETTLED_LOADS * (startedMs - beganMs), SETTLED_MAX_MS),
    )
    this.#generation = generation
    this.#hasResumed = resumed !== null
    this.#cut = null
    try {
      return await generation.run(signal)
    } catch (error) {
      if (this.#slot !== null && isCut(error)) this.#cut = generation
      if (error instanceof ConnectionError && error.failure === 'silent') this.#sessions.drop()
      throw error
    } finally {
      this.#generation = null
      if (clock.monotonicMs() - startedMs > settlesMs) this.#turn({ kind: 'settled' })
    }
  }

  /** The generation that was cut off, if it can be gone on with. */
  async #resumed(signal: AbortSignal): Promise<Generation | null> {
    const cut = this.#cut
    if (cut === null) return null
    const obstacle = await cut.resume(signal)
    if (obstacle === null) {
      this.#turn({ kind: 'resumed' })
      return cut
    }
    this.#cut = null
    this.#options.logger.warn(
      `The change stream can't be gone on with: ${obstacle}. The cache is being loaded anew.`,
    )
    return null
  }

  async #loaded(known: Setup | null, signal: AbortSignal): Promise<Generation> {
    const found = known ?? (await this.#prepared(signal))
    const fit = this.#withoutPoisoned(found)
    const setup: GrowingSetup = { ...fit, mappings: [...fit.mappings] }
    this.#hooks.beforeLoad(setup)
    this.#turn({ kind: 'opened' })
    const generation = await Generation.load(
      {
        options: this.#options,
        connections: this.#connections,
        session: this.#session,
        sessions: this.#sessions,
        fallThrough: this.#fallThrough,
        isBusy: this.#isBusy,
        setup,
        slot: this.#slot,
        events: {
          ...this.#hooks,
          onProven: (proven, askedMs) => this.#onProven(proven, askedMs),
          onFault: fault => {
            this.#fault = fault
          },
        },
      },
      signal,
    )
    this.#setup = setup
    this.#turn({ kind: 'loaded' })
    return generation
  }

  #prepared(signal: AbortSignal): Promise<Setup> {
    const { timers } = this.#options.runtime
    return within(
      timers,
      PREPARE_LIMIT_MS,
      signal,
      () => noAnswer(PREPARE_LIMIT_MS),
      limited => prepare(this.#options, this.#session, this.#sessions, limited, this.#setup),
    )
  }

  #onProven(generation: Generation, askedMs: number): void {
    // To go on cost next to nothing, and it was of use.
    if (this.#hasResumed) this.#turn({ kind: 'settled' })
    this.#hooks.onProven(generation, askedMs)
  }

  #withoutPoisoned(setup: Setup): Setup {
    if (this.#poisoned.size === 0) return setup
    const isPoisoned = ({ declaration }: TableMapping): boolean => this.#poisoned.has(declaration)
    const poisoned = setup.mappings.filter(isPoisoned)
    const out = poisoned.map(mapping => ({ mapping, error: this.#poisoned.get(mapping.declaration)! }))
    return {
      ...setup,
      mappings: setup.mappings.filter(mapping => !isPoisoned(mapping)),
      out: [...setup.out, ...out],
    }
  }

  /** What to do after `error`, whose cause is what the server sent: another attempt, one without the table, or none. */
  #poisonedBy(fault: Fault, error: CacheError): SlotEvent {
    const poison = this.#poison.failed(fault, error)
    if (poison === null) return { kind: 'lost', error }
    this.#lastError = poison
    const mappings = this.#setup?.mappings ?? []
    const mapping = mappings.find(({ name }) => name === fault.table)
    // Before anything was loaded whoever opens the cache is told; and without its only table it is of no use.
    if (mapping === undefined || mappings.length === 1) return { kind: 'fatal', error: poison }
    this.#poisoned.set(mapping.declaration, poison)
    this.#options.logger.error(poison.message)
    return { kind: 'lost', error: poison }
  }

  #failed(error: CacheError, signal: AbortSignal, mayGiveUp: boolean): void {
    const fault = this.#fault
    this.#fault = null
    if (signal.aborted) {
      this.#turn({ kind: 'close' })
      return
    }
    this.#lastError = error
    if (fault !== null) {
      this.#turn(this.#poisonedBy(fault, error))
      return
    }
    // The server is out of reach, or has no room; other transactions and DDL, on the other hand, come to an end.
    const isServers =
      error instanceof ConnectionError || error instanceof SetupError || error instanceof SlotInUseError
    this.#turn(mayGiveUp && isServers ? { kind: 'fatal', error } : failureEvent(error))
  }

  #turn(event: SlotEvent): void {
    if (event.kind === 'settled') this.#poison.settled()
    this.#state = nextSlotState(this.#state, event)
  }
}

/** Whether only the connection is gone: the network's doing, an operator's, a restart's; and not that the server refuses to decode. */
function isCut(error: unknown): boolean {
  if (isServerError(error)) return error.code === OBJECT_IN_USE
  if (!(error instanceof ConnectionError) || !error.transient || error.failure === 'protocol') return false
  return !isServerError(error.cause) || /^(57P|08)/.test(error.cause.code)
}

/**
 * Whatever was thrown, as an error that a caller can be given. What the server said is a passing trouble (a cancelled query, a full disk, a
 * snapshot that went with its session), unless it is about the question itself (SQLSTATE class 42).
 */
export function asCacheError(thrown: unknown): CacheError {
  if (thrown instanceof CacheError) return thrown
  const error = asError(thrown)
  if (isServerError(error) && !error.code.startsWith('42')) {
    const message = `PostgreSQL could not do what the cache needs (${error.code}); the cause has the details. It may well pass: trying again makes sense, and a running cache does.`
    return new ConnectionError('refused', message, true, { cause: error })
  }
  return new InternalError(`Something failed in a way that walcache did not expect: ${error.message}`, {
    cause: error,
  })
}
