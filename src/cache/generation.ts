import { Applier } from '../apply/applier.js'
import type { AppliedTable, BoundRelation } from '../apply/binding.js'
import { CommitLog } from '../apply/commit-log.js'
import { Filler } from '../apply/fill.js'
import { type Fault, isAboutData } from '../apply/fault.js'
import { loadTables } from '../apply/load.js'
import { Auditor } from '../audit/auditor.js'
import { type Compared, Comparer } from '../audit/comparer.js'
import type { Mismatch } from '../audit/comparison.js'
import { forgetKeys } from '../audit/forget.js'
import { type Lsn, normaliseInsertLsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import { type Decoder, decoders } from '../decode/index.js'
import { asError, ConnectionError, DivergedError, NotReadyError, SetupError } from '../errors.js'
import { tablesInOtherFiles } from '../freshness/files.js'
import type { Incarnation } from '../freshness/token.js'
import { type ProbeAnswer, Prober } from '../freshness/probe.js'
import { PositionWaiters } from '../freshness/waiters.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { CallerSession } from '../mapping/session.js'
import { createRowFactory, type RowFactory } from '../mapping/values.js'
import { Finder } from '../query/find.js'
import type { RunQuery } from '../query/database.js'
import { hasIntegerKey, KeyReader } from '../query/key.js'
import { UniqueKeys } from '../query/unique.js'
import type { LiveTable } from '../query/live.js'
import { type Connections, unlessAborted, within } from '../runtime.js'
import { type DurableSlot, openSlotSource, resumeSlotSource } from '../source/slot-source.js'
import type { ChangeSource } from '../source/source.js'
import { Store } from '../store/store.js'
import type { TableLayout } from '../store/table.js'
import { isServerError, noAnswer } from '../wire/connect-errors.js'
import type { SessionPool } from '../wire/session-pool.js'
import { tightestMs } from './bounds.js'
import { APPLICATION_NAME, type ResolvedOptions } from './options.js'
import { synchronousStandby } from './standby-names.js'
import { type GrowingSetup, readFingerprint, relationsOf, resolveAdded } from './setup.js'
import { TableWatch } from './table-watch.js'

/** Probes come at a third of the allowed staleness, and at most this far apart. */
const PROBE_INTERVAL_MAX_MS = 1_000
const PROBE_INTERVAL_MIN_MS = 10
/** How long a read waits for a proof of its own. While a huge transaction is applied, none can be had. */
const PROOF_WAIT_MS = 1_000
/** How long the tables may take to be looked at before a stream is gone on with: an idle session may have died with it, unnoticed. */
const RESUME_LOOK_MS = 5_000
/** How long a probe's position may take to arrive: the next probe asks again. */
const REACH_TIMEOUT_MS = 24 * 3600 * 1000

/** What a generation tells its owner. */
export interface GenerationEvents {
  /** A commit became visible (`changed`), or the position moved without one. */
  readonly onPosition: (generation: Generation, position: Lsn, changed: boolean) => void
  readonly onAborted: (generation: Generation) => void
  /** Snapshots hold more of its bounded tables than they may: the oldest has to go. False if there is none. */
  readonly onOverfull: (generation: Generation) => boolean
  /** This is one of its tables from now on: it can't be read any more, or can be again. */
  readonly onTable: (generation: Generation, live: LiveTable) => void
  /** Everything committed before `askedMs` is in its tables. */
  readonly onProven: (generation: Generation, askedMs: number) => void
  /** The load, or the stream that is about to end, has failed of what the server sent. */
  readonly onFault: (fault: Fault) => void
  /** Its tables are found to show no commit's state. Nothing is proven of it any more. */
  readonly onDoubted: (generation: Generation) => void
  /** Rows of one of its tables were compared with PostgreSQL. */
  readonly onCompared: (mapping: TableMapping, compared: Compared) => void
  /** They were found to differ. */
  readonly onMismatches: (mapping: TableMapping, mismatches: readonly Mismatch[]) => void
}

export interface GenerationContext {
  readonly options: ResolvedOptions
  readonly connections: Connections
  /** The caller's. */
  readonly session: CallerSession
  readonly sessions: SessionPool
  /** For reads that memory can't answer: never more of them at a time than the gate lets through. */
  readonly fallThrough: RunQuery
  /** Whether such reads wait for their turn. */
  readonly isBusy: () => boolean
  /** Tables that are added join it. */
  readonly setup: GrowingSetup
  /** The slot that outlives a cut, or null. */
  readonly slot: DurableSlot | null
  readonly events: GenerationEvents
}

/** What is needed from the beginning of the stream on. */
interface Loaded {
  /** For bounded tables; null if there are none. */
  readonly log: CommitLog | null
  readonly slotSnapshot: SqlSnapshot
}

/**
 * One uninterrupted life of slot and loaded tables. It never mends itself: when anything is lost or in doubt its stream ends, and its owner
 * resumes it, or loads the next one while this one's tables go on being read.
 */
export class Generation {
  readonly store: Store
  readonly incarnation: Incarnation
  readonly #context: GenerationContext
  readonly #decoder: Decoder<BoundRelation>
  readonly #applier: Applier
  readonly #watch: TableWatch
  readonly #waiters: PositionWaiters
  #source: ChangeSource<BoundRelation>
  #prober: Prober
  /** Null if all tables are whole. */
  #filler: Filler | null = null
  #log: CommitLog | null
  readonly #slotSnapshot: SqlSnapshot
  readonly comparer: Comparer
  #startedAt: string | null = null
  /** Aborts when the generation ends; null before it runs. */
  #until: AbortSignal | null = null
  #isDoubted = false
  #end: (error: unknown) => void = () => undefined

  private constructor(
    context: GenerationContext,
    decoder: Decoder<BoundRelation>,
    source: ChangeSource<BoundRelation>,
    store: Store,
    tables: readonly (LiveTable & AppliedTable)[],
    loaded: Loaded,
  ) {
    const { options, events } = context
    this.#context = context
    this.#decoder = decoder
    this.#source = source
    this.store = store
    this.#log = loaded.log
    this.#slotSnapshot = loaded.slotSnapshot
    if (loaded.log !== null) this.#filler = this.#makeFiller(loaded.log)
    this.incarnation = source.start
    this.#waiters = new PositionWaiters(options.runtime.timers, () => store.position)
    this.#applier = new Applier({
      store,
      tables,
      runtime: options.runtime,
      sliceMs: options.sliceMs,
      logger: options.logger,
      ...(loaded.log === null ? {} : { log: loaded.log }),
      onPosition: (position, changed) => {
        this.#waiters.moved()
        this.#filler?.moved()
        events.onPosition(this, position, changed)
      },
      ...(options.decoder === 'pgoutput' && {
        onAnnounced: (xid: number, oids: readonly number[]) => this.#watch.announced(xid, oids),
        onChanged: (oid: number) => this.#watch.changed(oid),
      }),
      onTold: xid => this.#watch.told(xid),
      ...(context.setup.files !== null && { onSilentCommit: () => this.#prober.silent() }),
      onAborted: () => {
        this.#filler?.moved()
        events.onAborted(this)
      },
    })
    store.onOverfull(() => events.onOverfull(this))
    this.#watch = this.#watchOver(tables.map(live => this.#withFiller(live)))
    this.#prober = this.#makeProber()
    this.comparer = this.#makeComparer()
  }

  /** A new array each time one of them is replaced. */
  get tables(): readonly LiveTable[] {
    return this.#watch.tables
  }

  /**
   * Takes a slot and loads all tables as of its beginning.
   *
   * @throws {CacheError} as slots, connections and tables have it. Rejects with the signal's reason when it aborts; nothing is left on the server.
   */
  static async load(context: GenerationContext, signal: AbortSignal): Promise<Generation> {
    const { options, connections, sessions, setup, slot } = context
    const { runtime, logger } = options
    const makeDecoder = await decoders[options.decoder].load()
    const decoder = makeDecoder<BoundRelation>({
      publication: setup.publication,
      relations: relationsOf(setup.mappings),
      numbersAsText: setup.numbersAsText,
    })
    const sourceOptions = { decoder, logger, ...(slot === null ? {} : { durable: slot }) }
    const source = await openSlotSource(connections, runtime, sourceOptions, signal)
    try {
      const store = new Store({
        limitBytes: options.memoryBytes,
        tableLimitBytes: options.tableMemoryBytes,
        hashSeed: Math.floor(runtime.random() * 2 ** 32) | 0,
      })
      const tables = setup.mappings.map(mapping => liveTable(store, mapping))
      const slotSnapshot = await loadTables(tables, store.begin(), {
        connections: { query: abort => sessions.lease(abort) },
        snapshotName: source.start.snapshotName,
        // One for the anchor, and one left for reads that can't wait.
        workers: Math.max(1, options.connections - 2),
        runtime,
        sliceMs: options.sliceMs,
        signal,
        logger,
        onProgress: options.onProgress,
        onFault: context.events.onFault,
      })
      store.publish(source.start.lsn)
      const isBounded = tables.some(({ table }) => table.residency !== null)
      const log = isBounded ? new CommitLog(slotSnapshot.xmax) : null
      return new Generation(context, decoder, source, store, tables, { log, slotSnapshot })
    } catch (error) {
      await source.close()
      throw error
    }
  }

  /**
   * Goes on, after `run` has ended, where the stream was cut off: with a durable slot, and if the server is shown to be the same and to have kept
   * everything. Null if so, and `run` may be called again; else why everything has to be loaded anew.
   *
   * @throws {CacheError} if that can't be found out now. Rejects with the signal's reason when it aborts.
   */
  async resume(signal: AbortSignal): Promise<string | null> {
    const { options, connections, sessions, setup, slot } = this.#context
    if (slot === null) return 'a temporary slot goes with its connection'
    const { timers } = options.runtime
    const now = await within(
      timers,
      RESUME_LOOK_MS,
      signal,
      () => noAnswer(RESUME_LOOK_MS),
      limited => sessions.run(session => readFingerprint(session, setup, setup.files !== null), limited),
    )
    const obstacle = this.#watch.obstacle(now.fingerprint)
    if (obstacle !== null) return obstacle
    if (now.files !== setup.files) {
      this.#doubt()
      return 'a table was truncated or rewritten meanwhile'
    }
    const left = {
      ...this.incarnation,
      position: this.store.position,
      startedAt: this.#startedAt,
      plugin: this.#decoder.plugin,
      xids: this.#applier.newestXids,
    }
    const sourceOptions = { decoder: this.#decoder, logger: options.logger, durable: slot }
    const resumed = await resumeSlotSource(connections, options.runtime, sourceOptions, left, signal)
    if (typeof resumed === 'string') return resumed
    this.#source = resumed.source
    this.#filler?.resume(resumed.startedAt === this.#startedAt)
    this.#startedAt = resumed.startedAt
    this.#prober = this.#makeProber()
    return null
  }

  /** Streams and probes until something is lost or in doubt, or `signal` aborts. Always rejects, with the reason; frees everything but the tables. */
  async run(signal: AbortSignal): Promise<never> {
    const ended = new AbortController()
    const until = AbortSignal.any([signal, ended.signal])
    this.#until = until
    this.#applier.start()
    const end = (error: unknown): void => ended.abort(asError(error))
    this.#end = end
    // A server that shuts down ends idle sessions first.
    this.#context.sessions.onIdleLost = () => this.#prober.suspect()
    const endStream = (error: unknown): void => {
      const fault = until.aborted ? null : this.#faultOf(error)
      if (fault !== null) this.#context.events.onFault(fault)
      // What contradicts the tables may well be what followed an untold TRUNCATE.
      if (error instanceof DivergedError && this.#context.setup.files !== null) this.#doubt()
      end(error)
    }
    await Promise.all([
      this.#stream(until).catch(endStream),
      this.#prober.run(until).catch(end),
      this.#watch.run(until).catch(end),
      this.#makeAuditor()?.run(until).catch(end),
    ])
    this.#filler?.end()
    this.#waiters.failAll(asError(until.reason))
    this.#applier.stop()
    await this.#source.close()
    await this.#applier.cutOff()
    throw asError(until.reason)
  }

  /** What the server sent, or could not send, and so ended the stream; null if it was something else. */
  #faultOf(error: unknown): Fault | null {
    const { cause } = error as { cause?: unknown }
    const { fault } = this.#applier
    // With a decoder that does not tell TRUNCATE, rows that contradict each other are to be expected.
    const isExpected = error instanceof DivergedError && this.#context.setup.files !== null
    if (fault !== null) return isExpected ? null : fault
    const isServers = error instanceof ConnectionError && isServerError(cause) && isAboutData(cause.code)
    return isServers ? { table: null, position: this.store.position } : null
  }

  async #stream(signal: AbortSignal): Promise<never> {
    for await (const batch of this.#source.batches(signal)) {
      await this.#watch.applying(() => this.#applier.apply(batch))
      this.#source.confirm(this.store.position)
    }
    throw new ConnectionError(
      'lost',
      'The server ended the change stream. The cache connects again by itself.',
      true,
    )
  }

  /**
   * Asks the server now. Resolves when what it had committed is visible, or when that can't be had soon: what has been proven is the gate's
   * to say. Rejects with the signal's reason when it aborts.
   */
  async prove(signal: AbortSignal | undefined): Promise<void> {
    if (this.#until === null || this.#until.aborted) return
    const { timers } = this.#context.options.runtime
    // What the probe failed of, the generation's own next one meets as well, and tells.
    const proof = this.#prober.prove(this.#until).catch(() => undefined)
    let cancel: (() => void) | undefined
    const enough = new Promise<void>(resolve => {
      cancel = timers.after(PROOF_WAIT_MS, resolve)
    })
    try {
      await unlessAborted(Promise.race([proof, enough]), signal)
    } finally {
      cancel?.()
    }
  }

  /**
   * Null if the stream tells everything. Else resolves when what was committed before the call, and is not told, has been looked for: if there
   * was any, nothing is proven of the tables any more. Rejects if that can't be found out now.
   */
  lookForUntold(): Promise<void> | null {
    if (this.#context.setup.files === null) return null
    return this.#prober.check().catch((error: unknown) => {
      if (!this.#isDoubted) throw error
    })
  }

  /** Has the server flush what is committed but not sent: somebody waits for it. */
  nudge(signal: AbortSignal): void {
    this.#prober.nudge(signal)
  }

  /**
   * Adds a table that was declared later, beside the running stream. Resolves when it can be read.
   *
   * @throws {SetupError} @throws {PublicationError} @throws {MemoryLimitError} @throws {CacheError} the stream's end. Rejects with the signal's reason when
   * it aborts. Then nothing of it is left.
   */
  async addTable(declaration: object, signal: AbortSignal): Promise<void> {
    const { options, session: callers, sessions, setup } = this.#context
    const until = this.streaming
    if (until === null) throw new NotReadyError()
    const either = AbortSignal.any([until, signal])
    const mapping = await sessions.run(
      session => resolveAdded(session, options, callers, setup, declaration),
      either,
    )
    either.throwIfAborted()
    if (mapping.keep !== 'all' && this.#log === null) {
      this.#log = new CommitLog(this.#slotSnapshot.xmax)
      this.#filler = this.#makeFiller(this.#log)
      this.#applier.keep(this.#log)
    }
    await this.#watch.add(mapping, either)
  }

  #withFiller(live: LiveTable & AppliedTable): LiveTable & AppliedTable {
    return live.table.residency === null ? live : { ...live, filler: this.#filler }
  }

  /** Aborts when the stream ends; null while there is none. */
  get streaming(): AbortSignal | null {
    return this.#until === null || this.#until.aborted ? null : this.#until
  }

  /** What was found to differ from PostgreSQL is told, forgotten or read anew. */
  mend(target: AppliedTable, mismatches: readonly Mismatch[]): void {
    this.#context.events.onMismatches(target.mapping, mismatches)
    if (forgetKeys(target.table, mismatches)) return
    try {
      this.#watch.differs(target)
    } catch (error) {
      this.#end(error)
    }
  }

  #makeComparer(): Comparer {
    const { options, fallThrough, events } = this.#context
    return new Comparer({
      store: this.store,
      applier: this.#applier,
      log: () => this.#log,
      slotSnapshot: this.#slotSnapshot,
      runtime: options.runtime,
      sliceMs: options.sliceMs,
      run: fallThrough,
      startedAt: () => this.#startedAt,
      normalise: position => this.#normalise(position),
      reached: (position, signal) => this.#waiters.wait(position, REACH_TIMEOUT_MS, signal),
      nudge: () => {
        if (this.#until !== null) this.#prober.nudge(this.#until)
      },
      look: async signal => (await this.#prober.look(signal)) !== null,
      suspect: () => this.#prober.suspect(),
      onCompared: (mapping, compared) => events.onCompared(mapping, compared),
    })
  }

  /** Null if rows are not to be audited. */
  #makeAuditor(): Auditor | null {
    const { options, fallThrough, isBusy } = this.#context
    const { runtime, logger, auditRowsPerSecond } = options
    if (auditRowsPerSecond === null) return null
    return new Auditor({
      runtime,
      logger,
      store: this.store,
      rowsPerSecond: auditRowsPerSecond,
      comparer: this.comparer,
      tables: () => this.tables,
      run: fallThrough,
      isBusy,
      onMismatches: (target, mismatches) => this.mend(target, mismatches),
    })
  }

  #normalise(position: Lsn): Lsn {
    const { walBlockBytes, walSegmentBytes } = this.#context.setup.server
    return normaliseInsertLsn(position, walBlockBytes, walSegmentBytes)
  }

  #makeFiller(log: CommitLog): Filler {
    const { options, fallThrough } = this.#context
    return new Filler({
      log,
      slotSnapshot: this.#slotSnapshot,
      timers: options.runtime.timers,
      waitMs: options.fillWaitMs,
      run: fallThrough,
      position: () => this.store.position,
      visible: () => this.store.visible,
      startedAt: () => this.#startedAt,
      normalise: position => this.#normalise(position),
      nudge: () => {
        if (this.#until !== null) this.#prober.nudge(this.#until)
      },
      suspect: () => this.#prober.suspect(),
      rules: options.fillRules,
    })
  }

  #watchOver(tables: readonly (LiveTable & AppliedTable)[]): TableWatch {
    const { store } = this
    return new TableWatch({
      ...this.#context,
      store,
      tables,
      applier: () => this.#applier,
      makeTable: mapping => this.#withFiller(liveTable(store, mapping, 'apart')),
      want: oid => this.#decoder.want?.(oid, this.#applier),
      closedTable: (mapping, error) => {
        const closed = liveTable(store, mapping, 'apart')
        closed.table.fail(error)
        return closed
      },
      look: signal => this.#prober.look(signal),
      reached: (position, signal) => this.#waiters.wait(position, REACH_TIMEOUT_MS, signal),
      nudge: signal => this.#prober.nudge(signal),
      onTable: live => this.#context.events.onTable(this, live),
    })
  }

  #makeProber(): Prober {
    const { options, sessions, setup, events } = this.#context
    const interval = (): number => {
      const third = tightestMs(setup.mappings, options) / 3
      return Math.max(PROBE_INTERVAL_MIN_MS, Math.min(third, PROBE_INTERVAL_MAX_MS))
    }
    return new Prober({
      runtime: options.runtime,
      logger: options.logger,
      get intervalMs() {
        return interval()
      },
      target: {
        serverVersion: setup.server.version,
        get tableOids() {
          return setup.mappings.map(({ oid }) => oid)
        },
        publication: setup.publication,
        withFiles: setup.files !== null,
        applicationName: APPLICATION_NAME,
        walBlockBytes: setup.server.walBlockBytes,
        walSegmentBytes: setup.server.walSegmentBytes,
      },
      run: (work, signal) => sessions.run(work, signal),
      reached: (position, signal) => this.#waiters.wait(position, REACH_TIMEOUT_MS, signal),
      check: answer => this.#checkServer(answer),
      onProven: askedMs => {
        if (!this.#isDoubted) events.onProven(this, askedMs)
      },
    })
  }

  /** What ends the generation although the stream says nothing. */
  #checkServer(answer: ProbeAnswer): void {
    const { setup } = this.#context
    this.#startedAt ??= answer.startedAt
    this.store.recent.confirm(answer.snapshot)
    if (answer.inRecovery || answer.startedAt !== this.#startedAt)
      throw new ConnectionError(
        'lost',
        'The server was restarted or replaced by another one. The cache is being loaded anew.',
        true,
      )
    if (setup.files !== null && answer.files !== setup.files)
      throw this.#otherFiles(setup.files, answer.files)
    this.#watch.check(answer)
    if (answer.synchronous) throw new SetupError([synchronousStandby])
    this.#filler?.confirm(answer.snapshot, answer.position)
  }

  /** A table was truncated, which the stream does not tell; or only rewritten, as by VACUUM FULL, which can't be told apart. */
  #otherFiles(before: string, now: string | null): DivergedError {
    const { setup, options } = this.#context
    this.#doubt()
    const oids = tablesInOtherFiles(before, now ?? '')
    const names = setup.mappings.filter(({ oid }) => oids.includes(oid)).map(({ name }) => name)
    return new DivergedError(
      names.join(', '),
      `it was truncated, or else rewritten; ${options.decoder} does not tell which.`,
    )
  }

  #doubt(): void {
    this.#isDoubted = true
    this.#context.events.onDoubted(this)
  }
}

/** A mapped table in a store of its own generation; `apart`: it is no part of that yet. */
export function liveTable(
  store: Store,
  mapping: TableMapping,
  place: 'within' | 'apart' = 'within',
): LiveTable & AppliedTable {
  const rows: RowFactory = createRowFactory(mapping)
  const layout: TableLayout = {
    name: mapping.name,
    columns: mapping.columns.length,
    key: mapping.key,
    integerKey: hasIntegerKey(mapping),
    ...(mapping.keep === 'all' ? {} : { bounds: mapping.keep }),
    decode: (values, ascii) => rows.decode(values, ascii),
    read: decoded => rows.read(decoded),
  }
  const table = place === 'within' ? store.addTable(layout) : store.makeTable(layout)
  return {
    mapping,
    keys: new KeyReader(mapping),
    uniques: new UniqueKeys(mapping),
    rows,
    finder: new Finder(mapping, table, rows),
    store,
    table,
    filler: null,
  }
}
