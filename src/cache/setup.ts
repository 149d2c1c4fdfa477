import type pg from 'pg'
import type { DecoderLimits } from '../change/limits.js'
import { decoders } from '../decode/index.js'
import { OptionError, type PoisonError, SetupError, type SetupProblem, TableChangedError } from '../errors.js'
import { FILES_SQL } from '../freshness/files.js'
import { type Fingerprint, fingerprintSql, parseFingerprint } from '../freshness/fingerprint.js'
import { type Catalog, readCatalog, type ServerFacts } from '../mapping/catalog.js'
import type { TableMapping } from '../mapping/mapping.js'
import { overlapProblems } from '../mapping/partition-check.js'
import { declaredTables, type ResolveOptions, resolveMappings, resolveTables } from '../mapping/registry.js'
import { CALLER_SESSION_SQL, type CallerSession, isUtc } from '../mapping/session.js'
import { keptRows } from '../query/kept-rows.js'
import { type Connections, type QueryConnection, unlessAborted } from '../runtime.js'
import { connectError } from '../wire/connect-errors.js'
import { ensurePublication, narrowedTables } from '../wire/publication.js'
import { pluginHasOption, temporarySlotName } from '../wire/slot.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { ResolvedOptions } from './options.js'
import { namesUs, synchronousStandby } from './standby-names.js'

/** The declared tables, found and fit, and what has to be known of the server they are on. */
export interface Setup {
  readonly mappings: readonly TableMapping[]
  readonly server: ServerFacts
  /** Empty where the decoder needs none. */
  readonly publication: string
  /** Whether the output plugin is to send numbers as text: nothing of them is lost then. */
  readonly numbersAsText: boolean
  /** Declared tables that can't be kept: those that fitted when the cache was opened, and no longer do, as they were; and poisoned ones. */
  readonly out: readonly {
    readonly mapping: TableMapping
    readonly error: TableChangedError | PoisonError
  }[]
  /** What the tables look like: a generation is good as long as this does not change. */
  readonly fingerprint: Fingerprint
  /** Which files they are in, if TRUNCATE has to be noticed by that; else null. */
  readonly files: string | null
}

/** What tables look like, and which files they are in; null where nobody asks. */
export type Looks = Pick<Setup, 'fingerprint' | 'files'>

/** A setup that tables are added to. */
export interface GrowingSetup extends Setup {
  readonly mappings: TableMapping[]
}

const STANDBYS = `SELECT current_setting('synchronous_standby_names') AS standbys`

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

/** The same over connections that are not the pool's: a session of theirs is as good as the caller's. */
export async function sessionOver(connections: Connections, signal: AbortSignal): Promise<CallerSession> {
  const connection = await connections.query(signal)
  try {
    const [row] = await connection.query(CALLER_SESSION_SQL)
    return row as unknown as CallerSession
  } finally {
    await connection.close()
  }
}

/**
 * Checks everything declared against the catalogue, and sees to the publication. A table that fitted at the last time, in `before`, and no longer
 * does is left out; the others go on.
 *
 * @throws {SetupError} with all problems at once. @throws {PublicationError} @throws {ConnectionError}
 */
export async function prepare(
  options: ResolvedOptions,
  session: CallerSession,
  sessions: SessionPool,
  signal: AbortSignal,
  before: Setup | null = null,
): Promise<Setup> {
  return sessions.run(async connection => {
    const ownSlot = options.durableSlot?.name ?? null
    const catalog = await readCatalog(connection, declaredTables(options.entities), ownSlot)
    const decoder: DecoderLimits = decoders[options.decoder].limits
    const numbersAsText = await sendsNumbersAsText(connection, options, catalog)
    const { mappings, problems, warnings } = resolveMappings(
      options.entities,
      catalog,
      resolveOptionsFor(options, session, numbersAsText),
    )
    for (const warning of warnings) options.logger.warn(warning)
    const [row] = await connection.query(STANDBYS)
    const all = namesUs(row!['standbys']!) ? [...problems, synchronousStandby] : problems
    const out = leftOut(all, before)
    const publication = await publicationFor(connection, options.publication, mappings, decoder)
    const found = { mappings, out, server: catalog.server, publication }
    const withFiles = !decoder.truncate && !options.assumed.noTruncate
    return { ...found, numbersAsText, ...(await readFingerprint(connection, found, withFiles)) }
  }, signal)
}

function resolveOptionsFor(
  { decoder, assumed, pool }: ResolvedOptions,
  session: CallerSession,
  numbersAsText: boolean,
): ResolveOptions {
  return {
    decoder: decoders[decoder].limits,
    assumed: { finite: assumed.finite || numbersAsText, utc: isUtc(session) },
    parserFor: parsersOf(pool),
    filterFor: keptRows,
    session,
  }
}

/** The tables that no longer fit. @throws {SetupError} for problems of the server, or of tables that never did, or if none is left. */
function leftOut(problems: readonly SetupProblem[], before: Setup | null): Setup['out'] {
  if (problems.length === 0) return []
  const known = before === null ? [] : [...before.mappings, ...before.out.map(({ mapping }) => mapping)]
  const out = known.flatMap(mapping => {
    const own = problems.filter(({ table }) => table === mapping.name)
    return own.length === 0
      ? []
      : [{ mapping, error: new TableChangedError(mapping.name, { cause: new SetupError(own) }) }]
  })
  const isOut = (problem: SetupProblem): boolean => out.some(({ mapping }) => mapping.name === problem.table)
  if (!problems.every(isOut) || out.length === known.length) throw new SetupError(problems)
  return out
}

