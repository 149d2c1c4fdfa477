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
import type { ReadScope } from './scope.js'
import type { ReadOptions, Snapshot, SnapshotTable, TableDeclaration, WaitOptions } from './types.js'

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
  /** The request's that asks, or null if it is not in one. */
  readonly scope: () => ReadScope | null
}

/** Whatever reads a table: it may be another generation's at any time. */
export interface TableSource {
  readonly live: LiveTable
}

/** A read's ways. */
export interface Question<Row extends object, T> {
  /** What memory says, as of the visible commit. Throws NotLocalError, MemoryLimitError or NotReadyError where it can't prove the answer. */
  readonly memory: (live: LiveTable) => T
  /** The same as of a snapshot's commit. */
  readonly snapshot: (table: SnapshotTable<Row>) => Promise<T>
  readonly database: (live: LiveTable) => Promise<T>
}

/**
 * The one place that decides where an asynchronous read is answered: memory if it is shown to be at or after the read's token and
 * fresh enough and can prove the answer, else PostgreSQL if the read's policies allow it, else an error that says what is missing.
 */
export async function answer<Row extends object, T>(
  context: ReadContext,
  source: TableSource,
  options: ReadOptions,
  question: Question<Row, T>,
): Promise<T> {
  const gone = context.closed()
  if (gone !== null) throw gone
  const scope = context.scope()
  if (scope !== null) return answerInScope(scope, source, options, question)
  const isHeld = (): boolean => source.live.table.failed === null
  if (!(await mayUseMemory(context, options, isHeld))) return question.database(source.live)
  try {
    return question.memory(source.live)
  } catch (error) {
    if (!isUnknown(error) || (options.onUnknown ?? context.onUnknown) === 'throw') throw error
    return question.database(source.live)
  }
}

/** A request's reads see its commit; once PostgreSQL had to be asked, those that follow are not before what it said. */
async function answerInScope<Row extends object, T>(
  scope: ReadScope,
  source: TableSource,
  options: ReadOptions,
  question: Question<Row, T>,
): Promise<T> {
  const { declaration, name } = source.live.mapping
  const mayAsk = scope.onUnknown(options) === 'database'
  const snapshot = await scope.at(options)
  if (snapshot !== null)
    try {
      return await question.snapshot(snapshot.table(declaration as TableDeclaration<Row>))
    } catch (error) {
      if (!isUnknown(error) || !mayAsk) throw error
    }
  else if (!mayAsk)
    throw new NotLocalError(name, 'request scope', 'The request reads PostgreSQL: see cache.run().')
  const fromDatabase = await question.database(source.live)
  scope.databaseWasRead()
  return fromDatabase
}

/**
 * The newest commit, kept readable; null if PostgreSQL is to be asked instead. Decides as for a read.
 *
 * @throws {CacheError} what is missing, where the policies say so.
 */
export async function pinNewest(
  context: ReadContext,
  options: ReadOptions,
  open: () => Snapshot,
): Promise<Snapshot | null> {
  if (!(await mayUseMemory(context, options, () => true))) return null
  try {
    return open()
  } catch (error) {
    if (!isUnknown(error) || (options.onUnknown ?? context.onUnknown) === 'throw') throw error
    return null
  }
}

/** Whether memory is at or after the read's token and fresh enough; false if PostgreSQL is to answer. `isHeld`: there is something to serve. */
async function mayUseMemory(
  context: ReadContext,
  options: ReadOptions,
  isHeld: () => boolean,
): Promise<boolean> {
  return (await hasReached(context, options)) && (await isFresh(context, options, isHeld))
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
  options: ReadOptions,
  isHeld: () => boolean,
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
  return policy === 'serve' && isHeld()
}

/** Errors that say that memory has not come as far as a token. */
function isNotReached(error: unknown): boolean {
  return error instanceof NotReadyError || error instanceof WaitTimeoutError
}

/** Errors that say that memory can't answer, not that the question is wrong. */
function isUnknown(error: unknown): boolean {
  return error instanceof NotLocalError || error instanceof MemoryLimitError || error instanceof NotReadyError
}
