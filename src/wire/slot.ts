import { type Lsn, parseLsn } from '../change/lsn.js'
import { asError, OptionError, SetupError, SlotError } from '../errors.js'
import type { QueryConnection, ReplicationConnection } from '../runtime.js'
import { isServerError } from './connect-errors.js'

/** `server_version_num` of the first with options in parentheses, and of the first that keeps slots over a failover. */
const OPTION_LISTS = 150_000
const FAILOVER_SLOTS = 170_000
const SLOT_NAME = /^[a-z0-9_]{1,63}$/
/** Enough for two processes never to choose the same. */
const RANDOM_DIGITS = 12
/** How long the slot that only asks for an option may wait for transactions that are writing. */
const PROBE_LOCK_TIMEOUT_MS = 5_000
/** How many of the transactions that hold up a slot are named. */
const WRITERS_NAMED = 3

/** A slot, and the snapshot of exactly what its stream does not send. */
export interface CreatedSlot {
  readonly name: string
  /** The stream begins here; the snapshot shows everything before. */
  readonly consistentPoint: Lsn
  /** Good until the next command on the slot's connection. */
  readonly snapshotName: string
}

export interface SlotRequest {
  readonly name: string
  /** Whether it outlives its connection. */
  readonly durable: boolean
  /** The output plugin's name. */
  readonly plugin: string
  /** `server_version_num`. */
  readonly serverVersion: number
  /** How long to wait for the transactions that are writing: all of the cluster's, other databases included. */
  readonly lockTimeoutMs: number
  /** Asked, after that time, who they are. */
  readonly oldestWriters: () => Promise<string>
}

/** A name that no other process's slot has. `random` is uniform in [0, 1). */
export function temporarySlotName(random: () => number): string {
  const digits = Array.from({ length: RANDOM_DIGITS }, () => Math.floor(random() * 36).toString(36))
  return `walcache_${digits.join('')}`
}

/**
 * Makes a slot and exports its snapshot. A temporary one goes with its connection; a durable one is there until it is dropped.
 *
 * @throws {SlotError} if the server has no room for it, or old transactions don't end in time (transient).
 * @throws {SetupError} if the server's settings or the role's rights don't allow it.
 */
export async function createSlot(
  replication: ReplicationConnection,
  request: SlotRequest,
): Promise<CreatedSlot> {
  const { name, plugin, durable, lockTimeoutMs } = request
  checkSlotName(name)
  try {
    await replication.query(`SET lock_timeout = ${Math.ceil(lockTimeoutMs)}`)
    const [row] = await replication.query(
      `CREATE_REPLICATION_SLOT "${name}" ${durable ? '' : 'TEMPORARY '}LOGICAL "${plugin}" ${slotOptions(request)}`,
    )
    return {
      name,
      consistentPoint: parseLsn(row!['consistent_point']!),
      snapshotName: row!['snapshot_name']!,
    }
  } catch (error) {
    throw await slotError(asError(error), request)
  }
}

/**
 * @throws {OptionError} if no slot can have this name.
 */
export function checkSlotName(name: unknown): asserts name is string {
  if (typeof name === 'string' && SLOT_NAME.test(name)) return
  throw new OptionError('slot', 'a slot’s name has 1 to 63 lower-case letters, digits and underscores.')
}

function slotOptions({ durable, serverVersion }: SlotRequest): string {
  if (serverVersion < OPTION_LISTS) return 'EXPORT_SNAPSHOT'
  // The server then sends nothing that the standbys named in synchronized_standby_slots don't have yet.
  return durable && serverVersion >= FAILOVER_SLOTS
    ? `(SNAPSHOT 'export', FAILOVER true)`
    : `(SNAPSHOT 'export')`
}

/**
 * Whether the server's output plugin knows `option`, which only starting it tells: done on a slot of its own, dropped at once.
 *
 * @throws {SlotError} if the server has no room for it, or old transactions don't end in time (transient).
 * @throws {SetupError} if the server's settings or the role's rights don't allow it, or it has no such plugin.
 */
export async function pluginHasOption(
  connection: QueryConnection,
  { slot, plugin, option }: { readonly slot: string; readonly plugin: string; readonly option: string },
): Promise<boolean> {
  try {
    await connection.query(`SET lock_timeout = ${PROBE_LOCK_TIMEOUT_MS}`)
    await connection.query('SELECT pg_create_logical_replication_slot($1, $2, true)', [slot, plugin])
    await connection.query(
      `SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, 1, 'format-version', '2', $2, 'true')`,
      [slot, option],
    )
    await connection.query('SELECT pg_drop_replication_slot($1)', [slot])
    return true
  } catch (error) {
    // An error has dropped the session's temporary slots; this one is what the plugin says: invalid_parameter_value.
    if ((error as { code?: unknown }).code === '22023') return false
    const request = { name: slot, plugin, durable: false, lockTimeoutMs: PROBE_LOCK_TIMEOUT_MS }
    throw await slotError(asError(error), { ...request, oldestWriters: () => oldestWriters(connection) })
  } finally {
    await connection.query('SET lock_timeout = 0')
  }
}

async function slotError(cause: Error, request: Omit<SlotRequest, 'serverVersion'>): Promise<Error> {
  if (!isServerError(cause)) return cause
  const { name, plugin, lockTimeoutMs } = request
  const failed = (problem: string, transient: boolean) => new SlotError(name, problem, transient, { cause })
  const setup = (kind: string, message: string) => new SetupError([{ kind, message }], { cause })
  switch (cause.code) {
    case '55P03': // lock_not_available
      return failed(
        `it waits for every transaction that was writing, and after ${lockTimeoutMs} ms some still are: ` +
          `${await request.oldestWriters()}. The cache tries again.`,
        true,
      )
    case '53400': // configuration_limit_exceeded
      return setup(
        'no-free-slot',
        'all replication slots are in use. Raise max_replication_slots: each process with a cache needs one.',
      )
    case '42710': // duplicate_object
    case '55006': // object_in_use
      return failed('another session has it. The cache tries again.', true)
    case '55000': // object_not_in_prerequisite_state
      return setup(
        'wal-level',
        `logical decoding is not possible: ${cause.message}. Set wal_level = logical; it takes a restart.`,
      )
    case '42501': // insufficient_privilege
      return setup('replication-right', 'the role may not make a slot: it needs the REPLICATION attribute.')
    case '58P01': // undefined_file
      return setup('output-plugin', `the server does not have the output plugin "${plugin}".`)
  }
  // A server that never has few enough transactions at once says "initial slot snapshot too large", with no code of its own.
  return failed(`the server did not make it (${cause.code}, ${cause.message}). The cache tries again.`, true)
}

/** Who holds up a slot's creation, for a message: process ids and ages, of whatever database. */
export async function oldestWriters(connection: QueryConnection): Promise<string> {
  // Everybody may see the locks, though not everybody when a transaction began.
  const rows = await connection.query(
    `select 'pid ' || l.pid || coalesce(' since ' || date_trunc('second', now() - a.xact_start), '') as writer,
        a.xact_start as since
       from pg_locks l left join pg_stat_activity a using (pid)
      where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.pid <> pg_backend_pid()
     union all
     select 'a prepared transaction since ' || date_trunc('second', now() - prepared), prepared from pg_prepared_xacts
     order by since nulls last limit ${WRITERS_NAMED}`,
  )
  return rows.length === 0 ? 'none is left by now' : rows.map(({ writer }) => writer).join(', ')
}
