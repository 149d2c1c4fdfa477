import { formatLsn, type Lsn } from './change/lsn.js'

/**
 * Every error that walcache hands to a caller. `code` is stable; the message says what happened, why, and
 * what to do, and never contains a row's values, a key or a secret; `cause` keeps the original.
 */
export abstract class CacheError extends Error {
  abstract readonly code: string
  /** Whether the same attempt may succeed later without anybody changing anything. */
  readonly transient: boolean = false

  override get name(): string {
    return this.constructor.name
  }
}

/** An option that is malformed, contradicts another, or names what this version does not do. */
export class OptionError extends CacheError {
  readonly code = 'CACHE_OPTION'
  constructor(
    readonly option: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`Option "${option}": ${problem}`, options)
  }
}

/** One thing that keeps the cache from starting, and what to do about it. */
export interface SetupProblem {
  /** A stable word for the kind, as in `missing-table`. */
  readonly kind: string
  /** `schema.table`, where the problem has one. */
  readonly table?: string
  readonly property?: string
  readonly column?: string
  /** What is wrong, why it matters, what to do. */
  readonly message: string
}

/** Kinds of problems that end by themselves: when another process goes, or a standby is promoted. */
const PASSING_PROBLEMS: ReadonlySet<string> = new Set([
  'no-free-slot',
  'no-free-sender',
  'standby',
  'synchronous-standby',
])

/** The declared tables and the server do not fit: all problems found, in one error. */
export class SetupError extends CacheError {
  readonly code = 'CACHE_SETUP'
  override readonly transient: boolean
  constructor(
    readonly problems: readonly SetupProblem[],
    options?: ErrorOptions,
  ) {
    const list = problems.map(problem => `\n  - ${problemText(problem)}`).join('')
    super(
      `The cache can't start: ${problems.length} problem${problems.length === 1 ? '' : 's'}.${list}`,
      options,
    )
    this.transient = problems.every(({ kind }) => PASSING_PROBLEMS.has(kind))
  }
}

function problemText({ table, property, column, message }: SetupProblem): string {
  const where = [
    table === undefined ? undefined : `table ${table}`,
    property === undefined ? undefined : `property ${property}`,
    column === undefined ? undefined : `column ${column}`,
  ].filter(part => part !== undefined)
  return where.length === 0 ? message : `${where.join(', ')}: ${message}`
}

/** The publication is missing or lacks tables, and this role may not mend it: `sql` is what its owner has to run. */
export class PublicationError extends CacheError {
  readonly code = 'CACHE_PUBLICATION'
  constructor(
    readonly publication: string,
    problem: string,
    readonly sql: string,
    options?: ErrorOptions,
  ) {
    super(`Publication "${publication}": ${problem} Let a role that may do so run:\n${sql}`, options)
  }
}

export type ConnectionFailure =
  | 'authentication'
  | 'database'
  | 'host'
  | 'tls'
  | 'replication-right'
  | 'senders'
  | 'refused'
  | 'lost'
  /** The other side has stopped answering: nobody has said that the connection ended. */
  | 'silent'
  | 'protocol'

