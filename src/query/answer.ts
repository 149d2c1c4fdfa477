import {
  type ClosedError,
  MemoryLimitError,
  NotLocalError,
  NotReadyError,
  StaleError,
  WaitTimeoutError,
} from '../errors.js'
import type { FreshnessGate } from '../freshness/gate.js'
import type { DatabaseReader } from './database.js'
import type { LiveTable } from './live.js'
import type { ReadOptions, WaitOptions } from './types.js'

/** What the tables of one cache share. */
export interface ReadContext {
  readonly gate: FreshnessGate
  readonly database: DatabaseReader
  readonly maxStalenessMs: number
  readonly onStale: 'throw' | 'database' | 'serve'
  readonly onUnknown: 'throw' | 'database'
  /** Resolves when the token's position is visible. */
  readonly waitFor: (token: string, options: WaitOptions) => Promise<void>
  /** Has the server asked for its position now; resolves when that is visible, or can't be shown soon. */
  readonly prove: (signal?: AbortSignal) => Promise<void>
  /** Why no read may be answered any more, or null. */
  readonly closed: () => ClosedError | null
}

/** Whatever reads a table: it may be another generation's at any time. */
export interface TableSource {
  readonly live: LiveTable
}

/** A read's two ways. */
export interface Question<T> {
  /** What memory says, as of the visible commit. Throws NotLocalError, MemoryLimitError or NotReadyError where it can't prove the answer. */
  readonly memory: (live: LiveTable) => T
  readonly database: (live: LiveTable) => Promise<T>
}

/**
 * The one place that decides where an asynchronous read is answered: memory if it is shown to be at or after the read's token and
 * fresh enough and can prove the answer, else PostgreSQL if the read's policies allow it, else an error that says what is missing.
 */
export async function answer<T>(
  context: ReadContext,
  source: TableSource,
  options: ReadOptions,
  question: Question<T>,
): Promise<T> {
  const gone = context.closed()
  if (gone !== null) throw gone
  const mayUseMemory = (await hasReached(context, options)) && (await isFresh(context, source, options))
  if (!mayUseMemory) return question.database(source.live)
  try {
    return question.memory(source.live)
  } catch (error) {
    if (!isUnknown(error) || (options.onUnknown ?? context.onUnknown) === 'throw') throw error
    return question.database(source.live)
  }
}

/** Whether memory is at or after the read's token, or need not be; false if PostgreSQL, which is past every token, is to answer. */
async function hasReached(context: ReadContext, options: ReadOptions): Promise<boolean> {
  const { after, timeoutMs, signal } = options
  if (after === undefined) return true
  try {
    await context.waitFor(after, {
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(signal === undefined ? {} : { signal }),
    })
    return true
  } catch (error) {
    if (!isNotReached(error)) throw error
    const policy = timeoutPolicy(context, options)
    if (policy === 'throw') throw error
    return policy === 'serve'
  }
}

/** That memory may be old does not allow it to be before the reader's own write: `serve` has to be said for that. */
function timeoutPolicy({ onStale }: ReadContext, options: ReadOptions): 'throw' | 'database' | 'serve' {
  return options.onTimeout ?? ((options.onStale ?? onStale) === 'database' ? 'database' : 'throw')
}

/** Whether memory may answer; false if PostgreSQL is to. @throws {StaleError} */
async function isFresh(
  { gate, maxStalenessMs, prove, onStale }: ReadContext,
  source: TableSource,
  options: ReadOptions,
): Promise<boolean> {
  const bound = options.maxStaleness ?? maxStalenessMs
  if (gate.stalenessMs() <= bound) return true
  // A bound that is tighter than the probes' interval is met by asking now; the first proof may be one that had begun before.
  const attempts = bound > 0 && bound < maxStalenessMs ? 2 : 0
  for (let left = attempts; left > 0 && gate.stalenessMs() <= maxStalenessMs; left--) {
    await prove(options.signal)
    if (gate.stalenessMs() <= bound) return true
  }
  const policy = options.onStale ?? onStale
  if (policy === 'throw') throw new StaleError(gate.stalenessMs(), bound)
  return policy === 'serve' && source.live.table.failed === null
}

/** Errors that say that memory has not come as far as a token. */
function isNotReached(error: unknown): boolean {
  return error instanceof NotReadyError || error instanceof WaitTimeoutError
}

/** Errors that say that memory can't answer, not that the question is wrong. */
function isUnknown(error: unknown): boolean {
  return error instanceof NotLocalError || error instanceof MemoryLimitError || error instanceof NotReadyError
}
