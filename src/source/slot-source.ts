import type { ChangeBatch, ChangeSink } from '../change/change.js'
import { formatLsn, lsnFromHalves, type Lsn } from '../change/lsn.js'
import type { Decoder } from '../decode/decoder.js'
import { asError, assert, SetupError } from '../errors.js'
import type { Logger } from '../observe.js'
import type { Connections, ReplicationConnection, Runtime, StreamHandlers } from '../runtime.js'
import { FrameQueue } from '../wire/frames.js'
import { createSlot, oldestWriters, temporarySlotName } from '../wire/slot.js'
import type { ChangeSource, SourceStart } from './source.js'
import { Standby } from './standby.js'

/** How long the slot may wait for transactions that are writing, before it is tried again. */
const LOCK_TIMEOUT_MS = 5_000
/** `server_version_num` of PostgreSQL 14. */
const OLDEST_SERVER = 140_000

export interface SlotSourceOptions<B> {
  readonly decoder: Decoder<B>
  readonly logger: Logger
  readonly lockTimeoutMs?: number
}

/**
 * A source over a temporary replication slot of its own, with the slot's snapshot exported: load the tables under
 * `start.snapshotName`, then call `batches`.
 *
 * @throws {ConnectionError} if the server can't be reached. @throws {SlotError} if it has no slot for us.
 * @throws {SetupError} if it does not do logical decoding. Rejects with the signal's reason when it aborts.
 */
