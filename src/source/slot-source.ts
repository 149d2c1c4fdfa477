import type { Decoder } from '../decode/decoder.js'
import { SetupError } from '../errors.js'
import type { Logger } from '../observe.js'
import {
  type Connections,
  type QueryConnection,
  type ReplicationConnection,
  type Runtime,
  unlessAborted,
} from '../runtime.js'
import { dropSlot } from '../wire/durable-slot.js'
import { loadTurn } from '../wire/load-turn.js'
import { createSlot, oldestWriters, temporarySlotName } from '../wire/slot.js'
import { inspectForResume, type LeftOff, resumeObstacle } from './resume.js'
import { SlotStream } from './slot-stream.js'
import type { ChangeSource, FreshSource, SourceStart } from './source.js'

/** How long the slot may wait for transactions that are writing, before it is tried again. */
const LOCK_TIMEOUT_MS = 5_000
/** `server_version_num` of PostgreSQL 14. */
const OLDEST_SERVER = 140_000

/** How long another process that uses our durable slot is waited for, as when a new release takes over from an old one. */
const SLOT_PATIENCE_MS = 10_000

/** A slot that outlives its connections, and what is remembered of them. */
export interface DurableSlot {
  readonly name: string
  /** The server's process that streamed to us last. */
  walSenderPid: number | null
}

export interface SlotSourceOptions<B> {
  readonly decoder: Decoder<B>
  readonly logger: Logger
  readonly lockTimeoutMs?: number
  /** The slot to make anew, whatever is left of it; without it a temporary one is made, under a name of its own. */
  readonly durable?: DurableSlot
}

/** A source that goes on where another one left off. */
export interface ResumedSource<B> {
  readonly source: ChangeSource<B>
  /** When the server was started, as it says it. */
  readonly startedAt: string
}

/**
 * A source over a new replication slot, when it is this process's turn to load, with the slot's snapshot exported: load the tables under `start.snapshotName`, then call `batches`.
 *
 * @throws {ConnectionError} if the server can't be reached. @throws {SlotError} if it has no slot for us.
 * @throws {SlotInUseError} if another process uses the durable slot.
 * @throws {SetupError} if it does not do logical decoding. Rejects with the signal's reason when it aborts.
 */
export async function openSlotSource<B>(
  connections: Connections,
  runtime: Runtime,
  options: SlotSourceOptions<B>,
  signal: AbortSignal = new AbortController().signal,
): Promise<FreshSource<B>> {
  return overReplication(connections, signal, async replication => {
    const server = await inspectServer(replication)
    await loadTurn(replication, { runtime, signal, logger: options.logger })
    const start = await makeSlot(replication, connections, { runtime, server, signal, ...options })
    return new SlotStream(replication, runtime, options, {
      slot: start.slot,
      start,
      walSenderTimeoutMs: server.walSenderTimeoutMs,
      isServerBusy: signal => isWalSenderBusy(connections, server.pid, signal),
    })
  })
}

/**
 * A source that goes on where another one over the same durable slot left off. A string if that can't be
 * shown to be right: why, after which everything has to be loaded anew.
 *
 * @throws {ConnectionError} if the server can't be reached. @throws {SlotInUseError} if another process uses the slot.
 * Rejects with the signal's reason when it aborts.
 */
export async function resumeSlotSource<B>(
  connections: Connections,
  runtime: Runtime,
  options: SlotSourceOptions<B> & { readonly durable: DurableSlot },
  left: LeftOff,
  signal: AbortSignal,
): Promise<ResumedSource<B> | string> {
  const { durable } = options
  return overReplication(connections, signal, async replication => {
    const server = await inspectServer(replication)
    const claim = { runtime, signal, ownPid: durable.walSenderPid, patienceMs: SLOT_PATIENCE_MS }
    const found = await inspectForResume(replication, durable.name, left, claim)
    const obstacle = resumeObstacle(left, found)
    if (obstacle !== null) {
      await replication.close()
      return obstacle
    }
    durable.walSenderPid = Number(server.pid)
    const { systemId, position } = left
    const source = new SlotStream(replication, runtime, options, {
      slot: durable.name,
      start: { lsn: position, systemId, timeline: found.timeline },
      walSenderTimeoutMs: server.walSenderTimeoutMs,
      isServerBusy: signal => isWalSenderBusy(connections, server.pid, signal),
    })
    return { source, startedAt: found.startedAt }
  })
}

