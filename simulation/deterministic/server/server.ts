import type { Connections, QueryConnection, ReplicationConnection } from '../../../src/runtime.js'
import { connectError } from '../../../src/wire/connect-errors.js'
import type { Random } from '../../random.js'
import type { Hidden } from '../breaks.js'
import type { Coverage } from '../coverage.js'
import type { Faults } from '../faults.js'
import type { Scheduler } from '../scheduler.js'
import type { Trace } from '../trace.js'
import type { Backend } from './backend.js'
import type { ClientSession } from './client-session.js'
import type { Cutter } from './cutter.js'
import type { Position } from './log.js'
import type { PostgresModel } from './model.js'
import { type Latency, Link } from './network.js'
import { ScriptedQuery } from './query-session.js'
import { ScriptedReplication } from './replication-session.js'
import { CANNOT_CONNECT_NOW, FatalServerError, TOO_MANY_CONNECTIONS } from './server-error.js'
import { Slots } from './slots.js'
import type { Snapshot } from './snapshot.js'
import { Recogniser } from './statements.js'
import { UnknownStatementError } from './statements-types.js'
import type { Walsender } from './walsender.js'

export interface ServerOptions {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly trace: Trace
  readonly faults: Faults
  readonly coverage: Coverage
  readonly model: PostgresModel
  readonly cutter: Cutter
  readonly latency: Latency
  /** Frames that go out at once, at most. */
  readonly chunkFrames: number
  readonly walSenderTimeoutMs: number
  /** What is kept from the cache, to see that it is missed. */
  readonly hidden?: Hidden | undefined
}

/** How long an attempt to connect takes to be refused. */
const REFUSED_MS = 2
/** The longest that a connection takes to be made, and a statement to be carried out, when they take long. */
const SLOW_CONNECT_MS = 4_000
export const SLOW_STATEMENT_MS = 9_000
/** Beside synchronous commits, the log is flushed this often. */
const WAL_WRITER_MS = 200

/** A PostgreSQL that is a script: what the cache connects to, instead of a socket. */
export class ScriptedServer implements Connections {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly trace: Trace
  readonly faults: Faults
  readonly coverage: Coverage
  readonly model: PostgresModel
  readonly cutter: Cutter
  readonly chunkFrames: number
  walSenderTimeoutMs: number
  readonly hidden: Hidden | null
  readonly recogniser = new Recogniser()
  readonly slots = new Slots()
  readonly backends = new Set<Backend>()
  readonly sessions = new Set<ClientSession>()
  readonly walsenders = new Set<Walsender>()
  /** Exported snapshots, by their names. */
  readonly exported = new Map<string, Snapshot>()
  /** The publication's identity; null before it is created. */
  publication: number | null = null
  /** Tables in the publication, and since which alteration. */
  readonly published = new Map<number, number>()
  /** When each was put in, or taken out, last. */
  readonly publishedMs = new Map<number, number>()
  /** When a table was last begun to be read anew, and when a slot was last made. */
  tableReadMs = 0
  slotMadeMs = 0
  /** The newest commit of which some was sent. */
  newestSent = -1
  /** How each table was altered last. */
  readonly alterations = new Map<number, number>()
  standbyNames = ''
  countsAsStandby = false
  isStandby = false
  /** Why nobody can connect now; null if everybody can. */
  down: 'nobody listens' | 'starting up' | null = null
  /** What ends the run, though the cache has done nothing wrong, or something that can't be right. */
  failure: Error | null = null
  readonly #latency: Latency
  #isFlushDue = false
  /** The cache has confirmed a position. */
  onConfirmed: (position: Position) => void = () => undefined
  /** A fill of this table is answered, and the answer is on its way. */
  onFill: (table: string) => void = () => undefined
  /** Some of the stream has reached the cache. */
  onArrived: () => void = () => undefined
  #pid = 100
  #names = 0
  #alteration = 0

