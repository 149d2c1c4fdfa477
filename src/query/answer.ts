import {
  BehindError,
  type ClosedError,
  MemoryLimitError,
  NotLocalError,
  NotReadyError,
  PoisonError,
  SnapshotMissError,
  StaleError,
  TableReloadingError,
  WaitTimeoutError,
} from '../errors.js'
import type { Lsn } from '../change/lsn.js'
import type { FreshnessGate } from '../freshness/gate.js'
import { isBeyond, type LogPosition } from '../freshness/token.js'
import { checkRead } from './check-read.js'
import type { DatabaseReader, Fetched } from './database.js'
import type { LiveTable } from './live.js'
import type { Pacer } from './pacer.js'
import type { Pinned, ReadScope } from './scope.js'
import { pause, type Runtime } from '../runtime.js'
import type { ReadOptions, Snapshot, SnapshotTable, TableDeclaration, WaitOptions } from './types.js'

/** How long a read waits for PostgreSQL to show what memory has shown, where it does not say. */
const BEHIND_TIMEOUT_MS = 5_000
/** Between two questions; usually such a commit waits for microseconds. */
const BEHIND_RETRY_MS = 2
const BEHIND_RETRY_MAX_MS = 200

/** What the tables of one cache share. */
export interface ReadContext {
  readonly runtime: Runtime
  readonly gate: FreshnessGate
  readonly pacer: Pacer
  readonly database: DatabaseReader
  readonly maxStalenessMs: number
  readonly onStale: 'throw' | 'database' | 'serve'
  readonly onUnknown: 'throw' | 'database'
  /** @throws {TokenError} */
  readonly positionOf: (token: string) => LogPosition
  readonly tokenOf: (position: LogPosition) => string
  /** Where memory is now. */
  readonly position: () => LogPosition
  /** Where the server is now: at or after everything that it has shown. */
  readonly serverPosition: () => Promise<LogPosition>
  /** Resolves when the position is visible. */
  readonly waitFor: (position: LogPosition, options: WaitOptions) => Promise<void>
  /** Resolves if the second position is at or after the first one. @throws {TokenError} @throws {TokenLostError} */
  readonly mustCover: (position: LogPosition, by: LogPosition) => Promise<void>
  /** Has the server asked for its position now; resolves when that is visible, or can't be shown soon. */
  readonly prove: (signal?: AbortSignal) => Promise<void>
  /** Why no read may be answered any more, or null. */
  readonly closed: () => ClosedError | null
  /** The request's that asks, or null if it is not in one. */
  readonly scope: () => ReadScope | null
  /** Whose reads must not go back; null for a table's own. */
  readonly session: ReadSession | null
}

/** One user's reads, wherever they are answered. */
export interface ReadSession {
  /** The newest position that any of them has seen; null before the first. */
  readonly seen: LogPosition | null
  /** One of them has seen this position. */
  observe(position: LogPosition): void
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
  readonly database: (live: LiveTable) => Promise<Fetched<T>>
  /** What is called instead of asking PostgreSQL. */
  readonly load?: () => Promise<T>
  /** What is read into memory, where that is bounded and does not know; undefined if it could not be shown at a commit in time. */
  readonly fill?: (live: LiveTable) => Promise<{ readonly value: T; readonly lsn: Lsn } | undefined>
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
  checkRead(options)
  const floor = floorOf(context, options)
  const scope = context.scope()
  if (scope !== null) return answerInScope(context, scope, source, { options, floor }, question)
  const askDatabase = (): Promise<T> => fromDatabase(context, source, { options, floor }, question)
  // Mostly there is nothing to wait for.
  const memory = isFreshNow(context, options, floor) ? 'yes' : await useOfMemory(context, options, floor)
  if (memory === 'no') return askDatabase()
  let value: T
  try {
    value = question.memory(source.live)
  } catch (error) {
    if (!isUnknown(error)) throw error
    // The answer is of the same history as memory is now: a fill does not outlive that.
    const place = context.position()
    const filled = isFillable(error) ? await question.fill?.(source.live) : undefined
    if (filled !== undefined) {
      const position = { ...place, lsn: filled.lsn }
      if (floor !== null && memory === 'yes') await context.mustCover(floor, position)
      context.session?.observe(position)
      return filled.value
    }
    if ((options.onUnknown ?? context.onUnknown) === 'throw') throw error
    return askDatabase()
  }
  const position = context.position()
  // Between the wait and the answer, another history may have been taken over.
  if (floor !== null && memory === 'yes') await context.mustCover(floor, position)
  context.session?.observe(position)
  const turn = context.pacer.turn()
  if (turn !== null) await turn
  return value
}