/**
 * One declared table as the catalogue has it now.
 *
 * @throws {SetupError} if it does not fit.
 */
export async function resolveAgain(
  connection: QueryConnection,
  options: ResolvedOptions,
  session: CallerSession,
  { numbersAsText, mappings: all }: Pick<Setup, 'numbersAsText' | 'mappings'>,
  { declaration }: TableMapping,
): Promise<TableMapping> {
  const catalog = await readCatalog(connection, declaredTables([declaration]))
  const how = resolveOptionsFor(options, session, numbersAsText)
  const { mappings, problems } = resolveTables([declaration], catalog, how)
  const others = all.filter(mapping => mapping.declaration !== declaration)
  const found = [...problems, ...overlapProblems([...others, ...mappings])]
  if (found.length > 0) throw new SetupError(found)
  return mappings[0]!
}

/**
 * A table that is declared later than the others, as the catalogue has it.
 *
 * @throws {SetupError} with everything that is wrong with it.
 */
export async function resolveAdded(
  connection: QueryConnection,
  options: ResolvedOptions,
  session: CallerSession,
  { numbersAsText, mappings }: Pick<Setup, 'numbersAsText' | 'mappings'>,
  declaration: object,
): Promise<TableMapping> {
  const catalog = await readCatalog(connection, declaredTables([declaration]))
  const asText = numbersAsText || (await sendsNumbersAsText(connection, options, catalog))
  const how = resolveOptionsFor(options, session, asText)
  const found = resolveTables([declaration], catalog, how)
  const problems = [...found.problems]
  const [mapping] = found.mappings
  if (mapping !== undefined && mappings.some(({ oid }) => oid === mapping.oid))
    problems.push({
      kind: 'duplicate-table',
      table: mapping.name,
      message: 'another declaration of the cache keeps it already. Use that one.',
    })
  if (mapping !== undefined) problems.push(...overlapProblems([...mappings, mapping]))
  if (problems.length > 0 || mapping === undefined) throw new SetupError(problems)
  const { limits } = decoders[options.decoder]
  if (!limits.publications) await publicationFor(connection, options.publication, [mapping], limits)
  return mapping
}

/** What the tables of a setup look like now, and which files they are in. */
export async function readFingerprint(
  connection: QueryConnection,
  { mappings, server, publication }: Pick<Setup, 'mappings' | 'server' | 'publication'>,
  withFiles: boolean,
): Promise<Looks> {
  const [row] = await connection.query(
    `SELECT ${fingerprintSql(server.version)} AS fingerprint, ${withFiles ? FILES_SQL : 'NULL'} AS files`,
    [`{${mappings.map(({ oid }) => oid).join(',')}}`, publication],
  )
  return { fingerprint: parseFingerprint(row!['fingerprint']!), files: row!['files']! }
}

/**
 * Whether the server's output plugin can send numbers as text; asked only where it matters, since the answer takes a slot.
 *
 * @throws {SlotError} @throws {SetupError}
 */
async function sendsNumbersAsText(
  connection: QueryConnection,
  { decoder, assumed, runtime }: ResolvedOptions,
  { tables }: Catalog,
): Promise<boolean> {
  const { lostTypes, textNumbersOption }: DecoderLimits = decoders[decoder].limits
  if (textNumbersOption === null || assumed.finite) return false
  const oids = lostTypes.flatMap(types => (types.mendedBy === 'finite' ? types.oids : []))
  if (!tables.some(({ columns }) => columns.some(({ typeOid }) => oids.includes(typeOid)))) return false
  return pluginHasOption(connection, {
    slot: temporarySlotName(runtime.random),
    plugin: decoder,
    option: textNumbersOption,
  })
}

/** The publication that the decoder streams by; empty if it heeds none. One that is named is checked in any case. */
async function publicationFor(
  connection: QueryConnection,
  name: string | undefined,
  tables: readonly TableMapping[],
  { decoder, publications }: DecoderLimits,
): Promise<string> {
  if (!publications && name === undefined) return ''
  if (!publications && name !== undefined) {
    const narrowed = await narrowedTables(connection, name, tables)
    if (narrowed.length > 0) throw new SetupError(narrowed.map(table => notHeeded(table, name, decoder)))
  }
  return (await ensurePublication(connection, { tables, ...(name === undefined ? {} : { name }) })).name
}

function notHeeded(table: string, publication: string, decoder: string): SetupProblem {
  return {
    kind: 'decoder-publication',
    table,
    message:
      `publication "${publication}" has a row filter or column list for it, which ${decoder} does not heed: every row and column would ` +
      "be sent. Use decoder 'pgoutput', or leave the option publication out.",
  }
}

function parsersOf(pool: pg.Pool): (typeOid: number) => (text: string) => unknown {
  const { Client, options } = pool as unknown as PoolInternals
  const client = new Client(options)
  return typeOid => client.getTypeParser(typeOid, 'text') as (text: string) => unknown
}
