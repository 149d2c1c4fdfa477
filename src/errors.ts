import { CacheError } from './errors/base.js'

// Every error that a caller can meet: what is wrong with the server or the set-up, what with the copy in memory, and, here, what with a read or a write.
export { asError, assert, CacheError, InternalError } from './errors/base.js'
export {
  DecodeError,
  DivergedError,
  MemoryLimitError,
  PoisonError,
  TableChangedError,
  TableReloadingError,
} from './errors/memory.js'
export {
  ConnectionError,
  type ConnectionFailure,
  OptionError,
  PublicationError,
  SetupError,
  type SetupProblem,
  SlotError,
  SlotInUseError,
} from './errors/server.js'
export { SnapshotNotAlignedError, StrictSnapshotLimitError } from './errors/strict.js'

/** Why memory could not prove an answer: docs/errors.md says of each what to do. */
export type NotLocalReason =
  | 'key type'
  | 'table'
  | 'unknown key'
  | 'unknown value'
  | 'request scope'
  | 'type'
  | 'collation'
  | 'value'
  | 'scan limit'

/** Memory can't prove the answer to a read that must not leave the process. The asynchronous reads ask PostgreSQL instead. */
export class NotLocalError extends CacheError {
  readonly code = 'CACHE_NOT_LOCAL'
  constructor(
    readonly table: string,
    readonly reason: NotLocalReason,
    explanation: string,
    options?: ErrorOptions,
  ) {
    super(`Table ${table} can't be read locally (${reason}): ${explanation}`, options)
  }
}

/** Nothing shows that memory is younger than the read allows. */
export class StaleError extends CacheError {
  readonly code = 'CACHE_STALE'
  override readonly transient = true
  constructor(
    readonly stalenessMs: number,
    readonly maxStalenessMs: number,
    options?: ErrorOptions,
  ) {
    super(
      `Memory is ${Number.isFinite(stalenessMs) ? `shown to be at most ${Math.ceil(stalenessMs)} ms old` : 'of unknown age'}, ` +
        `more than the ${maxStalenessMs} ms this read allows. The connection is watched and mended by itself; ` +
        `until then raise maxStaleness, or set onStale to 'database' or 'serve'.`,
      options,
    )
  }
}

/** The cache has not loaded its tables yet. */
export class NotReadyError extends CacheError {
  readonly code = 'CACHE_NOT_READY'
  override readonly transient = true
  constructor(options?: ErrorOptions) {
    super(
      'The cache has not loaded its tables yet. Await cache.ready(), or use the asynchronous reads, which ask PostgreSQL meanwhile.',
      options,
    )
  }
}

/** The cache was closed, or gave up for the reason in `cause`. */
export class ClosedError extends CacheError {
  readonly code = 'CACHE_CLOSED'
  constructor(options?: ErrorOptions) {
    super(
      options?.cause === undefined
        ? 'The cache is closed. Open a new one to read again.'
        : `The cache has stopped for good: ${options.cause instanceof Error ? options.cause.message : String(options.cause)}`,
      options,
    )
  }
}

/** A snapshot outlived `snapshotMaxAgeMs` or was released; the versions it saw may be gone. */
export class SnapshotTooOldError extends CacheError {
  readonly code = 'CACHE_SNAPSHOT_TOO_OLD'
  override readonly transient = true
  constructor(why: string, options?: ErrorOptions) {
    super(`The snapshot can't be read any more: ${why} Take a new one with cache.snapshot().`, options)
  }
}

/** A snapshot was asked for a row of a bounded table that memory did not hold then, and what it was at that commit can't be told any more. */
export class SnapshotMissError extends CacheError {
  readonly code = 'CACHE_SNAPSHOT_MISS'
  override readonly transient = true
  constructor(
    readonly table: string,
    why: string,
    options?: ErrorOptions,
  ) {
    super(
      `A row of table ${table} was not in memory when the snapshot was taken, and its state at that commit is not known: ${why}. ` +
        'Take a new one with cache.snapshot() and read again, or prefetch the keys before.',
      options,
    )
  }
}

/** A key that can't be one of this table's: of the wrong type, or lacking a column. */
export class KeyError extends CacheError {
  readonly code = 'CACHE_KEY'
  constructor(
    readonly table: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`Key of table ${table}: ${problem}`, options)
  }
}

