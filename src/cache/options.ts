import { totalmem } from 'node:os'
import type pg from 'pg'
import { FILL_RULES, type FillRules } from '../apply/fill-rules.js'
import type { LoadProgress } from '../apply/load-progress.js'
import type { DecoderLimits } from '../change/limits.js'
import { type DecoderName, decoders } from '../decode/index.js'
import { OptionError } from '../errors.js'
import { isolated, isolatedLogger, type Logger, silentLogger } from '../observe.js'
import { AddedIndexes } from '../query/added-indexes.js'
import { type Runtime, systemRuntime } from '../runtime.js'
import type { ConnectionSource } from '../wire/config.js'
import { checkSlotName } from '../wire/slot.js'
import type { DurableSlotOptions, OpenCacheOptions, StalePolicy } from './types.js'

/** Our sessions' name in `pg_stat_activity`; it must not stand in `synchronous_standby_names`. */
export const APPLICATION_NAME = 'walcache'

/** What the user takes on. */
interface Vouched {
  readonly finite: boolean
  readonly noTruncate: boolean
}

/** The options with their defaults. */
export interface ResolvedOptions {
  readonly pool: pg.Pool
  readonly entities: readonly object[]
  /** Indexes of tables that were running when they were asked for: the tables of the next generation are loaded with them. */
  readonly addedIndexes: AddedIndexes
  readonly replication: ConnectionSource | undefined
  readonly connections: number
  readonly decoder: DecoderName
  readonly assumed: Vouched
  readonly publication: string | undefined
  /** Null for a temporary slot. */
  readonly durableSlot: { readonly name: string; readonly walBudgetBytes: number } | null
  readonly maxStalenessMs: number
  readonly onStaleLocal: 'throw' | 'serve'
  readonly onStale: StalePolicy
  readonly onUnknown: 'database' | 'throw'
  readonly fillWaitMs: number
  /** Null: no audit. */
  readonly auditRowsPerSecond: number | null
  readonly gateRunning: number
  readonly gateWaiting: number
  readonly wait: boolean
  readonly memoryBytes: number
  readonly tableMemoryBytes: number
  readonly sliceMs: number
  readonly snapshotMaxAgeMs: number
  readonly feedBytes: number
  readonly feedHistoryMs: number
  readonly tokenSecrets: readonly string[]
  readonly logger: Logger
  readonly signal: AbortSignal | undefined
  readonly onProgress: (progress: LoadProgress) => void
  readonly runtime: Runtime
  /** Only tests give others than the right ones. */
  readonly fillRules: FillRules
}

const SECRET_LENGTH_MIN = 16

/** What a test that takes one of the protections of fills away gives its rules under: no option of the public interface. */
export const FILL_RULES_OPTION = Symbol('fillRules')

const KNOWN: ReadonlySet<string> = new Set([
  'pool',
  'entities',
  'replication',
  'connections',
  'decoder',
  'assumeFinite',
  'assumeNoTruncate',
  'publication',
  'slot',
  'maxStaleness',
  'onStale',
  'onUnknown',
  'fillWaitMs',
  'audit',
  'databaseGate',
  'wait',
  'memory',
  'sliceMs',
  'snapshotMaxAgeMs',
  'feedBytes',
  'feedHistoryMs',
  'tokenSecret',
  'logger',
  'signal',
  'onProgress',
  'runtime',
])