/** What the read is to be at or after: its token, and what its session has seen. @throws {TokenError} */
function floorOf({ session, positionOf }: ReadContext, { after }: ReadOptions): LogPosition | null {
  const seen = session?.seen ?? null
  if (after === undefined) return seen
  const wanted = positionOf(after)
  return seen === null || isBeyond(wanted, seen) ? wanted : seen
}

/** What is asked of a read, and what it is to be at or after. */
interface Asked {
  readonly options: ReadOptions
  readonly floor: LogPosition | null
}

/**
 * PostgreSQL's answer, asked for again until it shows all that memory had shown of the table when it was sent. A commit is in the stream, and so
 * in memory, once its record is written; other sessions see it when its synchronous standbys have it. And until it is known how to read it, if columns
 * have got other types.
 *
 * @throws {BehindError} @throws {TableReloadingError} if that takes longer than the read may.
 */
async function notBehind<Row extends object, T>(
  { runtime }: ReadContext,
  source: TableSource,
  { timeoutMs = BEHIND_TIMEOUT_MS, signal }: ReadOptions,
  question: Question<Row, T>,
): Promise<Fetched<T>> {
  const { clock, timers } = runtime
  const untilMs = clock.monotonicMs() + timeoutMs
  for (let waitMs = BEHIND_RETRY_MS; ; waitMs = Math.min(waitMs * 2, BEHIND_RETRY_MAX_MS)) {
    const { live } = source
    const { recent } = live.store
    const query = recent.sending()
    let altered: TableReloadingError | null = null
    try {
      const fetched = await question.database(live)
      const isBehind = recent.isAheadOf(fetched.snapshot, live.table)
      recent.confirm(fetched.snapshot)
      if (!isBehind) return fetched
    } catch (error) {
      if (!(error instanceof TableReloadingError)) throw error
      altered = error
    } finally {
      recent.answered(query)
    }
    if (clock.monotonicMs() + waitMs > untilMs) throw altered ?? new BehindError(live.mapping.name, timeoutMs)
    await pause(timers, waitMs, signal ?? new AbortController().signal)
    signal?.throwIfAborted()
  }
}

async function fromDatabase<Row extends object, T>(
  context: ReadContext,
  source: TableSource,
  { options, floor }: Asked,
  question: Question<Row, T>,
): Promise<T> {
  if (question.load !== undefined) return fromLoader(context, floor, question.load)
  const { value, position } = await notBehind(context, source, options, question)
  if (floor !== null) await context.mustCover(floor, position)
  context.session?.observe(position)
  return value
}

/** Nothing is known of what it shows, but that the server had come so far by then. */
async function fromLoader<T>(
  context: ReadContext,
  floor: LogPosition | null,
  load: () => Promise<T>,
): Promise<T> {
  const value = await load()
  if (floor === null && context.session === null) return value
  const position = await context.serverPosition()
  if (floor !== null) await context.mustCover(floor, position)
  context.session?.observe(position)
  return value
}