/** A query that means nothing for its table: an unknown property or operator, `undefined`, or a value that its column can't have. */
export class QueryError extends CacheError {
  readonly code = 'CACHE_QUERY'
  constructor(
    readonly table: string,
    readonly problem: string,
    options?: ErrorOptions,
  ) {
    super(`Query of table ${table}: ${problem}`, options)
  }
}

/** `findUniqueOrThrow` found no row. */
export class NotFoundError extends CacheError {
  readonly code = 'CACHE_NOT_FOUND'
  constructor(
    readonly table: string,
    options?: ErrorOptions,
  ) {
    super(`Table ${table} has no row with this key.`, options)
  }
}

/** A text that is not a token of this database, or that names a position which this database can't have reached. */
export class TokenError extends CacheError {
  readonly code = 'CACHE_TOKEN'
  constructor(problem: string, options?: ErrorOptions) {
    super(`Token refused: ${problem}`, options)
  }
}

/**
 * The token names a position of a timeline that the server has left: it was failed over, or restored, and what was written there is gone, or
 * can't be shown to have survived.
 */
export class TokenLostError extends CacheError {
  readonly code = 'CACHE_TOKEN_LOST'
  constructor(
    readonly timeline: number,
    options?: ErrorOptions,
  ) {
    super(
      `The token is of timeline ${timeline}, which the server has left: it was failed over or restored, and the write that the token names ` +
        'may be lost. Read without the token, and start a new session.',
      options,
    )
  }
}

/** A `cache.write` that has no result: its transaction was rolled back without an error of its own, or nobody knows how it ended. */
export class WriteError extends CacheError {
  readonly code = 'CACHE_WRITE'
  constructor(
    readonly outcome: 'rolled back' | 'unknown',
    options?: ErrorOptions,
  ) {
    super(
      outcome === 'unknown'
        ? 'The connection was lost while the transaction was being committed: it may be committed, or not. Look before you repeat it.'
        : 'PostgreSQL rolled the transaction back: a statement in it had failed, and the function given to cache.write caught that error and went on. ' +
            'Let it be thrown, or set a savepoint before what may fail.',
      options,
    )
  }
}

/** The position that a token names was not reached in time. */
export class WaitTimeoutError extends CacheError {
  readonly code = 'CACHE_WAIT_TIMEOUT'
  override readonly transient = true
  constructor(
    readonly timeoutMs: number,
    options?: ErrorOptions,
  ) {
    super(
      `The cache did not reach the token's position within ${timeoutMs} ms. See cache.health() for how far behind it is.`,
      options,
    )
  }
}

/**
 * PostgreSQL does not show yet what memory has shown already: a commit waits for a synchronous standby. Its answer would take the reader back.
 */
export class BehindError extends CacheError {
  readonly code = 'CACHE_BEHIND'
  override readonly transient = true
  constructor(
    readonly table: string,
    readonly timeoutMs: number,
    options?: ErrorOptions,
  ) {
    super(
      `Table ${table}: for ${timeoutMs} ms PostgreSQL did not show a commit that memory has shown already, since that commit waits for a synchronous ` +
        'standby. Its answer would have gone back, so it was not given. See synchronous_standby_names and the standbys; reads from memory go on.',
      options,
    )
  }
}

/** Too many reads are waiting for PostgreSQL already: this one was not sent, so that a slow primary is not stampeded. */
export class OverloadedError extends CacheError {
  readonly code = 'CACHE_OVERLOADED'
  override readonly transient = true
  constructor(
    readonly waiting: number,
    options?: ErrorOptions,
  ) {
    super(
      `${waiting} reads are waiting for PostgreSQL already, so this one was not sent. Shed load, or raise databaseGate.`,
      options,
    )
  }
}

/** A read that fell through to PostgreSQL failed there. */
export class DatabaseReadError extends CacheError {
  readonly code = 'CACHE_DATABASE_READ'
  override readonly transient = true
  constructor(
    readonly table: string,
    options: ErrorOptions,
  ) {
    const state = (options.cause as { code?: unknown } | undefined)?.code
    super(
      `Table ${table} could not be read from PostgreSQL${typeof state === 'string' ? ` (${state})` : ''}; the cause has the details.`,
      options,
    )
  }
}
