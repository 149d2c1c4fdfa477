import type { Lsn } from '../change/lsn.js'
import { ConnectionError } from '../errors.js'
import { type ReplicationConnection, type Runtime, unlessAborted, within } from '../runtime.js'
import { Progress } from '../wire/progress.js'
import { standbyStatus } from '../wire/status.js'

/**
 * The longest silence on either side. A connection that died unnoticed is given up 15 s after its last frame: up to two of these pass before the
 * server is asked, then the time for its answer, then that for asking another connection what our walsender does.
 */
const QUIET_MS = 4_000
/** The shortest interval, whatever the server's timeout: a status is a message on the network. */
const SHORTEST_QUIET_MS = 50
/** How long a server that was asked may take to answer. */
const ANSWER_MS = 5_000
/** How long it may take to learn what the walsender does: where nothing answers, it is not known to be at work. */
const LOOK_MS = 2_000
/** A timer that is later than this was held up by this process, which then can't judge the server. */
const STALL_MS = 1_000
/** While more frames wait, a position is reported at most this often: each report is a message. */
const REPORT_MS = 100

export interface StandbyOptions {
  readonly connection: Pick<ReplicationConnection, 'sendStatus'>
  readonly runtime: Runtime
  /** Where the stream begins. */
  readonly start: Lsn
  /** The server ends a connection that says nothing for so long; 0: never. */
  readonly walSenderTimeoutMs: number
  /** Whether frames wait to be applied; while they do, the socket may be paused by us. */
  readonly isBehind: () => boolean
  readonly isPaused: () => boolean
  /** Whether the silent server works for us: it decodes a huge transaction before it sends any of it. Settles soon once the signal aborts. */
  readonly isServerBusy: (signal: AbortSignal) => Promise<boolean>
  /** The server is gone, though nobody said so. */
  readonly onDead: (error: ConnectionError) => void
}

/** What a standby owes its server while it streams: positions when they move, signs of life, and answers. */
export class Standby {
  readonly #options: StandbyOptions
  readonly #quietMs: number
  readonly #progress: Progress
  #hasHeard = true
  #cancelTick: () => void = () => undefined
  #cancelReport: (() => void) | undefined
  #isStopped = true
  readonly #life = new AbortController()
  /** The newest look at what the server does. */
  #looking: Promise<unknown> = Promise.resolve()

  constructor(options: StandbyOptions) {
    this.#options = options
    this.#progress = new Progress(options.start)
    const third = options.walSenderTimeoutMs === 0 ? QUIET_MS : options.walSenderTimeoutMs / 3
    this.#quietMs = Math.min(QUIET_MS, Math.max(SHORTEST_QUIET_MS, third))
  }

  /** The stream begins. */
  run(): void {
    this.#isStopped = false
    this.#tickLater()
  }

  /** For good. Resolves when it asks nothing any more. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#cancelTick()
    this.#cancelReport?.()
    this.#life.abort()
    await this.#looking
  }

  /** A frame has arrived. */
  // Hot: once per frame.
  received(lsnHigh: number, lsnLow: number): void {
    this.#hasHeard = true
    this.#progress.received(lsnHigh, lsnLow)
  }

  /**
   * The server wants an answer now. Only such keepalives are answered: an answer to each, while we are behind, would
   * be answered with the next.
   */
  asked(): void {
    this.#report(false)
  }

  /** Everything before `lsn` has been applied. */
  confirm(lsn: Lsn): void {
    this.#progress.confirm(lsn)
    if (!this.#progress.isNews || this.#isStopped) return
    // Caught up, the server waits for this: it shuts down, or moves the slot, when all is confirmed.
    if (!this.#options.isBehind()) this.#report(false)
    else this.#cancelReport ??= this.#options.runtime.timers.after(REPORT_MS, () => this.#report(false))
  }

  #report(askReply: boolean): void {
    this.#cancelReport?.()
    this.#cancelReport = undefined
    const { connection, runtime } = this.#options
    connection.sendStatus(standbyStatus(this.#progress.confirmed, runtime.clock.wallMs(), askReply))
    this.#progress.reported()
  }

  #tickLater(): void {
    this.#later(this.#quietMs, isLate => this.#tick(isLate))
  }

  #tick(isLate: boolean): void {
    const isQuiet = !isLate && !this.#hasHeard && !this.#options.isPaused()
    this.#hasHeard = false
    this.#report(isQuiet)
    if (isQuiet) this.#later(ANSWER_MS, wasLate => void this.#judge(wasLate))
    else this.#tickLater()
  }

  /** The server was asked and should have answered. */
  async #judge(isLate: boolean): Promise<void> {
    // What arrived while this process was held up is read only after the timers.
    await this.#options.runtime.timers.yield()
    const isExcused = isLate || this.#hasHeard || this.#options.isPaused() || (await this.#isServerBusy())
    if (this.#isStopped) return
    if (isExcused) this.#tickLater()
    else this.#options.onDead(silentError())
  }

  /** A server that can't even be asked is not known to be at work. */
  #isServerBusy(): Promise<boolean> {
    const { runtime, isServerBusy } = this.#options
    const look = (signal: AbortSignal): Promise<boolean> => {
      const looking = isServerBusy(signal).catch(() => false)
      this.#looking = looking
      return unlessAborted(looking, signal)
    }
    return within(runtime.timers, LOOK_MS, this.#life.signal, () => new Error('late'), look).catch(
      () => false,
    )
  }

  #later(delayMs: number, then: (isLate: boolean) => void): void {
    if (this.#isStopped) return
    const { clock, timers } = this.#options.runtime
    const dueMs = clock.monotonicMs() + delayMs
    this.#cancelTick = timers.after(delayMs, () => then(clock.monotonicMs() - dueMs > STALL_MS))
  }
}

function silentError(): ConnectionError {
  return new ConnectionError(
    'silent',
    `The server stopped answering: nothing came for ${ANSWER_MS} ms after a reply was asked for. The connection is made anew.`,
    true,
  )
}
