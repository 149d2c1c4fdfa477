import { Applier } from '../apply/applier.js'
import type { AppliedTable, BoundRelation } from '../apply/binding.js'
import { type Fault, isAboutData } from '../apply/fault.js'
import type { AskEntering } from '../apply/filtered-writes.js'
import type { Compared, Comparer } from '../audit/comparer.js'
import type { Mismatch } from '../audit/comparison.js'
import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import { type Decoder, decoders } from '../decode/index.js'
import { asError, ConnectionError, DivergedError } from '../errors.js'
import type { Incarnation } from '../freshness/token.js'
import type { ProbeAnswer } from '../freshness/probe.js'
import { PositionWaiters } from '../freshness/waiters.js'
import type { TableMapping } from '../mapping/mapping.js'
import { relationsOf } from '../mapping/relations.js'
import type { LiveTable } from '../query/live.js'
import type { QueryConnection } from '../runtime.js'
import { openSlotSource } from '../source/slot-source.js'
import type { ChangeSource } from '../source/source.js'
import type { Store } from '../store/store.js'
import { isServerError } from '../wire/connect-errors.js'
import { Alignment } from './alignment.js'
import { readEntering } from './entering-row.js'
import { type FirstLoad, loadFirst } from './first-load.js'
import { type AdditionHost, addTable } from './generation-addition.js'
import { GenerationAudit } from './generation-audit.js'
import type { GenerationBase } from './generation-context.js'
import { GenerationFills } from './generation-fills.js'
import { GenerationProbes } from './generation-probes.js'
import { resumeSource } from './generation-resume.js'
import { liveTable } from './live-table.js'
import { ServerCheck } from './server-check.js'
import { type Looks, readFingerprint, type Setup } from './setup.js'
import { TableWatch } from './table-watch.js'

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
  /** It goes on with another history, which has all that it shows. */
  readonly onHistory: (generation: Generation) => void
  /** Its tables are found to show no commit's state. Nothing is proven of it any more. */
  readonly onDoubted: (generation: Generation) => void
  /** Rows of one of its tables were compared with PostgreSQL. */
  readonly onCompared: (mapping: TableMapping, compared: Compared) => void
  /** They were found to differ. */
  readonly onMismatches: (mapping: TableMapping, mismatches: readonly Mismatch[]) => void
}

export interface GenerationContext extends GenerationBase {
  readonly events: GenerationEvents
}

/**
 * One uninterrupted life of slot and loaded tables. It never mends itself: when anything is lost or in doubt its stream ends, and its owner
 * resumes it, or loads the next one while this one's tables go on being read.
 */
export class Generation {
  readonly store: Store
  #incarnation: Incarnation
  readonly #context: GenerationContext
  readonly #decoder: Decoder<BoundRelation>
  readonly #applier: Applier
  readonly #watch: TableWatch
  readonly #waiters: PositionWaiters
  #source: ChangeSource<BoundRelation>
  /** Asks the server about the tables. */
  readonly probes: GenerationProbes
  readonly #fills: GenerationFills
  readonly #server: ServerCheck
  readonly #audit: GenerationAudit
  /** Finds the commit that a query shows. */
  readonly alignment: Alignment
  /** Aborts when the generation ends; null before it runs. */
  #until: AbortSignal | null = null
  #end: (error: unknown) => void = () => undefined