/** @throws {OptionError} for the first option that is unknown or malformed. */
export function resolveOptions(options: OpenCacheOptions): ResolvedOptions {
  for (const option of Object.keys(options))
    if (!KNOWN.has(option)) throw new OptionError(option, 'there is no such option of openCache.')
  const { pool, entities, decoder = 'pgoutput', memory = {} } = options
  const onStale = nested('onStale', options.onStale, ['local', 'asynchronous'])
  const databaseGate = nested('databaseGate', options.databaseGate, ['running', 'waiting'])
  if (typeof (pool as Partial<pg.Pool> | undefined)?.connect !== 'function')
    throw new OptionError('pool', 'give a pg.Pool.')
  if (!Array.isArray(entities))
    throw new OptionError('entities', 'give an array of classes or results of defineTable.')
  const { wait = true, publication, logger = silentLogger, signal, onProgress } = options
  if (typeof wait !== 'boolean') throw new OptionError('wait', 'give true or false.')
  if (publication !== undefined && (typeof publication !== 'string' || publication === ''))
    throw new OptionError('publication', 'give its name, or leave it out.')
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new OptionError('signal', 'give an AbortSignal.')
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw new OptionError('onProgress', 'give a function.')
  if (!isLogger(logger)) throw new OptionError('logger', 'give an object with debug, info, warn and error.')
  const { cache: cacheMemory, table: tableMemory } =
    typeof memory === 'number'
      ? { cache: memory, table: memory }
      : nested('memory', memory, ['cache', 'table'])
  return {
    pool,
    entities,
    replication: options.replication,
    connections: integer('connections', options.connections, 4, 2, 64),
    decoder: oneOf('decoder', decoder, Object.keys(decoders) as DecoderName[]),
    assumed: assumptions(options, decoder),
    publication,
    durableSlot: durableSlot(options.slot),
    maxStalenessMs: number('maxStaleness', options.maxStaleness, 10_000, 1, Number.POSITIVE_INFINITY),
    onStaleLocal: oneOf('onStale.local', onStale.local ?? 'throw', ['throw', 'serve']),
    onStale: oneOf('onStale.asynchronous', onStale.asynchronous ?? 'database', [
      'throw',
      'database',
      'serve',
    ]),
    onUnknown: oneOf('onUnknown', options.onUnknown ?? 'database', ['database', 'throw']),
    fillWaitMs: number('fillWaitMs', options.fillWaitMs, 100, 0, 60_000),
    auditRowsPerSecond: auditRate(options.audit),
    gateRunning: integer('databaseGate.running', databaseGate.running, 16, 1, 10_000),
    gateWaiting: integer('databaseGate.waiting', databaseGate.waiting, 256, 0, 1_000_000),
    wait,
    memoryBytes: integer('memory', cacheMemory, halfTheMachine(), 1, Number.MAX_SAFE_INTEGER),
    tableMemoryBytes: integer('memory.table', tableMemory, halfTheMachine(), 1, Number.MAX_SAFE_INTEGER),
    sliceMs: number('sliceMs', options.sliceMs, 5, 0.1, 1000),
    snapshotMaxAgeMs: number('snapshotMaxAgeMs', options.snapshotMaxAgeMs, 30_000, 1, 24 * 3600 * 1000),
    feedBytes: integer('feedBytes', options.feedBytes, 32 * 2 ** 20, 1, Number.MAX_SAFE_INTEGER),
    feedHistoryMs: number('feedHistoryMs', options.feedHistoryMs, 0, 0, 24 * 3600 * 1000),
    tokenSecrets: secrets(options.tokenSecret),
    logger: isolatedLogger(logger),
    signal,
    onProgress: onProgress === undefined ? () => undefined : isolated('onProgress', onProgress),
    runtime: options.runtime ?? systemRuntime,
    addedIndexes: new AddedIndexes(),
    fillRules:
      (options as OpenCacheOptions & { readonly [FILL_RULES_OPTION]?: FillRules })[FILL_RULES_OPTION] ??
      FILL_RULES,
  }
}

function isLogger(given: Partial<Logger> | null): given is Logger {
  const { debug, info, warn, error } = given ?? {}
  return [debug, info, warn, error].every(method => typeof method === 'function')
}

/** An option that is an object, with nothing in it but what is known. */
function nested<T extends object>(
  option: string,
  given: T | undefined,
  known: readonly (keyof T)[],
): T | Partial<T> {
  if (given === undefined) return {}
  if (typeof given !== 'object' || given === null)
    throw new OptionError(option, `give an object of ${known.join(', ')}.`)
  for (const part of Object.keys(given))
    if (!known.includes(part as keyof T))
      throw new OptionError(`${option}.${part}`, 'there is no such option.')
  return given
}