  constructor(options: ServerOptions) {
    this.scheduler = options.scheduler
    this.random = options.random
    this.trace = options.trace
    this.faults = options.faults
    this.coverage = options.coverage
    this.model = options.model
    this.cutter = options.cutter
    this.chunkFrames = options.chunkFrames
    this.walSenderTimeoutMs = options.walSenderTimeoutMs
    this.hidden = options.hidden ?? null
    this.#latency = options.latency
    this.model.onMoved = () => {
      for (const walsender of this.walsenders) walsender.wake()
    }
    this.model.onWritten = () => this.#flushLater()
    this.model.isPublished = oid => this.published.has(oid)
  }

  #flushLater(): void {
    if (this.#isFlushDue) return
    this.#isFlushDue = true
    this.scheduler.after(WAL_WRITER_MS, () => {
      this.#isFlushDue = false
      this.model.flush()
    })
  }

  fail(error: Error): void {
    this.failure ??= error
  }

  unknown(sql: string): Error {
    const error = new UnknownStatementError(sql)
    this.fail(error)
    return error
  }

  newPid(): number {
    return this.#pid++
  }

  newSnapshotName(): string {
    return `0000000${(this.#names++).toString(16)}-1`
  }

  publish(oid: number): void {
    this.published.set(oid, this.newAlteration())
    this.publishedMs.set(oid, this.scheduler.nowMs)
  }

  /** From now on nothing of the table is sent, and nobody is told. */
  unpublish(oid: number): boolean {
    if (!this.published.delete(oid)) return false
    this.publishedMs.set(oid, this.scheduler.nowMs)
    return true
  }

  newAlteration(): number {
    return ++this.#alteration
  }

  link(): Link {
    return new Link(this.scheduler, this.random, this.#latency)
  }

  /** The next command ends what a replication connection has exported. */
  endExport(backend: Backend): void {
    backend.end()
  }

  /** A transactional message of a session's own: committed and flushed at once. */
  emitMessage(prefix: string): Position {
    const { model } = this
    const transaction = model.begin()
    const at = model.log.write(64 + prefix.length)
    transaction.changes.push({
      kind: 'message',
      at,
      spec: null,
      old: null,
      new: null,
      prefix,
      isPublished: true,
    })
    const { end } = model.commit(transaction)
    model.flush()
    model.makeVisible(transaction)
    return end
  }

  async query(signal?: AbortSignal): Promise<QueryConnection> {
    await this.#connect('query', signal)
    return new ScriptedQuery(this)
  }

  async replication(signal?: AbortSignal): Promise<ReplicationConnection> {
    await this.#connect('replication', signal)
    return new ScriptedReplication(this)
  }

  async #connect(purpose: 'query' | 'replication', signal: AbortSignal | undefined): Promise<void> {
    const { fromMs, toMs } = this.#latency
    const longerMs = this.faults.delayMs('connecting takes long', 0.05, SLOW_CONNECT_MS)
    await this.scheduler.pause(2 * (fromMs + toMs) + longerMs)
    signal?.throwIfAborted()
    const refusal = this.#refusal(purpose)
    if (refusal === null) return
    await this.scheduler.pause(REFUSED_MS)
    signal?.throwIfAborted()
    throw connectError(refusal, { purpose, user: 'app' })
  }

  #refusal(purpose: 'query' | 'replication'): Error | null {
    const { down, faults } = this
    if (down === 'nobody listens') return Object.assign(new Error('connect'), { code: 'ECONNREFUSED' })
    if (down === 'starting up')
      return new FatalServerError(CANNOT_CONNECT_NOW, 'the database system is starting up')
    if (purpose === 'replication' && faults.strikes('no walsender left', 0.1))
      return new FatalServerError(
        TOO_MANY_CONNECTIONS,
        'number of requested standby connections exceeds max_wal_senders',
      )
    if (purpose === 'query' && faults.strikes('no connection left', 0.05))
      return new FatalServerError(TOO_MANY_CONNECTIONS, 'sorry, too many clients already')
    if (faults.strikes('connection ends while it is made', 0.05))
      return new Error('Connection terminated unexpectedly')
    return null
  }
}