/** PostgreSQL could not be reached or talked to. `transient` tells whether trying again makes sense. */
export class ConnectionError extends CacheError {
  readonly code = 'CACHE_CONNECTION'
  constructor(
    readonly failure: ConnectionFailure,
    message: string,
    override readonly transient: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** The replication slot could not be made or used. */
export class SlotError extends CacheError {
  readonly code = 'CACHE_SLOT'
  constructor(
    readonly slot: string,
    problem: string,
    override readonly transient: boolean,
    options?: ErrorOptions,
  ) {
    super(`Replication slot "${slot}": ${problem}`, options)
  }
}

/** Another process streams from the slot that this cache was told to use: each process needs a name of its own. */
export class SlotInUseError extends CacheError {
  readonly code = 'CACHE_SLOT_IN_USE'
  override readonly transient = true
  constructor(
    readonly slot: string,
    readonly pid: number,
    user: string,
    options?: ErrorOptions,
  ) {
    super(
      `Replication slot "${slot}" is in use by the server's process ${pid} (${user}). A slot serves one process: ` +
        'two would each see half of the changes. Give each process a slot name of its own, or leave the option out.',
      options,
    )
  }
}

/** The change stream holds something that is not what the protocol says. */
export class DecodeError extends CacheError {
  readonly code = 'CACHE_DECODE'
  override readonly transient = true
  /** Whose change it was, `schema.table`, where that is known. */
  readonly table: string | undefined
  constructor(
    readonly decoder: string,
    problem: string,
    /** The frame's position, where it is known. */
    readonly lsn?: Lsn,
    options?: ErrorOptions & { readonly table?: string | undefined },
  ) {
    super(
      `The ${decoder} stream can't be decoded${lsn === undefined ? '' : ` at ${formatLsn(lsn)}`}: ${problem} ` +
        `The cache starts over from a new slot; if it recurs, something between the server and this process alters the bytes.`,
      options,
    )
    this.table = options?.table
  }
}

/**
 * What a transaction or a load brings can't be taken into memory, however often it is tried: a value that can't be decoded, a row that the server
 * itself can't read, a mistake in walcache. Trying goes no further.
 */
export class PoisonError extends CacheError {
  readonly code = 'CACHE_POISON'
  constructor(
    /** `schema.table`; null if it could not be told which, and then the whole cache has ended. */
    readonly table: string | null,
    /** Where the transaction's commit is in the server's log, or where the stream stood; null if it was the load that failed. */
    readonly lsn: Lsn | null,
    readonly attempts: number,
    options: { readonly cause: Error },
  ) {
    const what = lsn === null ? 'The load' : `A transaction at ${formatLsn(lsn)}`
    super(
      `${what}${table === null ? '' : ` of table ${table}`} can't be taken into memory: it was tried ${attempts} times in a row. ` +
        `${table === null ? 'The cache has ended' : 'The table is not answered from memory any more, while the others are'}: ${options.cause.message} ` +
        'Find out what is wrong with those rows, or report it if nothing is, and open the cache anew.',
      options,
    )
  }
}

/** A change names a row or shape that contradicts what memory holds: the copy can't be trusted and is loaded anew. */
export class DivergedError extends CacheError {
  readonly code = 'CACHE_DIVERGED'
  override readonly transient = true
  constructor(
    readonly table: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`Table ${table}: ${problem} The cache is being loaded anew.`, options)
  }
}

/** A table was changed in a way that the stream does not tell, and is being read anew: memory does not answer for it meanwhile. */
export class TableReloadingError extends CacheError {
  readonly code = 'CACHE_TABLE_RELOADING'
  override readonly transient = true
  constructor(
    readonly table: string,
    why = 'was altered, or its publication was, in a way that the change stream does not tell',
    options?: ErrorOptions,
  ) {
    super(
      `Table ${table} ${why}. It is being read anew, beside the others. ` +
        'The asynchronous reads ask PostgreSQL meanwhile.',
      options,
    )
  }
}

/** A table no longer fits its declaration: it is not answered until somebody puts it right, which the cache notices. The other tables go on. */
export class TableChangedError extends CacheError {
  readonly code = 'CACHE_TABLE_CHANGED'
  constructor(
    readonly table: string,
    options: { readonly cause: CacheError },
  ) {
    const { cause } = options
    const problems = cause instanceof SetupError ? cause.problems.map(problemText).join('; ') : cause.message
    super(
      `Table ${table} no longer fits its declaration, so it is not answered, while the others are: ${problems} ` +
        'Put the table right, which is noticed by itself, or change the declaration and restart.',
      options,
    )
  }
}

/** A table, or all of them, would need more memory than allowed; the table is no longer answered from memory. */
export class MemoryLimitError extends CacheError {
  readonly code = 'CACHE_MEMORY_LIMIT'
  constructor(
    readonly table: string,
    readonly limitBytes: number,
    options?: ErrorOptions,
  ) {
    super(
      `Table ${table} would need more than the ${limitBytes} bytes it may use, so it is not answered from memory. ` +
        `Raise the "memory" option, map fewer columns, or leave the table out.`,
      options,
    )
  }
}

export type NotLocalReason =
  | 'key type'
  | 'table'
  | 'loading'
  | 'stale'
  | 'unknown key'
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
    problem: string,
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

/** The error of a failed assertion: walcache itself is wrong, nobody else can act on it. */
export class InternalError extends CacheError {
  readonly code = 'CACHE_INTERNAL'
}

/** States what must be true. */
export function assert(condition: boolean, mustBeTrue: string): asserts condition {
  if (!condition) throw new InternalError(`walcache is wrong about this: ${mustBeTrue}. Please report it.`)
}

/** `thrown` as an Error, whatever was thrown. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