export async function openSlotSource<B>(
  connections: Connections,
  runtime: Runtime,
  options: SlotSourceOptions<B>,
  signal?: AbortSignal,
): Promise<ChangeSource<B>> {
  const replication = await connections.replication(signal)
  const onAbort = () => void replication.close()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const opened = await openSlot(replication, connections, runtime, options)
    signal?.throwIfAborted()
    return new SlotSource(replication, runtime, options, opened)
  } catch (error) {
    await replication.close()
    signal?.throwIfAborted()
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/** A slot that is ready to stream, and what its connection has to know of the server. */
interface OpenedSlot {
  readonly slot: string
  readonly start: SourceStart
  readonly walSenderTimeoutMs: number
  readonly isServerBusy: () => Promise<boolean>
}

async function openSlot<B>(
  replication: ReplicationConnection,
  connections: Connections,
  runtime: Runtime,
  { decoder, lockTimeoutMs = LOCK_TIMEOUT_MS }: SlotSourceOptions<B>,
): Promise<OpenedSlot> {
  const server = await inspectServer(replication)
  const [system] = await replication.query('IDENTIFY_SYSTEM')
  const slot = await createSlot(replication, {
    name: temporarySlotName(runtime.random),
    plugin: decoder.plugin,
    serverVersion: server.version,
    lockTimeoutMs,
    oldestWriters: () => withQuery(connections, oldestWriters),
  })
  return {
    slot: slot.name,
    start: {
      lsn: slot.consistentPoint,
      snapshotName: slot.snapshotName,
      systemId: system!['systemid']!,
      timeline: Number(system!['timeline']),
    },
    walSenderTimeoutMs: server.walSenderTimeoutMs,
    isServerBusy: () => isWalSenderBusy(connections, server.pid),
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
async function isWalSenderBusy(connections: Connections, pid: string): Promise<boolean> {
  return withQuery(connections, async connection => {
    const [row] = await connection.query(
      'select wait_event_type as waits from pg_stat_activity where pid = $1',
      [pid],
    )
    return row !== undefined && row['waits'] !== 'Activity' && row['waits'] !== 'Client'
  })
}

async function withQuery<T>(
  connections: Connections,
  ask: (connection: Awaited<ReturnType<Connections['query']>>) => Promise<T>,
): Promise<T> {
  const connection = await connections.query()
  try {
    return await ask(connection)
  } finally {
    await connection.close()
  }
}

class SlotSource<B> implements ChangeSource<B> {
  readonly start: SourceStart
  readonly #replication: ReplicationConnection
  readonly #decoder: Decoder<B>
  readonly #logger: Logger
  readonly #slot: string
  readonly #queue: FrameQueue
  readonly #standby: Standby
  #hasBegun = false
  #isClosed = false
  /** Why nothing more will arrive. */
  #end: Error | undefined
  /** Resolves the reader's wait: frames have arrived, or the end. */
  #wake: (() => void) | undefined

  constructor(
    replication: ReplicationConnection,
    runtime: Runtime,
    { decoder, logger }: SlotSourceOptions<B>,
    { slot, start, walSenderTimeoutMs, isServerBusy }: OpenedSlot,
  ) {
    this.start = start
    this.#replication = replication
    this.#decoder = decoder
    this.#logger = logger
    this.#slot = slot
    const queue = new FrameQueue(replication)
    this.#queue = queue
    this.#standby = new Standby({
      connection: replication,
      runtime,
      start: start.lsn,
      walSenderTimeoutMs,
      isBehind: () => queue.length > 0,
      isPaused: () => queue.isPaused,
      isServerBusy,
      onDead: error => this.#lost(error),
    })
    void replication.closed.then(reason => {
      if (reason !== undefined) this.#lost(reason)
    })
  }

  async *batches(signal: AbortSignal): AsyncIterable<ChangeBatch<B>> {
    const onAbort = () => void this.close()
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      signal.throwIfAborted()
      await this.#begin()
      while (!this.#isClosed) {
        if (this.#queue.length > 0) yield new FrameBatch(this.#queue, this.#decoder)
        else if (this.#end !== undefined) throw this.#end
        else await this.#arrival()
      }
      signal.throwIfAborted()
    } catch (error) {
      // What the closed connection says is of no interest to who had it closed.
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  confirm(lsn: Lsn): void {
    this.#standby.confirm(lsn)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#standby.stop()
    this.#queue.clear()
    this.#wakeReader()
    await this.#replication.close()
  }

  async #begin(): Promise<void> {
    assert(!this.#hasBegun, 'a source streams once')
    this.#hasBegun = true
    this.#decoder.reset()
    // It bounded the slot's creation; the walsender's own look-ups must not fail by it.
    await this.#replication.query('SET lock_timeout = 0')
    const handlers: StreamHandlers = {
      onData: (lsnHigh, lsnLow, bytes, start, end) => {
        this.#standby.received(lsnHigh, lsnLow)
        this.#queue.pushData(lsnHigh, lsnLow, bytes, start, end)
        if (this.#wake !== undefined) this.#wakeReader()
      },
      onKeepalive: (lsnHigh, lsnLow, replyRequested) => {
        this.#standby.received(lsnHigh, lsnLow)
        this.#queue.pushKeepalive(lsnHigh, lsnLow)
        if (replyRequested) this.#standby.asked()
        this.#wakeReader()
      },
    }
    const from = formatLsn(this.start.lsn)
    await this.#replication.start(
      `START_REPLICATION SLOT "${this.#slot}" LOGICAL ${from} (${this.#decoder.startOptions()})`,
      handlers,
    )
    if (!this.#isClosed && this.#end === undefined) this.#standby.run()
    this.#logger.debug(`Streaming from slot "${this.#slot}" at ${from}.`)
  }

  #arrival(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  #wakeReader(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  #lost(error: Error): void {
    if (this.#end !== undefined) return
    this.#end = asError(error)
    this.#standby.stop()
    this.#wakeReader()
    void this.#replication.close()
  }
}

/** The frames that had arrived when the batch was made. */
class FrameBatch<B> implements ChangeBatch<B> {
  #framesLeft: number

  constructor(
    readonly queue: FrameQueue,
    readonly decoder: Decoder<B>,
  ) {
    this.#framesLeft = queue.length
  }

  // Hot: the loop runs once per frame.
  deliver(sink: ChangeSink<B>, maxChanges: number): boolean {
    const { queue, decoder } = this
    for (let count = Math.min(maxChanges, this.#framesLeft); count > 0 && queue.shift(); count--) {
      this.#framesLeft--
      if (queue.isKeepalive) sink.progress(lsnFromHalves(queue.lsnHigh, queue.lsnLow))
      else decoder.decode(queue.lsnHigh, queue.lsnLow, queue.bytes, queue.start, queue.end, sink)
    }
    // The queue is empty before its time once the source is closed.
    return this.#framesLeft > 0 && queue.length > 0
  }
}
