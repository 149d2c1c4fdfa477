import type pg from 'pg'
import { asError, OptionError, WriteError } from '../errors.js'
import { type LogPages, positionColumns, readPosition } from '../freshness/server-position.js'
import type { LogPosition } from '../freshness/token.js'
import { type TextRow, unlessAborted } from '../runtime.js'
import { isServerError, meansLost } from '../wire/connect-errors.js'
import type { Isolation, Queryable, WriteOptions } from './types.js'

const ISOLATIONS: readonly Isolation[] = ['read committed', 'repeatable read', 'serializable']
const OPTIONS: readonly string[] = ['isolation', 'signal']

/** SQLSTATE. */
const IN_FAILED_TRANSACTION = '25P02'

/**
 * One message, so that the position costs no round trip. The flushed position is at or after a commit that waited for its flush. One that did
 * not (`synchronous_commit` may be set for this transaction alone, so it is asked for before its end), or that wrote nothing and may have
 * seen such a one, is only covered by the insert position.
 */
const COMMIT = `SELECT current_setting('synchronous_commit') = 'off' OR pg_catalog.pg_current_xact_id_if_assigned() IS NULL AS unflushed;
  COMMIT;
  SELECT ${positionColumns('pg_catalog.pg_current_wal_insert_lsn()')}, pg_catalog.pg_current_wal_flush_lsn() AS flushed`

/** Whatever parsers the caller's pool has. */
const asText: pg.CustomTypesConfig = { getTypeParser: () => (text: string) => text }

/**
 * Runs `work` in a transaction on a client of `pool`, and gives its result and a position at or after its commit.
 *
 * @throws {WriteError} @throws whatever `work`, or the commit, was rejected with; then it is rolled back.
 */
export async function write<T>(
  pool: pg.Pool,
  pages: LogPages,
  work: (client: pg.PoolClient) => Promise<T>,
  options: WriteOptions,
): Promise<{ readonly result: T; readonly position: LogPosition }> {
  check(work, options)
  const { isolation, signal } = options
  signal?.throwIfAborted()
  const client = await connect(pool, signal)
  let lost: Error | undefined
  // A client that is checked out has no listener of the pool's: without one, its loss would end the process.
  const onError = (error: Error): void => {
    lost = error
  }
  client.on('error', onError)
  try {
    await client.query(isolation === undefined ? 'BEGIN' : `BEGIN ISOLATION LEVEL ${isolation}`)
    const result = await unlessAborted((async () => work(client))(), signal)
    return { result, position: await commit(client, pages) }
  } catch (error) {
    // What was given up may still have a query under way: the connection's end is what rolls it back.
    if (signal?.aborted || isUnknown(error)) lost ??= asError(error)
    if (lost === undefined)
      await client.query('ROLLBACK').catch((failure: unknown) => {
        lost = asError(failure)
      })
    throw error
  } finally {
    client.off('error', onError)
    client.release(lost)
  }
}

function isUnknown(error: unknown): boolean {
  return error instanceof WriteError && error.outcome === 'unknown'
}

async function connect(pool: pg.Pool, signal: AbortSignal | undefined): Promise<pg.PoolClient> {
  const connecting = pool.connect()
  try {
    return await unlessAborted(connecting, signal)
  } catch (error) {
    // A pool can't be told to stop waiting for a client: what comes goes back at once.
    connecting.then(
      client => client.release(),
      () => undefined,
    )
    throw error
  }
}

async function commit(client: pg.PoolClient, pages: LogPages): Promise<LogPosition> {
  let answers: pg.QueryResult<TextRow>[]
  try {
    const sent: unknown = client.query<TextRow>({ text: COMMIT, types: asText })
    answers = (await sent) as pg.QueryResult<TextRow>[]
  } catch (error) {
    if (meansLost(error)) throw new WriteError('unknown', { cause: error })
    if (isServerError(error) && error.code === IN_FAILED_TRANSACTION)
      throw new WriteError('rolled back', { cause: error })
    throw error
  }
  const [before, committed, after] = answers
  if (committed!.command !== 'COMMIT') throw new WriteError('rolled back')
  const place = after!.rows[0]!
  const isUnflushed = before!.rows[0]!['unflushed'] === 't'
  return readPosition(isUnflushed ? place : { ...place, position: place['flushed']! }, pages)
}

function check(work: unknown, options: WriteOptions): void {
  if (typeof work !== 'function') throw new OptionError('write', 'give a function that takes a client.')
  for (const option of Object.keys(options))
    if (!OPTIONS.includes(option)) throw new OptionError(option, 'there is no such option of cache.write.')
  if (options.isolation !== undefined && !ISOLATIONS.includes(options.isolation))
    throw new OptionError('isolation', `give one of ${ISOLATIONS.map(level => `'${level}'`).join(', ')}.`)
}

// In a statement of its own, the two times are one; in a transaction, the transaction began with an earlier statement.
const POSITION_ON_CLIENT = `SELECT ${positionColumns('pg_catalog.pg_current_wal_insert_lsn()')}, (pg_catalog.now() <> pg_catalog.statement_timestamp())::text AS inside`

/**
 * The position of the server that `client` is connected to: at or after everything that this client has committed.
 *
 * @throws {OptionError} inside a transaction: its commit would come after the position. @throws what the client's query rejects with.
 */
export async function positionOn(client: Queryable, pages: LogPages): Promise<LogPosition> {
  if (typeof (client as Partial<Queryable> | null)?.query !== 'function')
    throw new OptionError('client', 'give a client or pool of pg, or leave it out.')
  const inside = (cause?: unknown): OptionError =>
    new OptionError(
      'client',
      'it is inside a transaction, whose commit would come after the token: take it after the COMMIT.',
      { cause },
    )
  const { rows } = await client.query(POSITION_ON_CLIENT).catch((error: unknown) => {
    throw isServerError(error) && error.code === IN_FAILED_TRANSACTION ? inside(error) : error
  })
  const row = rows[0] as TextRow
  if (row['inside'] !== 'false') throw inside()
  return readPosition(row, pages)
}
