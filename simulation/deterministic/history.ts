import { inspect } from 'node:util'
import pg from 'pg'
import { type Cache, MemoryLimitError } from '../../src/index.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import { InvariantWatch } from '../invariants/watch.js'
import { Random } from '../random.js'
import { Application, TURMOIL_MS } from './application.js'
import type { Break } from './breaks.js'
import { Coverage, FRAMES_MIN } from './coverage.js'
import { Director } from './director.js'
import { Doubts } from './doubts.js'
import { Exposure } from './exposure.js'
import { Follower, followersOf } from './followers.js'
import { type FaultName, Faults, type TimedFault } from './faults.js'
import { BALANCE, writeFirstRows } from './first-rows.js'
import { balanceRows, essentials, type Mix } from './generate.js'
import { LivenessError, MismatchError, Oracle, placeOf } from './oracle.js'
import type { Pairs } from './pairs.js'
import { Reader } from './readers.js'
import { Scheduler } from './scheduler.js'
import { declarationOf, type TableSpec } from './schema.js'
import type { Script, WriterScript } from './script.js'
import { shortQueues } from './short-queue.js'
import { Cutter } from './server/cutter.js'
import type { Position } from './server/log.js'
import { PostgresModel } from './server/model.js'
import type { Latency } from './server/network.js'
import { ScriptedServer } from './server/server.js'
import { Trace } from './trace.js'
import { Writer } from './writers.js'

/** Everything that decides a history. */
export interface HistoryOptions {
  readonly seed: number
  readonly decoder: DecoderName
  readonly mix: Mix
  readonly script: Script
  readonly chanceFaults: readonly FaultName[]
  readonly timedFaults: readonly TimedFault[]
  /** Between two faults that come by themselves, at most. */
  readonly faultPauseMs: number
  readonly major: number
  readonly isDurable: boolean
  readonly cutsEveryFrame: boolean
  readonly latency: Latency
  readonly chunkFrames: number
  readonly readPauseMs: number
  readonly maxStalenessMs: number
  readonly walSenderTimeoutMs: number
  /** Whether somebody follows the tables' changes. */
  readonly isFollowed: boolean
  /** What memory may take; undefined: as much as it likes. */
  readonly memoryBytes: number | undefined
  /** Whether the cache is closed while everything still goes wrong. */
  readonly closesInTurmoil: boolean
  /** What a look at the clock costs. */
  readonly lookMs: number
  /** So many bytes of its stream wait before the cache stops reading; undefined: as many as it likes. */
  readonly queueBytes: number | undefined
  /** How many notes of what happened are kept. */
  readonly traceLines?: number
  /** A part of a history: it need not have what every whole one has. */
  readonly isPart?: boolean
  /** What is taken away, to see that it is missed. */
  readonly broken?: Break | undefined
}

export interface HistoryResult {
  readonly hash: string
  readonly failure: Error | undefined
  readonly coverage: Coverage
  readonly pairs: Pairs
  readonly faults: Readonly<Record<string, number>>
  readonly refused: Readonly<Record<string, number>>
  readonly answered: number
  readonly cuts: number
  /** Commits that followers of changes were told of, by themselves or as what a load has made different; and gaps. */
  readonly told: number
  readonly gaps: number
  readonly loads: number
  readonly virtualMs: number
  readonly events: number
  readonly lines: readonly string[]
}

/** Once the faults have stopped, memory has to be fresh and equal within this. */
const CALM_MS = 120_000
/** When all is written, so long the faults go on. */
const REST_MS = 5_000
/** By then at the latest a probe has come. */
const FRESH_MS = 2_000
/** Before the faults stop, and after, what the history still lacks is tried so often. */
const ROUNDS_IN_TURMOIL_MAX = 3
const ROUNDS_IN_CALM_MAX = 12
/** Of the random numbers of the first of these rounds. */
const ESSENTIALS_SALT = 100
const EVENTS_BETWEEN_LOOKS = 8
/** Characters of the cache's health that a failure shows. */
const HEALTH_SHOWN = 800