/** What `open` makes of a new replication connection, which is closed if it fails or is aborted. */
async function overReplication<T>(
  connections: Connections,
  signal: AbortSignal,
  open: (replication: ReplicationConnection) => Promise<T>,
): Promise<T> {
  const replication = await connections.replication(signal)
  const onAbort = () => void replication.close()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    const opened = await open(replication)
    signal.throwIfAborted()
    return opened
  } catch (error) {
    await replication.close()
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

interface SlotToMake {
  readonly runtime: Runtime
  readonly server: Server
  readonly signal: AbortSignal
  readonly decoder: { readonly plugin: string }
  readonly lockTimeoutMs?: number
  readonly durable?: DurableSlot
}

async function makeSlot(
  replication: ReplicationConnection,
  connections: Connections,
  { runtime, server, signal, decoder, lockTimeoutMs = LOCK_TIMEOUT_MS, durable }: SlotToMake,
): Promise<SourceStart & { readonly snapshotName: string; readonly slot: string }> {
  if (durable !== undefined) {
    const { name, walSenderPid } = durable
    // What it was kept for is gone: the memory of a process that has ended, or is given up.
    await dropSlot(replication, name, { runtime, signal, ownPid: walSenderPid, patienceMs: SLOT_PATIENCE_MS })
    durable.walSenderPid = Number(server.pid)
  }
  const [system] = await replication.query('IDENTIFY_SYSTEM')
  const slot = await createSlot(replication, {
    name: durable?.name ?? temporarySlotName(runtime.random),
    durable: durable !== undefined,
    plugin: decoder.plugin,
    serverVersion: server.version,
    lockTimeoutMs,
    oldestWriters: () => withQuery(() => connections.query(), oldestWriters),
  })
  return {
    slot: slot.name,
    lsn: slot.consistentPoint,
    snapshotName: slot.snapshotName,
    systemId: system!['systemid']!,
    timeline: Number(system!['timeline']),
  }
}

interface Server {
  readonly version: number
  readonly pid: string
  readonly walSenderTimeoutMs: number
}

async function inspectServer(replication: ReplicationConnection): Promise<Server> {
  const [row] = await replication.query(
    `select current_setting('server_version_num') as version, current_setting('server_version') as release,
       current_setting('wal_level') as wal_level, pg_is_in_recovery() as is_standby, pg_backend_pid() as pid,
       (select setting from pg_settings where name = 'wal_sender_timeout') as timeout_ms`,
  )
  const { version, release, wal_level, is_standby, pid, timeout_ms } = row as Record<string, string>
  const problems = [
    Number(version) < OLDEST_SERVER && {
      kind: 'server-version',
      message: `PostgreSQL ${release} is too old: walcache needs 14 or later.`,
    },
    is_standby === 't' && {
      kind: 'standby',
      message:
        'This server is a standby, and a standby’s snapshots don’t list running transactions. Connect to the primary.',
    },
    wal_level !== 'logical' && {
      kind: 'wal-level',
      message: `wal_level is ${wal_level}: set wal_level = logical and restart the server.`,
    },
  ].filter(problem => problem !== false)
  if (problems.length > 0) throw new SetupError(problems)
  return { version: Number(version), pid: pid!, walSenderTimeoutMs: Number(timeout_ms) }
}

/** Whether our walsender is at work, and not waiting for the network or for something to send. */
async function isWalSenderBusy(connections: Connections, pid: string, signal: AbortSignal): Promise<boolean> {
  // By the role that replicates: another one may not see what its processes wait for.
  const session = () => connections.query(signal, 'replication')
  return withQuery(session, async connection => {
    const asked = connection.query('select wait_event_type as waits from pg_stat_activity where pid = $1', [
      pid,
    ])
    const [row] = await unlessAborted(asked, signal)
    return row !== undefined && row['waits'] !== 'Activity' && row['waits'] !== 'Client'
  })
}

async function withQuery<T>(
  open: () => Promise<QueryConnection>,
  ask: (connection: QueryConnection) => Promise<T>,
): Promise<T> {
  const connection = await open()
  try {
    return await ask(connection)
  } finally {
    await connection.close()
  }
}
