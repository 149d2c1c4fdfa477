import { formatLsn, LSN_ZERO, type Lsn, normaliseInsertLsn, parseLsn } from '../change/lsn.js'
import { type CacheError, ClosedError, NotReadyError, TokenError } from '../errors.js'
import { ChangeIterator } from '../feed/changes.js'
import { ChangeFeed } from '../feed/feed.js'
import { FreshnessGate } from '../freshness/gate.js'
import { ServerPosition } from '../freshness/server-position.js'
import { decodeToken, encodeToken, type Incarnation } from '../freshness/token.js'
import { PositionWaiters } from '../freshness/waiters.js'
import { DatabaseReader } from '../query/database.js'
import { DatabaseGate } from '../query/gate.js'
import type { LiveTable } from '../query/live.js'
import type { ReadContext } from '../query/answer.js'
import { CacheTable } from '../query/table.js'
import type { ChangesOptions, Snapshot, Table, TableChange, TableDeclaration } from '../query/types.js'
import type { CallerSession } from '../mapping/session.js'
import { type Connections, unlessAborted } from '../runtime.js'
import { Store } from '../store/store.js'
import { connectionsOf } from '../wire/connection.js'
import { SessionPool } from '../wire/session-pool.js'
import { toTableChange } from './changes.js'
import { Deferred } from './deferred.js'
import { type Generation, liveTable } from './generation.js'
import type { CacheHealth, CacheState } from './health.js'
import { asCacheError, Lifecycle } from './lifecycle.js'
import { APPLICATION_NAME, type ResolvedOptions } from './options.js'
import { callerSession, prepare, sessionOver, type Setup } from './setup.js'
import { untilServerIsUp } from './start-retry.js'
import { notAnEntity, SnapshotKeeper } from './snapshots.js'

const WAIT_DEFAULT_MS = 5_000
/** How long a caller waits for a position before the server is asked to flush. */
const NUDGE_AFTER_MS = 15

/** One declared table: what its readers hold on to while generations come and go. */
interface Entry {
  /** Its number in the feed. */
  readonly number: number
  readonly facade: CacheTable<object>
}

/** The cache itself: wires the parts together, and decides which generation is read. */
export class CacheCore {
  readonly #options: ResolvedOptions
  readonly #closing = new AbortController()
  readonly #gate: FreshnessGate
  readonly #feed: ChangeFeed
  readonly #waiters: PositionWaiters
  readonly #snapshots: SnapshotKeeper
  readonly #databaseGate: DatabaseGate
  readonly #serverPosition = new ServerPosition(() => this.#askPosition())
  readonly #ready = new Deferred()
  /** By declaration. */
  readonly #entries = new Map<object, Entry>()
  #sessions: SessionPool | null = null
  #lifecycle: Lifecycle | null = null
  #running: Promise<void> = Promise.resolve()
  /** The generation that is read; null before the first one has caught up. */
  #live: Generation | null = null
  #walSizes = { block: 0, segment: 0 }
  #gone: ClosedError | null = null
  #closed: Promise<void> | null = null

