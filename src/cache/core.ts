import { setMaxListeners } from 'node:events'
import type pg from 'pg'
import type { Verification } from '../audit/report.js'
import { type CacheError, ClosedError, NotReadyError } from '../errors.js'
import { ChangeFeed } from '../feed/feed.js'
import { FreshnessGates } from '../freshness/gates.js'
import type { ReadContext } from '../query/answer.js'
import { checkOptions, checkWait, WAIT_OPTIONS } from '../query/check-read.js'
import type { RunQuery } from '../query/database.js'
import { DatabaseGate } from '../query/gate.js'
import type { LiveTable } from '../query/live.js'
import type { ScopeContext } from '../query/scope.js'
import type {
  RequestScope,
  RunOptions,
  Snapshot,
  StrictSnapshot,
  Table,
  TableDeclaration,
  WaitOptions,
} from '../query/types.js'
import { SessionPool } from '../wire/session-pool.js'
import { Additions } from './additions.js'
import { AuditLedger } from './audits.js'
import { healthOf } from './cache-health.js'
import { areComparable, DeclaredTables } from './declared-tables.js'
import { Deferred } from './deferred.js'
import { Emitter, turnsTold } from './emitter.js'
import type { CacheEvents } from './events.js'
import { Followers } from './followers.js'
import type { Generation } from './generation.js'
import type { CacheHealth, CacheState } from './health.js'
import { JoiningTables } from './joining-tables.js'
import { asCacheError, Lifecycle } from './lifecycle.js'
import { OnlineIndexes } from './online-indexes.js'
import { openConnections, readsAtOnce } from './opening.js'
import type { ResolvedOptions } from './options.js'
import { Positions } from './positions.js'
import { readContextOf, scopeContextOf } from './reads.js'
import { RequestScopes } from './scopes.js'
import { Served } from './served.js'
import { CacheSession } from './session.js'
import { prepare } from './setup.js'
import { untilServerIsUp } from './start-retry.js'
import { StrictSnapshots } from './strict-snapshots.js'
import { notAnEntity, SnapshotKeeper } from './snapshots.js'
import type { AddTableOptions, Queryable, Session, VerifyOptions, WriteOptions, Written } from './types.js'
import { verify } from './verification.js'

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
  readonly #indexes: OnlineIndexes
  readonly #feed: ChangeFeed<LiveTable>
  readonly #followers: Followers
  readonly #positions: Positions
  readonly #snapshots: SnapshotKeeper
  readonly #strictSnapshots: StrictSnapshots
  readonly #databaseGate: DatabaseGate
  readonly #ready = new Deferred()
  readonly #scopes = new RequestScopes(() => this.#scopeContext())
  readonly #tables: DeclaredTables
  readonly #served: Served
  #sessions: SessionPool | null = null
  #context: ReadContext | null = null
  #lifecycle: Lifecycle | null = null
  #running: Promise<void> = Promise.resolve()
  #gone: ClosedError | null = null
  #closed: Promise<void> | null = null

  constructor(options: ResolvedOptions) {
    const { runtime } = options
    this.#entities = [...options.entities]
    this.#options = { ...options, entities: this.#entities }
    this.#indexes = new OnlineIndexes({
      runtime,
      logger: options.logger,
      sliceMs: options.sliceMs,
      closing: this.#closing.signal,
      added: options.addedIndexes,
    })
    // Each reader of changes listens for the end, and a thousand are no leak.
    setMaxListeners(0, this.#closing.signal)
    const bound = { maxStalenessMs: options.maxStalenessMs, whenStale: options.onStaleLocal }
    this.#gates = new FreshnessGates(runtime, bound, turnsTold(options.logger, this.#events))
    this.#audits = new AuditLedger(options.logger, this.#events)
    this.#feed = new ChangeFeed({
      limitBytes: options.feedBytes,
      historyMs: options.feedHistoryMs,
      timers: runtime.timers,
      areComparable,
    })
    this.#positions = new Positions({
      options,
      closing: this.#closing.signal,
      readable: () => this.#readable(),
      live: () => this.#served.live,
    })
    this.#followers = new Followers({
      feed: this.#feed,
      codec: this.#positions.codec,
      timers: runtime.timers,
      closing: this.#closing.signal,
      database: () => this.#reads.database,
      readable: () => this.#readable(),
    })
    this.#tables = new DeclaredTables({
      options: this.#options,
      gates: this.#gates,
      followers: this.#followers,
      audits: this.#audits,
      indexes: this.#indexes,
      reads: () => this.#reads,
    })
    const joining = new JoiningTables(this.#tables, this.#entities)
    this.#additions = new Additions({
      runtime,
      closing: this.#closing.signal,
      ready: () => this.ready(),
      growing: () => (this.#lifecycle?.generation === this.#served.live ? this.#served.live : null),
      has: declaration => this.#tables.has(declaration),
      joining,
    })
    this.#snapshots = new SnapshotKeeper(runtime, options.snapshotMaxAgeMs)
    this.#served = new Served({
      options,
      gates: this.#gates,
      feed: this.#feed,
      tables: this.#tables,
      positions: this.#positions,
      snapshots: this.#snapshots,
      audits: this.#audits,
      joining,
      entities: this.#entities,
      isGone: () => this.#gone !== null,
      onReady: () => this.#ready.resolve(),
    })
    this.#strictSnapshots = new StrictSnapshots({
      runtime,
      max: options.connections,
      keeper: this.#snapshots,
      positions: this.#positions,
      closing: this.#closing.signal,
      sessions: () => this.#sessions!,
      readable: () => this.#readable(),
    })
    this.#databaseGate = new DatabaseGate(readsAtOnce(options), options.gateWaiting)
    this.#gates.refuse(new NotReadyError())
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
    const { connections, session } = await openConnections(options, signal)
    this.#throwIfGone()
    const sessions = new SessionPool(connections, options.connections)
    this.#sessions = sessions
    this.#positions.connected(connections, sessions)
    const setup = await untilServerIsUp(runtime, signal, logger, () =>
      prepare(options, session, sessions, signal),
    )
    this.#throwIfGone()
    this.#positions.pages = setup.server
    this.#tables.declare(setup.mappings)
    this.#gates.refuse(new NotReadyError())
    const isBusy = (): boolean => this.#databaseGate.waiting > 0
    const hooks = this.#served.hooks(error => this.#fail(error))
    this.#lifecycle = new Lifecycle(options, session, connections, sessions, this.#fallThrough, isBusy, hooks)
    const mayGiveUp = (): boolean => options.wait && this.#served.live === null
    this.#running = this.#lifecycle
      .run(setup, signal, mayGiveUp)
      .catch((error: unknown) => this.#fail(asCacheError(error)))
  }

  /** Reads that memory can't answer go to PostgreSQL a few at a time, on sessions of our own. */
  readonly #fallThrough: RunQuery = (work, signal) =>
    this.#databaseGate.pass(() => this.#sessions!.run(work, signal), signal)

  get #reads(): ReadContext {
    this.#context ??= readContextOf({
      options: this.#options,
      gates: this.#gates,
      databaseGate: this.#databaseGate,
      positions: this.#positions,
      sessions: this.#sessions!,
      readable: () => this.#readable(),
      prove: signal => this.#served.live?.probes.prove(signal) ?? Promise.resolve(),
      closed: () => this.#gone,
      scope: () => this.#scopes.current,
    })
    return this.#context
  }

  #scopeContext(): ScopeContext {
    this.#throwIfGone()
    return scopeContextOf(
      this.#positions,
      this.#reads,
      () => this.#snapshots.open(this.#readable(), this.position),
      signal => this.token(undefined, signal === undefined ? {} : { signal }),
    )
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
    this.#tables.fail(error)
    this.#snapshots.close(error)
    this.#feed.close()
    this.#positions.waits.fail(error)
    this.#ready.reject(error)
    this.#closing.abort(error)
  }

  table<Row extends object>(declaration: TableDeclaration<Row>): Table<Row> {
    return this.#tables.facade(declaration)
  }

  async addTable<Row extends object>(
    declaration: TableDeclaration<Row>,
    options: AddTableOptions = {},
  ): Promise<Table<Row>> {
    this.#throwIfGone()
    await this.#additions.add(declaration, options)
    return this.table(declaration)
  }

  session(token?: string | null): Session {
    return new CacheSession(
      {
        codec: this.#positions.codec,
        table: (declaration, session) => this.#tables.facade(declaration).within(session),
        snapshot: () => this.snapshot(),
        waitFor: (position, options) => this.#positions.waits.waitFor(position, options),
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

  async strictSnapshot(options: WaitOptions = {}): Promise<StrictSnapshot> {
    checkOptions('strictSnapshot', options, WAIT_OPTIONS)
    this.#readable()
    const gate = this.#gates.common
    if (!gate.fresh) gate.pass()
    return this.#strictSnapshots.open(options)
  }

  run<T>(options: RunOptions, work: (scope: RequestScope) => T | PromiseLike<T>): Promise<T> {
    return this.#scopes.run(options, work)
  }

  get scope(): RequestScope | null {
    return this.#scopes.current
  }

  get position(): string {
    return this.#positions.position
  }

  async token(client?: Queryable, { signal }: { readonly signal?: AbortSignal } = {}): Promise<string> {
    this.#throwIfGone()
    return this.#positions.token(client, signal)
  }

  async write<T>(
    work: (client: pg.PoolClient) => Promise<T>,
    options: WriteOptions = {},
  ): Promise<Written<T>> {
    this.#throwIfGone()
    try {
      return await this.#positions.write(work, options)
    } finally {
      // What it wrote, and may have read, is newer than the request's commit.
      this.#scopes.current?.databaseWasRead()
    }
  }

  async waitFor(token: string, options: WaitOptions = {}): Promise<void> {
    checkWait(checkOptions('waitFor', options, WAIT_OPTIONS))
    await this.#positions.waitFor(token, options)
  }

  async verify(options: VerifyOptions = {}): Promise<Verification> {
    this.#throwIfGone()
    const { runtime, sliceMs } = this.#options
    const declarations = options.tables ?? this.#tables.declarations
    for (const declaration of declarations) if (!this.#tables.has(declaration)) throw notAnEntity()
    const live = (): Generation => this.#readable()
    const closing = this.#closing.signal
    return verify({ runtime, sliceMs, run: this.#fallThrough, live, closing }, declarations, options)
  }

  #readable(): Generation {
    this.#throwIfGone()
    const { live } = this.#served
    if (live === null) throw new NotReadyError()
    return live
  }

  #throwIfGone(): void {
    if (this.#gone !== null) throw this.#gone
  }

  get state(): CacheState {
    if (this.#closed !== null) return 'closed'
    const state = this.#lifecycle?.state ?? 'connecting'
    if (state === 'failed' || state === 'closed') return state
    if (this.#served.live === null) return 'starting'
    return this.#lifecycle?.generation === this.#served.live ? 'live' : 'reconnecting'
  }

  health(): CacheHealth {
    return healthOf({
      state: this.state,
      stalenessMs: this.staleness(),
      live: this.#served.live,
      lifecycle: this.#lifecycle,
      tables: this.#tables,
      snapshots: this.#snapshots,
      feed: this.#feed,
      waits: this.#positions.waits,
      databaseGate: this.#databaseGate,
    })
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
    await this.#strictSnapshots.closed()
    await this.#sessions?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