/** A request's reads see its commit; once PostgreSQL had to be asked, those that follow are not before what it said. */
async function answerInScope<Row extends object, T>(
  context: ReadContext,
  scope: ReadScope,
  source: TableSource,
  { options, floor }: Asked,
  question: Question<Row, T>,
): Promise<T> {
  const { declaration, name } = source.live.mapping
  const mayAsk = scope.onUnknown(options) === 'database'
  const bound = { maxStaleness: context.maxStalenessMs, onStale: context.onStale }
  const snapshot = await scope.at(
    floor === null ? options : { ...options, after: context.tokenOf(floor) },
    bound,
  )
  if (snapshot !== null)
    try {
      const value = await question.snapshot(snapshot.table(declaration as TableDeclaration<Row>))
      context.session?.observe(context.positionOf(snapshot.position))
      const turn = context.pacer.turn()
      if (turn !== null) await turn
      return value
    } catch (error) {
      if (!isUnknown(error) || !mayAsk) throw error
    }
  else if (!mayAsk)
    throw new NotLocalError(name, 'request scope', 'The request reads PostgreSQL: see cache.run().')
  const value = await fromDatabase(context, source, { options, floor }, question)
  scope.databaseWasRead()
  return value
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
): Promise<Pinned | null> {
  const floor = floorOf(context, options)
  const memory = await useOfMemory(context, options, floor)
  if (memory === 'no') return null
  let snapshot: Snapshot
  // In the same run: what is proven later may be of later commits.
  const { provenMs } = context.gate
  try {
    snapshot = open()
  } catch (error) {
    if (!isUnknown(error) || (options.onUnknown ?? context.onUnknown) === 'throw') throw error
    return null
  }
  try {
    if (floor !== null && memory === 'yes')
      await context.mustCover(floor, context.positionOf(snapshot.position))
    return { snapshot, provenMs }
  } catch (error) {
    snapshot.close()
    throw error
  }
}

/** 'yes': memory is at or after the floor, and fresh enough. 'no': PostgreSQL is to answer. 'excused': memory may, although it is before the floor. */
type UseOfMemory = 'yes' | 'no' | 'excused'

/** Whether memory may answer at once. */
function isFreshNow(
  { gate, maxStalenessMs }: ReadContext,
  { maxStaleness = maxStalenessMs }: ReadOptions,
  floor: LogPosition | null,
): boolean {
  return floor === null && gate.stalenessMs() <= maxStaleness
}

/** Whether memory is to answer. If it turns out that it can't, that is another question. */
async function useOfMemory(
  context: ReadContext,
  options: ReadOptions,
  floor: LogPosition | null,
): Promise<UseOfMemory> {
  const use = floor === null ? 'yes' : await reach(context, floor, options)
  return use === 'no' || !(await isFresh(context, options)) ? 'no' : use
}

/** Waits for memory to reach the floor. PostgreSQL is past every token. */
async function reach(context: ReadContext, floor: LogPosition, options: ReadOptions): Promise<UseOfMemory> {
  const { timeoutMs, signal } = options
  try {
    await context.waitFor(floor, {
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(signal === undefined ? {} : { signal }),
    })
    return 'yes'
  } catch (error) {
    if (!isNotReached(error)) throw error
    const policy = timeoutPolicy(context, options)
    if (policy === 'throw') throw error
    return policy === 'serve' ? 'excused' : 'no'
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
  return policy === 'serve'
}

/** Errors that say that memory has not come as far as a token. */
function isNotReached(error: unknown): boolean {
  return error instanceof NotReadyError || error instanceof WaitTimeoutError
}

/** Whether a read of a bounded table has met a key, or a value of an index, that PostgreSQL can be asked for. */
export function isFillable(error: unknown): boolean {
  return (
    error instanceof NotLocalError && (error.reason === 'unknown key' || error.reason === 'unknown value')
  )
}

/** Errors that say that memory can't answer, not that the question is wrong. */
export function isUnknown(error: unknown): boolean {
  return (
    error instanceof NotLocalError ||
    error instanceof SnapshotMissError ||
    error instanceof MemoryLimitError ||
    error instanceof PoisonError ||
    error instanceof NotReadyError ||
    error instanceof TableReloadingError
  )
}