  constructor(options: ResolvedOptions) {
    const { runtime, logger } = options
    this.#options = options
    this.#gate = new FreshnessGate(runtime, options.maxStalenessMs, options.onStaleLocal, stale => {
      if (stale) logger.warn('Memory may be older than maxStaleness allows.')
      else logger.info('Memory is shown to be fresh again.')
    })
    this.#feed = new ChangeFeed(options.feedBytes)
    this.#waiters = new PositionWaiters(runtime.timers, () => this.#live?.store.position ?? LSN_ZERO)
    this.#snapshots = new SnapshotKeeper(runtime, options.snapshotMaxAgeMs)
    this.#databaseGate = new DatabaseGate(readsAtOnce(options), options.gateWaiting)
    this.#gate.refuse(new NotReadyError())
  }

  /** Checks everything, then loads; resolves as `wait` says. @throws {CacheError} and leaves nothing behind. */
  async start(): Promise<void> {
    const { signal, wait } = this.#options
    signal?.throwIfAborted()
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    try {
      await this.#begin()
      if (wait) await this.ready()
    } catch (error) {
      await this.close()
      signal?.throwIfAborted()
      throw error instanceof ClosedError && error.cause instanceof Error ? error.cause : error
    }
  }

  readonly #onAbort = (): void => void this.close()

  async #begin(): Promise<void> {
    const options = this.#options
    const { runtime, logger } = options
    const { signal } = this.#closing
    const own = runtime.connections
    const session = await untilServerIsUp(runtime, signal, logger, () =>
      own === undefined ? callerSession(options.pool, signal) : sessionOver(own, signal),
    )
    this.#throwIfGone()
    const connections = own ?? this.#connectionsFor(session)
    const sessions = new SessionPool(connections, options.connections)
    this.#sessions = sessions
    const setup = await untilServerIsUp(runtime, signal, logger, () =>
      prepare(options, session, sessions, signal),
    )
    this.#throwIfGone()
    this.#walSizes = { block: setup.server.walBlockBytes, segment: setup.server.walSegmentBytes }
    this.#addEntries(setup)
    this.#lifecycle = new Lifecycle(options, session, connections, sessions, {
      beforeLoad: () => this.#makeRoom(),
      onPosition: (generation, position, changed) => this.#onPosition(generation, position, changed),
      onAborted: generation => {
        if (generation === this.#live) this.#feed.aborted()
      },
      onProven: (generation, askedMs) => this.#onProven(generation, askedMs),
      onFailed: error => this.#fail(error),
    })
    const mayGiveUp = (): boolean => options.wait && this.#live === null
    this.#running = this.#lifecycle
      .run(setup, signal, mayGiveUp)
      .catch((error: unknown) => this.#fail(asCacheError(error)))
  }

  #connectionsFor(session: CallerSession): Connections {
    const { pool, replication, runtime } = this.#options
    return connectionsOf(pool, {
      ...(replication === undefined ? {} : { replication }),
      settings: session,
      applicationName: APPLICATION_NAME,
      timers: runtime.timers,
    })
  }

  /** Tables that can't be read yet, so that handles on them exist from the beginning. */
  #addEntries({ mappings }: Setup): void {
    const empty = new Store({ limitBytes: 0, tableLimitBytes: 0, hashSeed: 0 })
    const context = this.#readContext()
    for (const [number, mapping] of mappings.entries()) {
      const facade: CacheTable<object> = new CacheTable<object>(liveTable(empty, mapping), context, options =>
        this.#changes(number, facade.live, options),
      )
      this.#entries.set(mapping.declaration, { number, facade })
    }
    empty.fail(new NotReadyError())
  }

  #readContext(): ReadContext {
    const { maxStalenessMs, onStale, onUnknown } = this.#options
    const run = this.#sessions!.run.bind(this.#sessions)
    return {
      gate: this.#gate,
      database: new DatabaseReader(this.#databaseGate, run),
      maxStalenessMs,
      onStale,
      onUnknown,
      waitFor: (token, wait) => this.waitFor(token, wait),
      prove: signal => this.#live?.prove(signal) ?? Promise.resolve(),
      closed: () => this.#gone,
    }
  }

  /** Two generations at once must fit into the memory that one may have: else the old one goes first. */
  #makeRoom(): void {
    if (this.#live === null || this.#live.store.bytes * 2 <= this.#options.memoryBytes) return
    this.#options.logger.warn('There is no room to load beside what is held, so memory is emptied first.')
    const error = new NotReadyError()
    this.#live.store.fail(error)
    this.#gate.refuse(error)
  }

  #onPosition(generation: Generation, position: Lsn, changed: boolean): void {
    if (generation !== this.#live) return
    if (changed) this.#feed.published(position)
    this.#waiters.moved()
  }

  #onProven(generation: Generation, askedMs: number): void {
    if (this.#gone !== null) return
    if (generation === this.#live) this.#gate.prove(askedMs)
    else if (this.#mayTakeOver(generation)) this.#takeOver(generation, askedMs)
  }

  /** Within one history a reader must not go back: the new generation has to have come as far as the old one. */
  #mayTakeOver({ incarnation, store }: Generation): boolean {
    const old = this.#live
    return (
      old === null || !isSameHistory(old.incarnation, incarnation) || store.position >= old.store.position
    )
  }

  /** All tables change hands in one synchronous run: nobody sees some of the old and some of the new. */
  #takeOver(generation: Generation, provenMs: number): void {
    const old = this.#live
    const isFirst = old === null
    this.#live = generation
    if (old !== null && !isSameHistory(old.incarnation, generation.incarnation))
      this.#waiters.failAll(new TokenError('the server was failed over or restored while it was waited for.'))
    for (const live of generation.tables) this.#entries.get(live.mapping.declaration)!.facade.follow(live)
    this.#gate.restart(provenMs)
    if (!isFirst) {
      const byNumber = new Map([...this.#entries.values()].map(({ number, facade }) => [number, facade]))
      this.#feed.reloaded(
        number => byNumber.get(number)!.live.table,
        generation.store.position,
        generation.store.writing,
      )
    }
    this.#waiters.moved()
    this.#options.logger.info(`${isFirst ? 'Loaded' : 'Loaded anew'}: ${generation.tables.length} tables.`)
    this.#ready.resolve()
  }

  #fail(error: CacheError): void {
    this.#options.logger.error(error.message)
    this.#end(new ClosedError({ cause: error }))
    // Nobody may ever close a cache that has failed. What this rejects with, closing does too.
    this.#sessions?.close().catch(() => undefined)
  }

  /** Whoever reads or waits gets this error from now on. */
  #end(error: ClosedError): void {
    if (this.#gone !== null) return
    this.#gone = error
    this.#gate.refuse(error)
    for (const { facade } of this.#entries.values()) facade.live.store.fail(error)
    this.#snapshots.close(error)
    this.#waiters.failAll(error)
    this.#ready.reject(error)
    this.#closing.abort(error)
  }

  table<Row extends object>(declaration: TableDeclaration<Row>): Table<Row> {
    const entry = this.#entries.get(declaration)
    if (entry === undefined) throw notAnEntity()
    return entry.facade as unknown as Table<Row>
  }

  snapshot(): Snapshot {
    const live = this.#readable()
    if (!this.#gate.fresh) this.#gate.pass()
    return this.#snapshots.open(live, this.position)
  }

  get position(): string {
    const { incarnation, store } = this.#readable()
    return encodeToken(incarnation, store.position)
  }

  async token(signal?: AbortSignal): Promise<string> {
    const { incarnation } = this.#readable()
    const position = await unlessAborted(this.#serverPosition.get(), signal)
    return encodeToken(
      incarnation,
      normaliseInsertLsn(position, this.#walSizes.block, this.#walSizes.segment),
    )
  }

  async waitFor(
    token: string,
    { timeoutMs = WAIT_DEFAULT_MS, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    const { incarnation, store } = this.#readable()
    const position = decodeToken(token, incarnation)
    signal?.throwIfAborted()
    if (store.position >= position) return
    const refusal = new AbortController()
    const cancel = this.#options.runtime.timers.after(NUDGE_AFTER_MS, () => {
      this.#live?.nudge(this.#closing.signal)
      void this.#refuseBeyond(position, refusal)
    })
    try {
      const either = signal === undefined ? refusal.signal : AbortSignal.any([signal, refusal.signal])
      await this.#waiters.wait(position, timeoutMs, either)
    } finally {
      cancel()
    }
  }

  /** A position that the server itself has not come to is not waited for: the token was made up. */
  async #refuseBeyond(position: Lsn, refusal: AbortController): Promise<void> {
    // If the server can't be asked, the wait goes on, and ends by itself.
    const reached = await this.#serverPosition.get().catch(() => position)
    if (position > reached)
      refusal.abort(new TokenError('it names a position that the server has not come to yet.'))
  }

  async #askPosition(): Promise<Lsn> {
    return this.#sessions!.run(async session => {
      const [row] = await session.query('SELECT pg_current_wal_insert_lsn() AS position')
      return parseLsn(row!['position']!)
    })
  }

  #readable(): Generation {
    this.#throwIfGone()
    if (this.#live === null) throw new NotReadyError()
    return this.#live
  }

  #throwIfGone(): void {
    if (this.#gone !== null) throw this.#gone
  }

  #changes(
    number: number,
    { table }: LiveTable,
    { signal }: ChangesOptions,
  ): AsyncIterableIterator<TableChange<object>> {
    const { incarnation, store } = this.#readable()
    if (table.failed !== null) throw table.failed
    return new ChangeIterator({
      timers: this.#options.runtime.timers,
      feed: this.#feed,
      subscription: this.#feed.subscribe(number, table, store.writing),
      toChange: entry =>
        toTableChange(entry, encodeToken(this.#live?.incarnation ?? incarnation, entry.position)),
      signal,
      closing: this.#closing.signal,
    })
  }

  get state(): CacheState {
    if (this.#closed !== null) return 'closed'
    const state = this.#lifecycle?.state ?? 'connecting'
    if (state === 'failed' || state === 'closed') return state
    if (this.#live === null) return 'starting'
    return this.#lifecycle?.generation === this.#live ? 'live' : 'reconnecting'
  }

  health(): CacheHealth {
    const tables = [...this.#entries.values()].map(({ facade: { live } }) => ({
      name: live.mapping.name,
      rows: live.table.failed === null ? live.table.sizeAt(live.store.visible) : 0,
      bytes: live.table.bytes,
      decodedRows: live.table.decoded.size,
      failed: live.table.failed,
    }))
    return {
      state: this.state,
      stalenessMs: this.#gate.stalenessMs(),
      lsn: this.#live === null ? null : formatLsn(this.#live.store.position),
      bytes: this.#live?.store.bytes ?? 0,
      tables,
      openSnapshots: this.#snapshots.size,
      oldestSnapshotAgeMs: this.#snapshots.oldestAgeMs(),
      changeReaders: this.#feed.subscribers,
      feedBytes: this.#feed.bytes,
      waiting: this.#waiters.size,
      databaseRunning: this.#databaseGate.running,
      databaseWaiting: this.#databaseGate.waiting,
      reconnects: this.#lifecycle?.reconnects ?? 0,
      lastError: this.#lifecycle?.lastError ?? null,
    }
  }

  ready(): Promise<void> {
    return this.#ready.promise
  }

  close(): Promise<void> {
    this.#closed ??= this.#shutDown()
    return this.#closed
  }

  async #shutDown(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#end(new ClosedError())
    await this.#running
    await this.#sessions?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function isSameHistory(a: Incarnation, b: Incarnation): boolean {
  return a.systemId === b.systemId && a.timeline === b.timeline
}

/** One session is left for the probes: reads that wait for somebody's lock must not make all of memory stale. */
function readsAtOnce({ gateRunning, connections }: ResolvedOptions): number {
  return Math.min(gateRunning, connections - 1)
}

export type { CacheHealth, CacheState, TableHealth } from './health.js'