/** Runs one history. The same options give the same trace, event for event. */
export async function runHistory(options: HistoryOptions): Promise<HistoryResult> {
  // What has to be read from disk is read before: nothing real may happen in between.
  await decoders[options.decoder].load()
  const restore = options.broken?.apply?.()
  const restoreQueues = options.queueBytes === undefined ? undefined : shortQueues(options.queueBytes)
  const { stackTraceLimit } = Error
  // Listeners that fail on purpose are warned of.
  const { emitWarning } = process
  process.emitWarning = () => undefined
  // Refusals come by the thousand, and nobody looks where they were made, until a failure is looked at closely.
  if (options.traceLines === undefined) Error.stackTraceLimit = 0
  try {
    return await new History(options).run()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    process.emitWarning = emitWarning
    restoreQueues?.()
    restore?.()
  }
}

class History {
  readonly #options: HistoryOptions
  readonly #random: Random
  readonly #trace: Trace
  readonly #scheduler: Scheduler
  readonly #faults: Faults
  readonly #coverage = new Coverage()
  readonly #model: PostgresModel
  readonly #server: ScriptedServer
  readonly #cutter: Cutter
  readonly #exposure: Exposure
  readonly #doubts: Doubts
  readonly #application: Application
  #rounds = 0
  #failure: Error | undefined
  #followers: readonly Follower[] = []
  #reader: Reader | undefined
  #director: Director | undefined

