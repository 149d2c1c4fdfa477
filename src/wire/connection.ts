import type pg from 'pg'
import { OptionError } from '../errors.js'
import type { Connections, QueryConnection, ReplicationConnection, Timers } from '../runtime.js'
import { clientConfig, type ConnectionSource, type SessionSettings } from './config.js'
import { type Attempt, connectError } from './connect-errors.js'
import { PgQueryConnection } from './query-connection.js'
import { PgReplicationConnection } from './replication-connection.js'
import { prepareSession } from './session.js'
import type { Opening } from './socket.js'

/** How long a connection may take, if the pool's configuration does not say. */
const CONNECT_LIMIT_MS = 10_000
/** How long another session may take to end one of ours. */
const TERMINATE_LIMIT_MS = 1_000

export interface ConnectionOptions {
  /** Where the replication connection goes, if not where the pool does, or as which role. */
  readonly replication?: ConnectionSource
  readonly settings: SessionSettings
  /** Names our sessions in `pg_stat_activity`, and in `synchronous_standby_names`, where it must not stand. */
  readonly applicationName: string
  readonly timers: Timers
}

/** `pg-pool` declares neither its configuration nor the client that it makes. */
interface PoolInternals {
  readonly options: pg.PoolConfig
  readonly Client: typeof pg.Client
}

/**
 * The database of the caller's pool, as connections of our own: none is taken from the pool.
 *
 * @throws {OptionError} if `replication` is no URL.
 */
export function connectionsOf(pool: pg.Pool, options: ConnectionOptions): Connections {
  const { options: poolOptions, Client } = pool as unknown as PoolInternals
  const { settings, applicationName, timers } = options
  const configOf = (source: ConnectionSource) => clientConfig(source, settings, applicationName, process.env)
  const limitMs = poolOptions.connectionTimeoutMillis || CONNECT_LIMIT_MS

  const opening = (source: ConnectionSource, openingMs: number, signal?: AbortSignal): Opening => ({
    config: configOf(source),
    timers,
    limitMs: openingMs,
    signal,
    prepare: session => prepareSession(session, settings),
  })
  const replicationSource = options.replication ?? poolOptions
  checkReplication(options.replication, configOf)

  function query(signal?: AbortSignal, by: 'pool' | 'replication' = 'pool'): Promise<QueryConnection> {
    const how = opening(by === 'pool' ? poolOptions : replicationSource, limitMs, signal)
    return explained('query', how, () => PgQueryConnection.open(Client, how))
  }

  function replication(signal?: AbortSignal): Promise<ReplicationConnection> {
    const how = opening(replicationSource, limitMs, signal)
    return explained('replication', how, () => PgReplicationConnection.open(how, terminate))
  }

  async function terminate(pid: number): Promise<void> {
    const how = opening(replicationSource, TERMINATE_LIMIT_MS)
    const session = await PgQueryConnection.open(Client, how)
    const cancel = timers.after(TERMINATE_LIMIT_MS, () => void session.close())
    try {
      await session.query('select pg_terminate_backend($1)', [String(pid)])
    } finally {
      cancel()
      await session.close()
    }
  }

  return { query, replication }
}

async function explained<C>(
  purpose: Attempt['purpose'],
  { config, signal }: Opening,
  open: () => Promise<C>,
): Promise<C> {
  try {
    return await open()
  } catch (error) {
    signal?.throwIfAborted()
    throw connectError(error, { purpose, user: config.user })
  }
}

function checkReplication(
  source: ConnectionSource | undefined,
  configOf: (source: ConnectionSource) => unknown,
): void {
  if (source === undefined) return
  try {
    configOf(source)
  } catch {
    // No cause: it might quote the URL, and with it the password.
    throw new OptionError('replication', 'give the URL of the server, or what pg.Client takes.')
  }
}
