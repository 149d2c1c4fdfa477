import { formatLsn, type Lsn } from '../change/lsn.js'
import { CacheError } from './base.js'
import { problemText, SetupError } from './server.js'

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
        'The asynchronous reads ask PostgreSQL meanwhile, unless its columns have other types.',
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