function auditRate(given: OpenCacheOptions['audit']): number | null {
  if (given === undefined) return null
  const { rowsPerSecond } = nested('audit', given, ['rowsPerSecond'])
  return number('audit.rowsPerSecond', rowsPerSecond, Number.NaN, 0.01, 100_000)
}

/** What is vouched for has to matter: an assumption that the decoder does not need says that something was misunderstood. */
function assumptions(
  { assumeFinite = false, assumeNoTruncate = false }: OpenCacheOptions,
  decoder: DecoderName,
): Vouched {
  const { truncate, lostTypes }: DecoderLimits = decoders[decoder].limits
  const needsFinite = lostTypes.some(({ mendedBy }) => mendedBy === 'finite')
  assumption('assumeFinite', assumeFinite, needsFinite, `decoder '${decoder}' loses no NaN and no infinity.`)
  assumption('assumeNoTruncate', assumeNoTruncate, !truncate, `decoder '${decoder}' carries TRUNCATE.`)
  return { finite: assumeFinite, noTruncate: assumeNoTruncate }
}

function assumption(option: string, given: boolean, isNeeded: boolean, otherwise: string): void {
  if (typeof given !== 'boolean') throw new OptionError(option, 'give true or false.')
  if (given && !isNeeded) throw new OptionError(option, `leave it out: ${otherwise}`)
}

function secrets(given: string | readonly string[] | undefined): readonly string[] {
  const list: readonly unknown[] = Array.isArray(given) ? given : given === undefined ? [] : [given]
  const isGood = (secret: unknown): boolean =>
    typeof secret === 'string' && secret.length >= SECRET_LENGTH_MIN
  if (!list.every(isGood) || (given !== undefined && list.length === 0))
    throw new OptionError(
      'tokenSecret',
      `give a text of ${SECRET_LENGTH_MIN} characters or more, or several.`,
    )
  return list as readonly string[]
}

function durableSlot(slot: OpenCacheOptions['slot']): ResolvedOptions['durableSlot'] {
  if (slot === undefined) return null
  const given = nested('slot', slot as Partial<DurableSlotOptions> & { temporary?: unknown }, [
    'temporary',
    'durable',
    'name',
    'walBudgetBytes',
  ])
  const { temporary, durable, name, walBudgetBytes } = given
  if (temporary === true && Object.keys(given).length === 1) return null
  if (durable !== true || temporary !== undefined)
    throw new OptionError('slot', 'give { temporary: true }, or { durable: true, name }.')
  checkSlotName(name)
  return {
    name,
    walBudgetBytes: integer(
      'slot.walBudgetBytes',
      walBudgetBytes,
      4 * 2 ** 30,
      2 ** 20,
      Number.MAX_SAFE_INTEGER,
    ),
  }
}

/** What this process may use of it, in a container. */
function halfTheMachine(): number {
  const constrained = process.constrainedMemory()
  const all = totalmem()
  return Math.floor((constrained > 0 ? Math.min(constrained, all) : all) / 2)
}

function integer(
  option: string,
  given: number | undefined,
  otherwise: number,
  min: number,
  max: number,
): number {
  const value = number(option, given, otherwise, min, max)
  if (!Number.isInteger(value)) throw new OptionError(option, 'give an integer.')
  return value
}

function number(
  option: string,
  given: number | undefined,
  otherwise: number,
  min: number,
  max: number,
): number {
  const value = given ?? otherwise
  if (typeof value !== 'number' || !(value >= min && value <= max))
    throw new OptionError(option, `give a number from ${min} to ${max}.`)
  return value
}

function oneOf<T extends string>(option: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value))
    throw new OptionError(option, `give one of ${allowed.map(word => `'${word}'`).join(', ')}.`)
  return value
}
