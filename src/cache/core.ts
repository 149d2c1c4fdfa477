import { setMaxListeners } from 'node:events'
import type pg from 'pg'
import { formatLsn, LSN_ZERO, type Lsn } from '../change/lsn.js'
import { type CacheError, ClosedError, NotReadyError } from '../errors.js'
import { ChangeFeed } from '../feed/feed.js'
import { FreshnessGates, type OnTurn } from '../freshness/gates.js'
import { type LogPages, positionColumns, readPosition, ServerPosition } from '../freshness/server-position.js'
import { parseTimelineHistory, type TimelineHistory } from '../freshness/timeline.js'
import { type LogPosition, TokenCodec } from '../freshness/token.js'
import { DatabaseReader, type RunQuery } from '../query/database.js'
import { DatabaseGate } from '../query/gate.js'
import type { LiveTable } from '../query/live.js'
import { pinNewest, type ReadContext } from '../query/answer.js'
import type { ScopeContext } from '../query/scope.js'
import { CacheTable } from '../query/table.js'
import type {
  RequestScope,
  RunOptions,
  Snapshot,
  Table,
  TableDeclaration,
  WaitOptions,
} from '../query/types.js'
import type { CallerSession } from '../mapping/session.js'
import { type Connections, unlessAborted } from '../runtime.js'
import { Store } from '../store/store.js'
import { connectionsOf } from '../wire/connection.js'
import { SessionPool } from '../wire/session-pool.js'
import { Additions, type AddTableOptions } from './additions.js'
import { AuditLedger } from './audits.js'
import { tableHealth } from './table-health.js'
import { ownBounds } from './bounds.js'
import { Deferred } from './deferred.js'
import { type CacheEvents, Emitter } from './events.js'
import { Followers } from './followers.js'
import { type Generation, liveTable } from './generation.js'
import type { CacheHealth, CacheState } from './health.js'
import { asCacheError, Lifecycle } from './lifecycle.js'
import { APPLICATION_NAME, type ResolvedOptions } from './options.js'
import { RequestScopes } from './scopes.js'
import { CacheSession, type Session } from './session.js'
import { callerSession, prepare, sessionOver, type Setup } from './setup.js'
import { untilServerIsUp } from './start-retry.js'
import { notAnEntity, SnapshotKeeper } from './snapshots.js'
import { TokenWaits } from './tokens.js'
import { type Verification, verify, type VerifyOptions } from './verification.js'
import { positionOn, type Queryable, write, type WriteOptions, type Written } from './write.js'

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
  readonly #gates: FreshnessGates
  readonly #events = new Emitter<CacheEvents>()
  readonly #audits: AuditLedger
  /** The declared tables, those that were added among them: what the next generation is loaded by. */
  readonly #entities: object[]
  readonly #additions: Additions
  readonly #feed: ChangeFeed<LiveTable>
  readonly #followers: Followers
  readonly #codec: TokenCodec
  readonly #waits: TokenWaits
  readonly #snapshots: SnapshotKeeper
  readonly #databaseGate: DatabaseGate
  readonly #serverPosition = new ServerPosition(() => this.#askPosition())
  readonly #ready = new Deferred()
  readonly #scopes = new RequestScopes(() => this.#scopeContext())
  /** By declaration. */
  readonly #entries = new Map<object, Entry>()
  #sessions: SessionPool | null = null
  #context: ReadContext | null = null
  #lifecycle: Lifecycle | null = null
  #running: Promise<void> = Promise.resolve()
  /** The generation that is read; null before the first one has caught up. */
  #live: Generation | null = null
  #connections: Connections | null = null
  #pages: LogPages = { walBlockBytes: 1, walSegmentBytes: 1 }
  #gone: ClosedError | null = null
  #closed: Promise<void> | null = null

  constructor(options: ResolvedOptions) {
    const { runtime } = options
    this.#entities = [...options.entities]
    this.#options = { ...options, entities: this.#entities }
    this.#additions = new Additions({
      runtime,
      decoder: options.decoder,
      closing: this.#closing.signal,
      ready: () => this.ready(),
      growing: () => (this.#lifecycle?.generation === this.#live ? this.#live : null),
      has: declaration => this.#entries.has(declaration),
    })
    // Each reader of changes listens for the end, and a thousand are no leak.
    setMaxListeners(0, this.#closing.signal)
    const bound = { maxStalenessMs: options.maxStalenessMs, whenStale: options.onStaleLocal }
    this.#gates = new FreshnessGates(runtime, bound, (...turn) => this.#onTurn(...turn))
    this.#audits = new AuditLedger(options.logger, this.#events)
    this.#feed = new ChangeFeed({
      limitBytes: options.feedBytes,
      historyMs: options.feedHistoryMs,
      timers: runtime.timers,
      areComparable: haveSameShape,
    })
    this.#codec = new TokenCodec(options.tokenSecrets)
    this.#followers = new Followers({
      feed: this.#feed,
      codec: this.#codec,
      timers: runtime.timers,
      closing: this.#closing.signal,
      readable: () => this.#readable(),
    })
    this.#waits = new TokenWaits(
      {
        runtime,
        readable: () => this.#readable(),
        server: this.#serverPosition,
        askHistory: timeline => this.#askHistory(timeline),
        nudge: () => this.#live?.nudge(this.#closing.signal),
        lookForUntold: () => this.#live?.lookForUntold() ?? null,
      },
      () => this.#live?.store.position ?? LSN_ZERO,
    )
    this.#snapshots = new SnapshotKeeper(runtime, options.snapshotMaxAgeMs)
    this.#databaseGate = new DatabaseGate(readsAtOnce(options), options.gateWaiting)
    this.#gates.refuse(new NotReadyError())
  }

  #onTurn(...[isStale, gate, table]: Parameters<OnTurn>): void {
    const { logger } = this.#options
    const { maxStalenessMs } = gate
    const what = table === null ? 'Memory' : `Table ${table}`
    if (isStale) {
      logger.warn(`${what} may be older than maxStaleness allows.`)
      this.#events.emit('stale', { stalenessMs: gate.stalenessMs(), maxStalenessMs, table })
    } else {
      logger.info(`${what} is shown to be fresh again.`)
      this.#events.emit('fresh', { maxStalenessMs, table })
    }
  }

  on<Name extends keyof CacheEvents>(name: Name, listener: (event: CacheEvents[Name]) => void): () => void {
    return this.#events.on(name, listener)
  }

  staleness(): number {
    return this.#gates.common.stalenessMs()
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
      throw asCacheError(error instanceof ClosedError && error.cause instanceof Error ? error.cause : error)
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
    this.#connections = connections
    const sessions = new SessionPool(connections, options.connections)
    this.#sessions = sessions
    const setup = await untilServerIsUp(runtime, signal, logger, () =>
      prepare(options, session, sessions, signal),
    )
    this.#throwIfGone()
    this.#pages = setup.server
    this.#addEntries(setup)
    const isBusy = (): boolean => this.#databaseGate.waiting > 0
    this.#lifecycle = new Lifecycle(options, session, connections, sessions, this.#fallThrough, isBusy, {
      beforeLoad: () => this.#makeRoom(),
      onPosition: (generation, position, changed) => this.#onPosition(generation, position, changed),
      onAborted: generation => {
        if (generation === this.#live) this.#feed.aborted()
      },
      onOverfull: generation => this.#snapshots.endOldest(generation),
      onTable: (generation, live) => this.#onTable(generation, live),
      onProven: (generation, askedMs) => this.#onProven(generation, askedMs),
      onDoubted: generation => {
        if (generation === this.#live) this.#gates.doubt()
      },
      onCompared: (mapping, compared) => this.#audits.compared(mapping, compared),
      onMismatches: (mapping, mismatches) => this.#audits.mismatched(mapping, mismatches),
      onFailed: error => this.#fail(error),
    })
    const mayGiveUp = (): boolean => options.wait && this.#live === null
    this.#running = this.#lifecycle
      .run(setup, signal, mayGiveUp)
      .catch((error: unknown) => this.#fail(asCacheError(error)))
  }

  /** Reads that memory can't answer go to PostgreSQL a few at a time, on sessions of our own. */
  readonly #fallThrough: RunQuery = (work, signal) =>
    this.#databaseGate.pass(() => this.#sessions!.run(work, signal), signal)

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
    for (const mapping of mappings) this.#addEntry(liveTable(empty, mapping))
    empty.fail(new NotReadyError())
    this.#gates.refuse(new NotReadyError())
  }

  #addEntry(live: LiveTable): Entry {
    const { mapping } = live
    const number = this.#entries.size
    const context = this.#reads
    const bounds = ownBounds(mapping, this.#options)
    const own =
      bounds === null ? context : { ...context, ...bounds, gate: this.#gates.own(mapping.name, bounds) }
    const facade: CacheTable<object> = new CacheTable<object>(live, own, {
      changes: options => this.#followers.changes(number, facade.live, options),
      watch: (query, signal) => this.#followers.watch(number, facade.live, query, signal),
    })
    const entry = { number, facade }
    this.#entries.set(mapping.declaration, entry)
    return entry
  }

  get #reads(): ReadContext {
    this.#context ??= this.#readContext()
    return this.#context
  }

  #readContext(): ReadContext {
    const { maxStalenessMs, onStale, onUnknown } = this.#options
    const run = this.#sessions!.run.bind(this.#sessions)
    return {
      runtime: this.#options.runtime,
      gate: this.#gates.common,
      database: new DatabaseReader(this.#databaseGate, run, () => this.#pages),
      maxStalenessMs,
      onStale,
      onUnknown,
      positionOf: token => this.#codec.decode(token),
      position: () => positionOf(this.#readable()),
      serverPosition: () => this.#serverPosition.get(),
      waitFor: (position, wait) => this.#waits.waitFor(position, wait),
      mustCover: (position, by) => this.#waits.mustCover(position, by),
      prove: signal => this.#live?.prove(signal) ?? Promise.resolve(),
      closed: () => this.#gone,
      scope: () => this.#scopes.current,
      session: null,
      tokenOf: position => this.#codec.encode(position, position.lsn),
    }
  }

  #scopeContext(): ScopeContext {
    this.#throwIfGone()
    const reads = this.#reads
    const open = (): Snapshot => this.#snapshots.open(this.#readable(), this.position)
    return {
      gate: this.#gates.common,
      onUnknown: reads.onUnknown,
      pin: options => pinNewest(reads, options, open),
      covers: (snapshot, token) =>
        this.#waits.isIn(this.#codec.decode(token), this.#codec.decode(snapshot.position)),
      token: signal => this.token(undefined, signal === undefined ? {} : { signal }),
    }
  }

  /** Two generations at once must fit into the memory that one may have: else the old one goes first. */
  #makeRoom(): void {
    if (this.#live === null || this.#live.store.bytes * 2 <= this.#options.memoryBytes) return
    this.#options.logger.warn('There is no room to load beside what is held, so memory is emptied first.')
    const error = new NotReadyError()
    this.#live.store.fail(error)
    this.#gates.refuse(error)
  }

  #onPosition(generation: Generation, position: Lsn, changed: boolean): void {
    if (generation !== this.#live) return
    if (changed) this.#feed.published(position)
    this.#waits.moved()
  }

  #onTable(generation: Generation, live: LiveTable): void {
    if (generation !== this.#live || this.#gone !== null) return
    const entry = this.#entries.get(live.mapping.declaration)
    if (entry === undefined) {
      // From now on it is loaded with the others.
      this.#entities.push(live.mapping.declaration)
      this.#addEntry(live)
      return
    }
    entry.facade.follow(live)
    this.#feed.replaced(entry.number, live)
  }

  #onProven(generation: Generation, askedMs: number): void {
    if (this.#gone !== null) return
    if (generation === this.#live) {
      this.#gates.prove(askedMs)
      this.#waits.moved()
    } else this.#takeOver(generation, askedMs)
  }

  /** All tables change hands in one synchronous run: nobody sees some of the old and some of the new. */
  #takeOver(generation: Generation, provenMs: number): void {
    const old = this.#live
    const isFirst = old === null
    this.#live = generation
    if (old !== null && isOtherHistory(old, generation)) {
      this.#options.logger.warn('The server has another history than the one that memory has shown so far.')
      this.#waits.historyChanged()
    }
    for (const live of generation.tables) this.#entries.get(live.mapping.declaration)!.facade.follow(live)
    this.#gates.restart(provenMs)
    if (!isFirst) {
      const byNumber = new Map([...this.#entries.values()].map(({ number, facade }) => [number, facade]))
      const isSame = !isOtherHistory(old, generation)
      this.#feed.reloaded(number => byNumber.get(number)!.live, generation.store.writing, isSame)
    }
    this.#waits.moved()
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
    this.#gates.refuse(error)
    for (const { facade } of this.#entries.values()) facade.live.store.fail(error)
    this.#snapshots.close(error)
    this.#feed.close()
    this.#waits.fail(error)
    this.#ready.reject(error)
    this.#closing.abort(error)
  }

  table<Row extends object>(declaration: TableDeclaration<Row>): Table<Row> {
    return this.#facade(declaration)
  }

  async addTable<Row extends object>(
    declaration: TableDeclaration<Row>,
    options: AddTableOptions = {},
  ): Promise<Table<Row>> {
    this.#throwIfGone()
    await this.#additions.add(declaration, options)
    return this.table(declaration)
  }

  #facade<Row extends object>(declaration: TableDeclaration<Row>): CacheTable<Row> {
    const entry = this.#entries.get(declaration)
    if (entry === undefined) throw notAnEntity()
    return entry.facade as unknown as CacheTable<Row>
  }

  session(token?: string | null): Session {
    return new CacheSession(
      {
        codec: this.#codec,
        table: (declaration, session) => this.#facade(declaration).within(session),
        snapshot: () => this.snapshot(),
        waitFor: (position, options) => this.#waits.waitFor(position, options),
        write: (work, options) => this.write(work, options),
      },
      token,
    )
  }

  snapshot(): Snapshot {
    const live = this.#readable()
    const gate = this.#gates.common
    if (!gate.fresh) gate.pass()
    return this.#snapshots.open(live, this.position)
  }

  run<T>(options: RunOptions, work: (scope: RequestScope) => T | PromiseLike<T>): Promise<T> {
    return this.#scopes.run(options, work)
  }

  get scope(): RequestScope | null {
    return this.#scopes.current
  }

  get position(): string {
    const { incarnation, store } = this.#readable()
    return this.#codec.encode(incarnation, store.position)
  }

  async token(client?: Queryable, { signal }: { readonly signal?: AbortSignal } = {}): Promise<string> {
    this.#throwIfGone()
    const asked = client === undefined ? this.#serverPosition.get() : positionOn(client, this.#pages)
    const position = await unlessAborted(asked, signal)
    return this.#codec.encode(position, position.lsn)
  }

  async write<T>(
    work: (client: pg.PoolClient) => Promise<T>,
    options: WriteOptions = {},
  ): Promise<Written<T>> {
    this.#throwIfGone()
    const { result, position } = await write(this.#options.pool, this.#pages, work, options)
    return { result, token: this.#codec.encode(position, position.lsn) }
  }

  async waitFor(token: string, options?: WaitOptions): Promise<void> {
    await this.#waits.waitFor(this.#codec.decode(token), options)
  }

  async verify(options: VerifyOptions = {}): Promise<Verification> {
    this.#throwIfGone()
    const { runtime, sliceMs } = this.#options
    const declarations = options.tables ?? [...this.#entries.keys()]
    for (const declaration of declarations) if (!this.#entries.has(declaration)) throw notAnEntity()
    const live = (): Generation => this.#readable()
    const closing = this.#closing.signal
    return verify({ runtime, sliceMs, run: this.#fallThrough, live, closing }, declarations, options)
  }

  async #askPosition(): Promise<LogPosition> {
    try {
      return await this.#sessions!.run(async session => {
        const [row] = await session.query(`SELECT ${positionColumns('pg_current_wal_insert_lsn()')}`)
        return readPosition(row!, this.#pages)
      })
    } catch (error) {
      throw asCacheError(error)
    }
  }

  async #askHistory(timeline: number): Promise<TimelineHistory> {
    const replication = await this.#connections!.replication(this.#closing.signal)
    try {
      const [row] = await replication.query(`TIMELINE_HISTORY ${timeline}`)
      return parseTimelineHistory(row!['content']!)
    } finally {
      await replication.close()
    }
  }

  #readable(): Generation {
    this.#throwIfGone()
    if (this.#live === null) throw new NotReadyError()
    return this.#live
  }

  #throwIfGone(): void {
    if (this.#gone !== null) throw this.#gone
  }

  get state(): CacheState {
    if (this.#closed !== null) return 'closed'
    const state = this.#lifecycle?.state ?? 'connecting'
    if (state === 'failed' || state === 'closed') return state
    if (this.#live === null) return 'starting'
    return this.#lifecycle?.generation === this.#live ? 'live' : 'reconnecting'
  }

  health(): CacheHealth {
    const tables = [...this.#entries.values()].map(({ facade }) =>
      tableHealth(facade.live, this.#audits.countsOf(facade.live.mapping)),
    )
    return {
      state: this.state,
      stalenessMs: this.staleness(),
      lsn: this.#live === null ? null : formatLsn(this.#live.store.position),
      bytes: this.#live?.store.bytes ?? 0,
      tables,
      openSnapshots: this.#snapshots.size,
      oldestSnapshotAgeMs: this.#snapshots.oldestAgeMs(),
      changeReaders: this.#feed.subscribers,
      feedBytes: this.#feed.bytes,
      waiting: this.#waits.size,
      databaseRunning: this.#databaseGate.running,
      databaseWaiting: this.#databaseGate.waiting,
      reconnects: this.#lifecycle?.reconnects ?? 0,
      retainedWalBytes: this.#lifecycle?.retainedWalBytes ?? null,
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

function positionOf({ incarnation, store }: Generation): LogPosition {
  const { systemId, timeline } = incarnation
  return { systemId, timeline, lsn: store.position }
}

/**
 * Whether commits that the old generation has shown may not be in the new one, which has been proven. Within one history that can't be: a proof has come as
 * far as the server's log, and that further than any stream of it. A log that ends earlier is that of a server that was put back.
 */
/** Whether rows of both take the same columns, of the same types, in the same order. */
function haveSameShape(old: LiveTable, next: LiveTable): boolean {
  const shapeOf = ({ mapping }: LiveTable): string =>
    JSON.stringify([
      mapping.columns.map(({ property, column, typeOid, typeModifier }) => [
        property,
        column,
        typeOid,
        typeModifier,
      ]),
      mapping.key,
    ])
  return shapeOf(old) === shapeOf(next)
}

function isOtherHistory(old: Generation, proven: Generation): boolean {
  const [a, b] = [old.incarnation, proven.incarnation]
  return a.systemId !== b.systemId || a.timeline !== b.timeline || proven.store.position < old.store.position
}

/** One session is left for the probes: reads that wait for somebody's lock must not make all of memory stale. */
function readsAtOnce({ gateRunning, connections }: ResolvedOptions): number {
  return Math.min(gateRunning, connections - 1)
}

export type { BoundedHealth, CacheHealth, CacheState, TableHealth } from './health.js'
