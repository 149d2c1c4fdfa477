import type pg from 'pg'
import { FILL_RULES_OPTION } from '../../src/cache/options.js'
import { type Cache, openCache } from '../../src/index.js'
import type { Random } from '../random.js'
import { CountedTimers } from './counted-timers.js'
import type { Doubts } from './doubts.js'
import type { Faults } from './faults.js'
import type { HistoryOptions } from './history.js'
import { isRefusal, LivenessError, MismatchError } from './oracle.js'
import type { Scheduler } from './scheduler.js'
import type { Declaration } from './schema.js'
import type { ScriptedServer } from './server/server.js'
import type { Trace } from './trace.js'

export interface ApplicationContext {
  readonly options: HistoryOptions
  readonly random: Random
  readonly scheduler: Scheduler
  readonly trace: Trace
  readonly faults: Faults
  readonly server: ScriptedServer
  readonly doubts: Doubts
  /** Whether the run has failed. */
  readonly isOver: () => boolean
}

/** With all faults on, in virtual time. */
export const TURMOIL_MS = 3_600_000
/** Attempts to open the cache. */
const OPENINGS_MAX = 50

/** Whoever uses the cache: opens it, and hears what it tells. */
export class Application {
  /** How often everything, or a table, was read. */
  loads = 0
  readonly #context: ApplicationContext
  readonly #timers: CountedTimers
  /** A durable slot could not be dropped, and the log has said so. */
  #isSlotLeft = false

  constructor(context: ApplicationContext) {
    this.#context = context
    this.#timers = new CountedTimers(context.scheduler.timers)
  }

  /** Whoever is refused at the start tries again, as what starts an application does. Null if the run is over before. */
  async opened(pool: pg.Pool, entities: Declaration[]): Promise<Cache | null> {
    const { isOver, server } = this.#context
    for (let attempt = 1; ; attempt++) {
      const { cache, error } = await this.#attempt(pool, entities)
      if (cache !== null || isOver()) return cache
      if (attempt >= OPENINGS_MAX || !isRefusal(error)) throw error
      // A durable slot may be left: a fault may keep it from being dropped, which is told.
      if (server.sessions.size > 0) throw new MismatchError('A start that failed has left sessions.')
      this.#note(`opening again: ${error.code}`)
    }
  }

  async #attempt(pool: pg.Pool, entities: Declaration[]): Promise<{ cache: Cache | null; error: unknown }> {
    const { scheduler, server, isOver, options } = this.#context
    const { decoder, isDurable, maxStalenessMs, memoryBytes, broken } = options
    const random = this.#context.random.fork(6)
    const note = (message: string): unknown => {
      this.#note(message)
      return this.failToListen()
    }
    const ended: { cache: Cache | null; error: unknown; isSettled: boolean } = {
      cache: null,
      error: null,
      isSettled: false,
    }
    openCache({
      pool,
      entities,
      decoder,
      maxStaleness: maxStalenessMs,
      ...(broken?.fillRules === undefined ? {} : { [FILL_RULES_OPTION]: broken.fillRules }),
      ...(memoryBytes === undefined ? {} : { memory: { cache: memoryBytes } }),
      onProgress: () => this.failToListen(),
      slot: isDurable ? { durable: true, name: 'walcache_sim' } : { temporary: true },
      runtime: {
        clock: scheduler.clock,
        timers: this.#timers,
        random: () => random.uint32() / 2 ** 32,
        connections: server,
      },
      logger: { debug: note, info: note, warn: note, error: note },
    })
      .then(opened => {
        ended.cache = opened
      })
      .catch((error: unknown) => {
        ended.error = error
      })
      .finally(() => {
        ended.isSettled = true
      })
    const isOpen = await scheduler.run(() => ended.isSettled || isOver(), scheduler.nowMs + TURMOIL_MS)
    if (!isOpen) throw new LivenessError('openCache() does not come to an end.')
    return ended
  }

  /** A callback of the application's that fails, at once or later: nobody is disturbed by it. */
  failToListen(): unknown {
    const { faults, random } = this.#context
    if (!faults.strikes('a listener throws', 0.03)) return undefined
    const error = new Error('A listener that fails.')
    if (random.chance(0.5)) throw error
    return Promise.reject(error)
  }

  #note(message: string): void {
    const { faults, doubts, trace, scheduler, options } = this.#context
    if (message.includes('would need more than the')) faults.tally('memory limit reached')
    const read = /^Loaded|^Table (\S+) was read anew/.exec(message)
    if (read !== null) {
      this.loads++
      doubts.readAnew(read[1], options.mix.tables)
    }
    if (message.includes('could not be dropped')) this.#isSlotLeft = true
    trace.event(scheduler.nowMs, 'log', () => message)
    trace.text(message)
  }

  /** What `close()` has left. @throws {MismatchError} if there is anything. */
  checkLeftovers(): void {
    const { sessions, slots } = this.#context.server
    if (sessions.size > 0 || (slots.byName.size > 0 && !this.#isSlotLeft))
      throw new MismatchError(`close() has left ${sessions.size} sessions and ${slots.byName.size} slots.`)
    if (this.#timers.waiting > 0) throw new MismatchError(`close() has left ${this.#timers.waiting} timers.`)
  }
}