  private constructor(
    context: GenerationContext,
    decoder: Decoder<BoundRelation>,
    source: ChangeSource<BoundRelation>,
    { store, tables, slotSnapshot }: FirstLoad,
  ) {
    const { options, events } = context
    this.#context = context
    this.#decoder = decoder
    this.#source = source
    this.store = store
    this.#server = new ServerCheck({
      setup: context.setup,
      decoder: options.decoder,
      checkTables: answer => this.#watch.check(answer),
      onDoubted: () => events.onDoubted(this),
    })
    this.#fills = new GenerationFills(context, slotSnapshot, {
      store,
      startedAt: () => this.#server.startedAt,
      nudge: () => this.probes.nudge(),
      suspect: () => this.probes.suspect(),
    })
    const isBounded = tables.some(({ table }) => table.residency !== null)
    this.#incarnation = source.start
    this.#waiters = new PositionWaiters(options.runtime.timers, () => store.position)
    this.#applier = new Applier({
      store,
      tables,
      runtime: options.runtime,
      sliceMs: options.sliceMs,
      logger: options.logger,
      ...(isBounded && { log: this.#fills.begin() }),
      onPosition: (position, changed) => {
        this.#waiters.moved()
        this.#fills.filler?.moved()
        events.onPosition(this, position, changed)
      },
      ...(options.decoder === 'pgoutput' && {
        onAnnounced: (xid: number, oids: readonly number[]) => this.#watch.announced(xid, oids),
        onChanged: (oid: number, error: DivergedError) => this.#watch.changed(oid, error),
      }),
      onTold: xid => this.#watch.told(xid),
      onEntering: (...entering) => this.#entering(...entering),
      ...(context.setup.files !== null && { onSilentCommit: () => this.probes.silent() }),
      onAborted: () => {
        this.#fills.filler?.moved()
        events.onAborted(this)
      },
    })
    store.onOverfull(() => events.onOverfull(this))
    this.#watch = this.#watchOver(tables.map(live => this.#fills.serve(live)))
    this.probes = this.#makeProbes()
    this.#audit = this.#makeAudit()
    this.alignment = this.#makeAlignment(slotSnapshot)
  }

  /** Which history its position is of: another one once it has gone on with a standby that was promoted. */
  get incarnation(): Incarnation {
    return this.#incarnation
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
    const { options, connections, setup, slot } = context
    const makeDecoder = await decoders[options.decoder].load()
    const decoder = makeDecoder<BoundRelation>({
      publication: setup.publication,
      relations: relationsOf(setup.mappings),
      numbersAsText: setup.numbersAsText,
    })
    const sourceOptions = { decoder, logger: options.logger, ...(slot === null ? {} : { durable: slot }) }
    const source = await openSlotSource(connections, options.runtime, sourceOptions, signal)
    try {
      const loaded = await loadFirst(context, source.start, context.events.onFault, signal)
      return new Generation(context, decoder, source, loaded)
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
    const left = {
      ...this.incarnation,
      position: this.store.position,
      startedAt: this.#server.startedAt,
      plugin: this.#decoder.plugin,
      xids: this.#applier.newestXids,
    }
    const resumed = await resumeSource(
      { base: this.#context, decoder: this.#decoder, watch: this.#watch, server: this.#server, left },
      signal,
    )
    if (typeof resumed === 'string') return resumed
    this.#source = resumed.source
    const { timeline } = this.#incarnation
    this.#incarnation = resumed.source.start
    if (this.#incarnation.timeline !== timeline) this.#context.events.onHistory(this)
    const isSameServer = this.#server.resumed(resumed.startedAt)
    this.#fills.filler?.resume(isSameServer)
    this.probes.renew()
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
    this.#context.sessions.onIdleLost = () => this.probes.suspect()
    const endStream = (error: unknown): void => {
      const fault = until.aborted ? null : this.#faultOf(error)
      if (fault !== null) this.#context.events.onFault(fault)
      this.#server.contradicted(error)
      end(error)
    }
    await Promise.all([
      this.#stream(until).catch(endStream),
      this.probes.run(until).catch(end),
      this.#watch.run(until).catch(end),
      this.#audit.run(until).catch(end),
    ])
    this.#fills.filler?.end()
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
   * Adds a table that was declared later, beside the running stream. Resolves when it can be read. With a decoder that can't add it, `onLoad` is told
   * that the next load is to have it, and the stream ends.
   *
   * @throws {SetupError} @throws {PublicationError} @throws {MemoryLimitError} @throws {CacheError} the stream's end. Rejects with the signal's reason when
   * it aborts. Then nothing of it is left.
   */
  addTable(declaration: object, signal: AbortSignal, onLoad: () => void): Promise<void> {
    const host: AdditionHost = {
      tables: this.tables,
      streaming: this.streaming,
      canGrow: this.#decoder.want !== undefined,
      onTable: live => this.#context.events.onTable(this, live),
      read: async (mapping, until) => {
        if (mapping.keep !== 'all' && this.#fills.log === null) this.#applier.keep(this.#fills.begin())
        await this.#watch.add(mapping, until)
      },
      end: this.#end,
    }
    return addTable(this.#context, host, declaration, signal, onLoad)
  }

  /** Declared tables that can't be kept. */
  get out(): Setup['out'] {
    return this.#context.setup.out
  }

  /** Aborts when the stream ends; null while there is none. */
  get streaming(): AbortSignal | null {
    return this.#until === null || this.#until.aborted ? null : this.#until
  }

  /** Compares its tables with PostgreSQL. */
  get comparer(): Comparer {
    return this.#audit.comparer
  }

  /** What was found to differ from PostgreSQL is told, forgotten or read anew. */
  mend(target: AppliedTable, mismatches: readonly Mismatch[]): void {
    this.#audit.mend(target, mismatches)
  }

  #differs(target: AppliedTable): void {
    try {
      this.#watch.differs(target)
    } catch (error) {
      this.#end(error)
    }
  }

  readonly #reached = (position: Lsn, signal: AbortSignal): Promise<void> =>
    this.#waiters.wait(position, REACH_TIMEOUT_MS, signal)

  #makeAudit(): GenerationAudit {
    const { events } = this.#context
    return new GenerationAudit(this.#context, {
      store: this.store,
      applier: this.#applier,
      fills: this.#fills,
      tables: () => this.tables,
      startedAt: () => this.#server.startedAt,
      reached: this.#reached,
      nudge: () => this.probes.nudge(),
      look: async signal => (await this.probes.look(signal)) !== null,
      suspect: () => this.probes.suspect(),
      differs: target => this.#differs(target),
      onCompared: (mapping, compared) => events.onCompared(mapping, compared),
      onMismatches: (mapping, mismatches) => events.onMismatches(mapping, mismatches),
    })
  }

  #makeAlignment(slotSnapshot: SqlSnapshot): Alignment {
    return new Alignment({
      timers: this.#context.options.runtime.timers,
      store: this.store,
      slotSnapshot,
      tables: () => this.tables,
      startedAt: () => this.#server.startedAt,
      isAsMapped: fingerprint => this.#watch.isAsMapped(fingerprint),
      reached: this.#reached,
      nudge: () => this.probes.nudge(),
    })
  }

  /** What the tables look like to this session, and which files they are in. */
  look(session: QueryConnection): Promise<Looks> {
    return readFingerprint(session, this.#context.setup, true)
  }

  /** A row that has come into a table's filter; null if it is not to be had, and the table is read anew. @throws {DivergedError} if everything has to be. */
  async #entering(...[target, key, xid, before]: Parameters<AskEntering>): Promise<Buffer | null> {
    const { options, sessions } = this.#context
    const startedAt = (): string | null => this.#server.startedAt
    const row = await readEntering(
      target,
      key,
      xid,
      before,
      { runtime: options.runtime, logger: options.logger, run: sessions.run.bind(sessions), startedAt },
      this.#until!,
    )
    if (row === null) this.#watch.lacksRow(target)
    return row
  }

  #watchOver(tables: readonly (LiveTable & AppliedTable)[]): TableWatch {
    const { store } = this
    const { addedIndexes } = this.#context.options
    return new TableWatch({
      ...this.#context,
      store,
      tables,
      applier: () => this.#applier,
      makeTable: mapping => this.#fills.serve(liveTable(store, mapping, 'apart', addedIndexes)),
      want: oid => this.#decoder.want?.(oid, this.#applier),
      closedTable: (mapping, error) => {
        const closed = liveTable(store, mapping, 'apart', addedIndexes)
        closed.table.fail(error)
        return closed
      },
      look: signal => this.probes.look(signal),
      reached: this.#reached,
      nudge: signal => this.probes.nudge(signal),
      onTable: live => this.#context.events.onTable(this, live),
    })
  }

  #makeProbes(): GenerationProbes {
    return new GenerationProbes(this.#context, {
      reached: this.#reached,
      check: answer => this.#check(answer),
      onProven: askedMs => {
        if (!this.#server.isDoubted) this.#context.events.onProven(this, askedMs)
      },
      isDoubted: () => this.#server.isDoubted,
    })
  }

  /** Throws what ends the generation although the stream says nothing. */
  #check(answer: ProbeAnswer): void {
    this.store.recent.confirm(answer.snapshot)
    this.#server.judge(answer)
    this.#fills.filler?.confirm(answer.snapshot, answer.position)
  }
}
