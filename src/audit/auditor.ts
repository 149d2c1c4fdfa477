import type { AppliedTable } from '../apply/binding.js'
import { asError, OverloadedError } from '../errors.js'
import type { Logger } from '../observe.js'
import { pause, type QueryConnection, type Runtime } from '../runtime.js'
import { type Backoff, backoffMs } from '../source/backoff.js'
import type { Store } from '../store/store.js'
import type { Comparer, Question } from './comparer.js'
import type { Mismatch } from './comparison.js'
import { blocksOf, sampleKeys } from './sample.js'

/** A question asks for about as many keys as are due in this time, within these bounds. */
const QUESTION_EVERY_MS = 250
const KEYS_MIN = 1
const KEYS_MAX = 100
/** No two questions come closer together. */
const PAUSE_MIN_MS = 10
/** A timer that fires this much late tells of a busy event loop. */
const LATE_MS = 50
/** While others are waited for. */
const BUSY: Backoff = { firstMs: 100, longestMs: 2_000 }
/** After a failure. */
const FAILED: Backoff = { firstMs: 500, longestMs: 30_000 }

export interface AuditorOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly store: Store
  readonly rowsPerSecond: number
  readonly comparer: Comparer
  readonly tables: () => readonly AppliedTable[]
  readonly run: <T>(work: (session: QueryConnection) => Promise<T>, signal: AbortSignal) => Promise<T>
  /** Whether reads wait for PostgreSQL already. */
  readonly isBusy: () => boolean
  /** Tells and mends. */
  readonly onMismatches: (target: AppliedTable, mismatches: readonly Mismatch[]) => void
}

/** Compares rows that are chosen by chance with PostgreSQL, so many a second, and fewer while there is other work to do. */
export class Auditor {
  readonly #options: AuditorOptions

  constructor(options: AuditorOptions) {
    this.#options = options
  }

  /** Works until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { runtime, rowsPerSecond, isBusy, logger } = this.#options
    const { clock, timers, random } = runtime
    let delayMs = this.#delayMs(1)
    let inVain = 0
    while (!signal.aborted) {
      const dueMs = clock.monotonicMs() + delayMs
      await pause(timers, delayMs, signal)
      if (signal.aborted) return
      if (isBusy() || clock.monotonicMs() - dueMs > LATE_MS) {
        delayMs = Math.max(delayMs, backoffMs(BUSY, ++inVain, random))
        continue
      }
      try {
        delayMs = this.#delayMs(await this.#audit(signal))
        inVain = 0
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof OverloadedError))
          logger.warn(`Rows could not be compared with PostgreSQL: ${asError(error).message}`)
        delayMs = Math.max(1_000 / rowsPerSecond, backoffMs(FAILED, ++inVain, random))
      }
    }
  }

  /** After so many rows the next ones are due. */
  #delayMs(rows: number): number {
    return Math.max(PAUSE_MIN_MS, (rows * 1_000) / this.#options.rowsPerSecond)
  }

  /** Asks one question. Returns how many rows it was about. */
  async #audit(signal: AbortSignal): Promise<number> {
    const { comparer, onMismatches } = this.#options
    const target = this.#choose()
    if (target === null) return this.#keysAtOnce
    const question = await this.#question(target, signal)
    if (question === null || target.table.failed !== null) return this.#keysAtOnce
    const { audited, excluded, mismatches } = await comparer.compare(target, question, signal)
    if (mismatches.length > 0) onMismatches(target, mismatches)
    return Math.max(1, audited + excluded.length)
  }

  get #keysAtOnce(): number {
    const due = Math.ceil((this.#options.rowsPerSecond * QUESTION_EVERY_MS) / 1_000)
    return Math.min(KEYS_MAX, Math.max(KEYS_MIN, due))
  }

  /** One of the tables that can be read: the more rows it has the likelier. An empty one too, since it may lack all of its rows. */
  #choose(): AppliedTable | null {
    const tables = this.#options.tables().filter(({ table }) => table.failed === null)
    const all = tables.reduce((sum, { table }) => sum + table.rowEnd + 1, 0)
    let place = this.#options.runtime.random() * all
    for (const target of tables) {
      place -= target.table.rowEnd + 1
      if (place < 0) return target
    }
    return tables.at(-1) ?? null
  }

  /** Keys that memory has; or, of a whole table, rows that PostgreSQL has, which memory may lack. Null if there are none. */
  async #question(target: AppliedTable, signal: AbortSignal): Promise<Question | null> {
    const { store, runtime, run } = this.#options
    if (target.table.residency === null && runtime.random() < 0.5) {
      const blocks = await run(session => blocksOf(session, target), signal)
      if (blocks === 0) return null
      const from = Math.floor(runtime.random() * blocks)
      return { kind: 'blocks', from, to: from + 1 }
    }
    const keys = sampleKeys(target, store, this.#keysAtOnce, () => runtime.random())
    return keys.length === 0 ? null : { kind: 'keys', keys }
  }
}