  constructor(options: HistoryOptions) {
    const { seed, chanceFaults, major, latency, chunkFrames, walSenderTimeoutMs } = options
    this.#options = options
    this.#random = new Random(seed)
    this.#trace = new Trace(options.traceLines ?? 0)
    this.#scheduler = new Scheduler(this.#random.fork(1), this.#trace)
    this.#faults = new Faults(this.#random.fork(2), chanceFaults, options.mix.favours.fault)
    this.#cutter = new Cutter(options.cutsEveryFrame)
    const { clock } = this.#scheduler
    this.#model = new PostgresModel({ random: this.#random.fork(3), major, wallMs: () => clock.wallMs() })
    this.#exposure = new Exposure(options.decoder, this.#coverage, this.#model)
    this.#faults.onStruck = fault => this.#exposure.struck(fault)
    this.#server = new ScriptedServer({
      scheduler: this.#scheduler,
      random: this.#random.fork(4),
      trace: this.#trace,
      faults: this.#faults,
      coverage: this.#coverage,
      model: this.#model,
      cutter: this.#cutter,
      latency,
      chunkFrames,
      walSenderTimeoutMs,
      hidden: options.broken?.hidden,
    })
    this.#doubts = new Doubts(this.#server)
    this.#application = new Application({
      options,
      random: this.#random,
      scheduler: this.#scheduler,
      trace: this.#trace,
      faults: this.#faults,
      server: this.#server,
      doubts: this.#doubts,
      isOver: () => this.#isOver,
    })
  }

  async run(): Promise<HistoryResult> {
    const { mix } = this.#options
    writeFirstRows(this.#model, this.#random.fork(7), mix)
    const pool = new pg.Pool()
    const watch = new InvariantWatch({ onViolation: error => this.#fail(new MismatchError(error.message)) })
    try {
      await this.#live(pool)
    } catch (error) {
      this.#fail(error)
    } finally {
      watch.stop()
    }
    if (this.#reader?.refused['CACHE_MEMORY_LIMIT'] !== undefined) this.#faults.tally('memory limit reached')
    const { hash, lines } = this.#trace
    return {
      hash,
      failure: this.#failure ?? this.#server.failure ?? undefined,
      coverage: this.#coverage,
      pairs: this.#exposure.pairs,
      faults: this.#faults.counts,
      refused: this.#reader?.refused ?? {},
      answered: this.#reader?.answered ?? 0,
      cuts: this.#cutter.cuts,
      told: this.#followers.reduce((sum, { commits }) => sum + commits, 0),
      gaps: this.#followers.reduce((sum, { gaps }) => sum + gaps, 0),
      loads: this.#application.loads,
      virtualMs: this.#scheduler.nowMs,
      events: this.#scheduler.events,
      lines,
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
  }

  get #isOver(): boolean {
    return this.#failure !== undefined || this.#server.failure !== null
  }

  async #live(pool: pg.Pool): Promise<void> {
    const { mix, script, lookMs } = this.#options
    const declarations = new Map(mix.tables.map(spec => [spec, declarationOf(spec)] as const))
    const oracle = new Oracle(this.#model, this.#coverage, declarations, this.#doubts)
    const scheduler = this.#scheduler
    scheduler.lookMs = lookMs
    const writerOf = (each: WriterScript): Writer =>
      new Writer(
        {
          scheduler,
          model: this.#model,
          coverage: this.#coverage,
          isUp: () => this.#server.down === null,
          standbyMissing: () => this.#director?.isStandbyMissing ?? false,
          onAcknowledged: commit => oracle.acknowledged(commit),
          onCommitted: transaction => {
            const operations = this.#exposure.committed(transaction)
            oracle.committed(transaction.changes)
            this.#director?.committed(operations)
          },
        },
        each,
      )
    // One writes while everything is loaded; the others' commits are the stream's.
    const [first = [], ...others] = script.writers
    const writers = others.slice(0, 1).map(writerOf)
    const cache = await this.#application.opened(pool, [...declarations.values()])
    if (cache === null) return
    this.#exposure.shown = () => placeOf(cache.position)
    writers.push(writerOf(first), ...others.slice(1).map(writerOf))
    const reader = new Reader({
      cache,
      scheduler,
      random: this.#random.fork(5),
      oracle,
      tables: mix.tables,
      declarations,
      maxStalenessMs: this.#options.maxStalenessMs,
      balance: this.#balance,
      isMemoryShort: this.#options.memoryBytes !== undefined,
      pauseMs: this.#options.readPauseMs,
      onFailure: error => this.#fail(error),
    })
    this.#reader = reader
    for (const event of ['stale', 'fresh', 'mismatch'] as const)
      cache.on(event, () => this.#application.failToListen())
    if (this.#options.isFollowed)
      this.#followers = followersOf(mix.tables, {
        cache,
        scheduler,
        random: this.#random.fork(9),
        oracle,
        declarations,
        loads: () => this.#application.loads,
        onFailure: error => this.#fail(error),
      })
    this.#director = new Director({
      scheduler,
      random: this.#random.fork(8),
      server: this.#server,
      faults: this.#faults,
      oracle,
      doubts: this.#doubts,
      evictAll: () => reader.evictAll(),
      tables: mix.tables,
      writers,
      chosen: this.#options.timedFaults,
      favours: mix.favours,
      pauseMs: this.#options.faultPauseMs,
    })
    this.#server.onArrived = () => reader.arrived()
    this.#server.onFill = name => this.#evictSoon(name, reader)
    this.#server.onConfirmed = position => this.#checkConfirmed(cache, position)
    const isCaughtUp = (): boolean => this.#isCaughtUp(cache, oracle)
    const areDone = (): boolean => writers.every(({ isDone }) => isDone)
    await scheduler.run(() => this.#isOver || areDone(), scheduler.nowMs + TURMOIL_MS)
    // Cut after cut, memory comes one frame further; among all other faults it need not come to rest.
    const restMs = this.#options.cutsEveryFrame ? TURMOIL_MS : REST_MS
    const rest = (): Promise<boolean> =>
      scheduler.run(() => this.#isOver || (areDone() && isCaughtUp()), scheduler.nowMs + restMs)
    await rest()
    const writeMore = (): void => void writers.push(writerOf(this.#essentials()))
    for (let round = 0; round < ROUNDS_IN_TURMOIL_MAX && this.#isLacking; round++) {
      writeMore()
      await rest()
    }
    if (this.#options.closesInTurmoil && !this.#isLacking) {
      this.#faults.tally('closed in the middle')
      this.#endFaults()
      reader.stop()
      await this.#close(cache)
      return
    }
    const isFresh = (): boolean =>
      this.#director?.isAtRest === true &&
      areDone() &&
      isCaughtUp() &&
      isHealthy(cache, this.#options.maxStalenessMs) &&
      // A table that is out for want of memory is not read anew, whatever was altered of it.
      this.#options.mix.tables.every(spec => !this.#doubts.has(spec) || isOut(cache, spec)) &&
      this.#followers.every(each => isOut(cache, each.spec) || each.isAt(placeOf(cache.position)))
    await this.#calm(cache, isFresh)
    for (let round = 0; round < ROUNDS_IN_CALM_MAX && this.#isLacking; round++) {
      writeMore()
      await this.#untilFresh(cache, isFresh, CALM_MS)
    }
    if (this.#isLacking) throw new Error(`The history has not streamed ${this.#lacks.join(', ')}.`)
    await this.#compare(cache, reader, oracle, isFresh)
    await this.#close(cache)
  }

  /** What every history has to stream, and this one has not. */
  get #lacks(): readonly string[] {
    return this.#coverage.lacks({ truncates: this.#options.mix.features.has('truncate') })
  }

  get #isLacking(): boolean {
    return this.#options.isPart !== true && !this.#isOver && this.#lacks.length > 0
  }

  /** What was lost in crashes and loads, once more. */
  #essentials(): WriterScript {
    const random = this.#random.fork(ESSENTIALS_SALT + this.#rounds)
    const frames = Math.max(0, FRAMES_MIN - this.#coverage.distinctFrames)
    return essentials(random, this.#options.mix, ++this.#rounds, frames)
  }

  /** The faults have stopped: memory has to become equal and fresh, and soon. */
  async #calm(cache: Cache, isFresh: () => boolean): Promise<void> {
    this.#endFaults()
    await this.#untilFresh(cache, isFresh, CALM_MS)
  }

  /** What was begun ends by itself. */
  #endFaults(): void {
    this.#faults.stop()
    this.#director?.stop()
    this.#cutter.stop()
  }

  async #untilFresh(cache: Cache, isFresh: () => boolean, withinMs: number): Promise<void> {
    const scheduler = this.#scheduler
    const isCalm = await scheduler.run(() => this.#isOver || isFresh(), scheduler.nowMs + withinMs)
    if (this.#isOver || isCalm) return
    throw new LivenessError(
      `${withinMs} ms after the last fault, memory is still not fresh: ${inspect(cache.health(), { depth: 3 }).slice(0, HEALTH_SHOWN)}`,
    )
  }

  /** At the end, all that memory has is held against what is true. */
  async #compare(cache: Cache, reader: Reader, oracle: Oracle, isFresh: () => boolean): Promise<void> {
    reader.stop()
    const scheduler = this.#scheduler
    await scheduler.run(() => this.#isOver || (reader.isIdle && isFresh()), scheduler.nowMs + CALM_MS)
    if (this.#isOver) return
    if (!reader.isIdle) throw new LivenessError('A read does not come to an end.')
    const place = oracle.place(cache)
    for (const spec of this.#options.mix.tables)
      if (isOut(cache, spec)) continue
      else if (spec.maxRows === null) oracle.checkTable(spec, cache, place)
      else oracle.checkKnown(spec, cache, place)
  }

  async #close(cache: Cache): Promise<void> {
    for (const follower of this.#followers) follower.stop()
    let isClosed = false
    const closing = cache.close().then(() => {
      isClosed = true
    })
    await this.#scheduler.run(() => isClosed, this.#scheduler.nowMs + CALM_MS)
    if (!isClosed) throw new LivenessError('close() does not come to an end.')
    await closing
    if (!this.#isOver) this.#application.checkLeftovers()
  }

  /** While the stream that is read runs: what was confirmed is visible. */
  #checkConfirmed(cache: Cache, position: Position): void {
    if (cache.state !== 'live') return
    const { timeline, lsn } = placeOf(cache.position)
    if (timeline === this.#model.timeline && position > lsn)
      this.#fail(new MismatchError(`The cache has confirmed ${position}, but is only at ${lsn}.`))
  }

  /** The rows that a fill was about leave while its answer is on its way. */
  #evictSoon(name: string, reader: Reader): void {
    const spec = this.#options.mix.tables.find(each => each.name === name)
    if (spec === undefined || !this.#faults.strikes('evicted while it is filled', 0.2)) return
    this.#scheduler.after(0, () => void reader.evict(spec))
  }

  /** How far the newest commit is: what is visible has all of it. It is asked for after each event, and looked at now and then. */
  #isCaughtUp(cache: Cache, oracle: Oracle): boolean {
    if (this.#scheduler.events % EVENTS_BETWEEN_LOOKS !== 0) return false
    const { timeline, lsn } = oracle.place(cache)
    return timeline === this.#model.timeline && lsn >= this.#model.truth.newest
  }

  get #balance(): number {
    return 2 * balanceRows(this.#options.mix) * BALANCE
  }
}

/** Fresh, and every table readable. */
function isHealthy(cache: Cache, maxStalenessMs: number): boolean {
  return (
    cache.staleness() < Math.min(FRESH_MS, maxStalenessMs * 0.7) &&
    cache.health().tables.every(({ failed }) => failed === null || failed instanceof MemoryLimitError)
  )
}

/** There was no room for the table, which is told; the others are read all the same. */
function isOut(cache: Cache, spec: TableSpec): boolean {
  const found = cache.health().tables.find(({ name }) => name === `public.${spec.name}` || name === spec.name)
  return found?.failed instanceof MemoryLimitError
}
