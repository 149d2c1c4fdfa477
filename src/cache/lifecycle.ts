import { asError, CacheError, ConnectionError, InternalError, SetupError } from '../errors.js'
import type { CallerSession } from '../mapping/session.js'
import { type Connections, pause } from '../runtime.js'
import {
  failureEvent,
  initialSlotState,
  nextSlotState,
  type SlotEvent,
  type SlotState,
  waitMs,
} from '../source/slot-state.js'
import type { SessionPool } from '../wire/session-pool.js'
import { isServerError } from '../wire/connect-errors.js'
import { Generation, type GenerationEvents } from './generation.js'
import type { ResolvedOptions } from './options.js'
import { prepare, type Setup } from './setup.js'
import { START_RETRY_MS } from './start-retry.js'

/** A stream that has lasted so long was a success: the next failure counts from one again. */
const SETTLED_MS = 30_000

export interface LifecycleHooks extends GenerationEvents {
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
  readonly #hooks: LifecycleHooks
  #state: SlotState = initialSlotState
  #lastError: CacheError | null = null
  #reconnects = 0
  #generation: Generation | null = null

  constructor(
    options: ResolvedOptions,
    session: CallerSession,
    connections: Connections,
    sessions: SessionPool,
    hooks: LifecycleHooks,
  ) {
    this.#options = options
    this.#session = session
    this.#connections = connections
    this.#sessions = sessions
    this.#hooks = hooks
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

  /** Runs until `signal` aborts or nothing helps. `setup` is what the first generation goes by. Never rejects. */
  async run(setup: Setup, signal: AbortSignal, mayGiveUp: () => boolean): Promise<void> {
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
    if (this.#state.kind === 'failed') this.#hooks.onFailed(this.#state.error)
  }

  async #oneGeneration(known: Setup | null, signal: AbortSignal): Promise<never> {
    const { clock } = this.#options.runtime
    const setup = known ?? (await prepare(this.#options, this.#session, this.#sessions, signal))
    this.#hooks.beforeLoad(setup)
    this.#turn({ kind: 'opened' })
    const generation = await Generation.load(
      {
        options: this.#options,
        connections: this.#connections,
        sessions: this.#sessions,
        setup,
        events: this.#hooks,
      },
      signal,
    )
    this.#turn({ kind: 'loaded' })
    const loadedMs = clock.monotonicMs()
    this.#generation = generation
    try {
      return await generation.run(signal)
    } finally {
      this.#generation = null
      if (clock.monotonicMs() - loadedMs > SETTLED_MS) this.#turn({ kind: 'settled' })
    }
  }

  #failed(error: CacheError, signal: AbortSignal, mayGiveUp: boolean): void {
    if (signal.aborted) {
      this.#turn({ kind: 'close' })
      return
    }
    this.#lastError = error
    // The server is out of reach, or has no room; other transactions and DDL, on the other hand, come to an end.
    const isServers = error instanceof ConnectionError || error instanceof SetupError
    this.#turn(mayGiveUp && isServers ? { kind: 'fatal', error } : failureEvent(error))
  }

  #turn(event: SlotEvent): void {
    this.#state = nextSlotState(this.#state, event)
  }
}

/**
 * Whatever was thrown, as an error that a caller can be given. What the server said is a passing trouble (a cancelled query, a full disk, a
 * snapshot that went with its session), unless it is about the question itself (SQLSTATE class 42).
 */
export function asCacheError(thrown: unknown): CacheError {
  if (thrown instanceof CacheError) return thrown
  const error = asError(thrown)
  if (isServerError(error) && !error.code.startsWith('42')) {
    const message = `PostgreSQL could not do what the cache needs (${error.code}); the cause has the details. The cache tries again.`
    return new ConnectionError('refused', message, true, { cause: error })
  }
  return new InternalError(`Something failed in a way that walcache did not expect: ${error.message}`, {
    cause: error,
  })
}
