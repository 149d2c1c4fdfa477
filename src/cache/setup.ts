import type pg from 'pg'
import type { Relation } from '../change/relation.js'
import { OptionError, SetupError } from '../errors.js'
import { fingerprintSql } from '../freshness/fingerprint.js'
import { readCatalog, type ServerFacts } from '../mapping/catalog.js'
import type { TableMapping } from '../mapping/mapping.js'
import { declaredTables, resolveMappings } from '../mapping/registry.js'
import { CALLER_SESSION_SQL, type CallerSession } from '../mapping/session.js'
import { unlessAborted } from '../runtime.js'
import { connectError } from '../wire/connect-errors.js'
import { ensurePublication } from '../wire/publication.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { ResolvedOptions } from './options.js'

/** The declared tables, found and fit, and what has to be known of the server they are on. */
export interface Setup {
  readonly mappings: readonly TableMapping[]
  readonly server: ServerFacts
  readonly publication: string
  /** What the tables look like: a generation is good as long as this does not change. */
  readonly fingerprint: string
}

/** The caller's own `pg`: its clients know its type parsers. */
interface PoolInternals {
  readonly options: pg.PoolConfig
  readonly Client: new (config: pg.PoolConfig) => pg.Client
}

/**
 * The settings of the caller's own sessions that show in the text of values: ours are to have the same.
 *
 * @throws {ConnectionError} if the pool can't connect. @throws {OptionError} if it has been ended. Rejects with the signal's reason when it aborts.
 */
export async function callerSession(pool: pg.Pool, signal?: AbortSignal): Promise<CallerSession> {
  if (pool.ending) throw new OptionError('pool', 'it has been ended; give one that is in use.')
  try {
    const asked = pool.query<{ [K in keyof CallerSession]: string }>(CALLER_SESSION_SQL)
    // A pool can't be told to stop connecting, or waiting for a client.
    const { rows } = await unlessAborted(asked, signal)
    return rows[0]!
  } catch (error) {
    signal?.throwIfAborted()
    throw connectError(error, { purpose: 'query', user: pool.options.user })
  }
}

/**
 * Checks everything declared against the catalogue, and sees to the publication.
 *
 * @throws {SetupError} with all problems at once. @throws {PublicationError} @throws {ConnectionError}
 */
export async function prepare(
  options: ResolvedOptions,
  session: CallerSession,
  sessions: SessionPool,
  signal: AbortSignal,
): Promise<Setup> {
  return sessions.run(async connection => {
    const catalog = await readCatalog(connection, declaredTables(options.entities))
    const { mappings, problems, warnings } = resolveMappings(options.entities, catalog, {
      decoder: options.decoder,
      parserFor: parsersOf(options.pool),
      session,
    })
    for (const warning of warnings) options.logger.warn(warning)
    if (problems.length > 0) throw new SetupError(problems)
    const { name: publication } = await ensurePublication(connection, {
      tables: mappings,
      ...(options.publication === undefined ? {} : { name: options.publication }),
    })
    const [row] = await connection.query(`SELECT ${fingerprintSql(catalog.server.version)} AS fingerprint`, [
      `{${mappings.map(({ oid }) => oid).join(',')}}`,
      publication,
    ])
    return { mappings, server: catalog.server, publication, fingerprint: row!['fingerprint']! }
  }, signal)
}

function parsersOf(pool: pg.Pool): (typeOid: number) => (text: string) => unknown {
  const { Client, options } = pool as unknown as PoolInternals
  const client = new Client(options)
  return typeOid => client.getTypeParser(typeOid, 'text') as (text: string) => unknown
}

/** The mapped tables in the stream's words. */
export function relationsOf(mappings: readonly TableMapping[]): Relation[] {
  return mappings.map(({ oid, schema, table, replicaIdentity, columns, key }) => ({
    oid,
    schema,
    name: table,
    replicaIdentity,
    columns: columns.map(({ column, typeOid, typeModifier }, position) => ({
      name: column,
      typeOid,
      typeModifier,
      isKey: key.includes(position),
    })),
  }))
}
