import { LSN_MAX, type Lsn } from '../change/lsn.js'
import { type ClosedError, OverloadedError, TokenError, TokenLostError, WaitTimeoutError } from '../errors.js'
import type { ServerPosition } from '../freshness/server-position.js'
import type { TimelineHistory } from '../wire/timeline.js'
import { type Incarnation, isBeyond, type LogPosition } from '../freshness/token.js'
import { PositionWaiters, WAITERS_MAX } from '../freshness/waiters.js'
import type { WaitOptions } from '../query/types.js'
import { type Runtime, unlessAborted } from '../runtime.js'

const WAIT_DEFAULT_MS = 5_000
/** How long a caller waits for a position before the server is asked to flush, if there is anything to flush. */
const NUDGE_AFTER_MS = 1
/** How long a caller waits before the server is asked whether the position exists. */
const DOUBT_AFTER_MS = 15

/** What tokens need of the generation that is read. */
export interface Readable {
  readonly incarnation: Incarnation
  readonly store: { readonly position: Lsn }
}

export interface TokenWaitsOptions {
  readonly runtime: Runtime
  /** @throws {NotReadyError} @throws {ClosedError} */
  readonly readable: () => Readable
  readonly server: ServerPosition
  /** Asks the server how it came to its timeline. */
  readonly askHistory: (timeline: number) => Promise<TimelineHistory>
  /** Has the server flush what it has not. */
  readonly nudge: () => void
  /** Whether the server had something to flush when it was last asked to: then it is asked at once. */
  readonly flushesLate: () => boolean
  /** Looks for what the stream of the tables that are read leaves out: see `GenerationProbes.lookForUntold`. */
  readonly lookForUntold: () => Promise<void> | null
}

/** Callers that wait for the commit that a token names, across reloads and failovers. */
export class TokenWaits {
  readonly #options: TokenWaitsOptions
  readonly #waiters: PositionWaiters
  /** Has those who could not look for what is untold look again. */
  readonly #again = new Set<() => void>()
  /** The history of one timeline, asked for once. */
  #history: { readonly timeline: number; readonly ends: Promise<TimelineHistory> } | null = null

  constructor(options: TokenWaitsOptions, position: () => Lsn) {
    this.#options = options
    this.#waiters = new PositionWaiters(options.runtime.timers, position)
  }

  get size(): number {
    return this.#waiters.size + this.#again.size
  }

  /** @see Cache.waitFor */
  async waitFor(
    target: LogPosition,
    { timeoutMs = WAIT_DEFAULT_MS, signal }: WaitOptions = {},
  ): Promise<void> {
    const { readable, runtime } = this.#options
    const { clock } = runtime
    const untilMs = clock.monotonicMs() + timeoutMs
    const leftMs = (): number => Math.max(0, untilMs - clock.monotonicMs())
    for (;;) {
      const { incarnation, store } = readable()
      signal?.throwIfAborted()
      const lsn = isOf(incarnation, target) ? target.lsn : await this.#lsnIn(incarnation, target)
      try {
        if (store.position < lsn) await this.#wait(target, lsn, leftMs(), signal)
        if (await this.#isAllTold(leftMs, signal)) return
      } catch (error) {
        if (!(error instanceof HistoryChanged)) throw error
      }
    }
  }

  /** Whether what one position names is in the state of the other. @throws {TokenError} @throws {TokenLostError} */
  async isIn(target: LogPosition, state: LogPosition): Promise<boolean> {
    return (isOf(state, target) ? target.lsn : await this.#lsnIn(state, target)) <= state.lsn
  }

  /**
   * Sees to it that `position`, which the server has just named, is at or after `target`: it may have been failed over meanwhile.
   *
   * @throws {TokenError} @throws {TokenLostError}
   */
  async mustCover(target: LogPosition, position: LogPosition): Promise<void> {
    if (!(await this.isIn(target, position))) throw beyondServer()
  }

  /** The position has moved, or something was proven: those who waited for it go on. */
  moved(): void {
    this.#waiters.moved()
    this.#lookAgain()
  }

  /** Another history is read: positions of the one before mean nothing in it, so everybody looks again. */
  historyChanged(): void {
    this.#waiters.failAll(new HistoryChanged())
    this.#lookAgain()
  }

  /** Nothing will move any more. */
  fail(error: ClosedError): void {
    this.#waiters.failAll(error)
    this.#lookAgain()
  }

  #lookAgain(): void {
    for (const again of this.#again) again()
  }

  /** Where a position of another history is in this one. @throws {TokenLostError} if it is not. @throws {TokenError} for another cluster's. */
  async #lsnIn({ systemId, timeline }: Incarnation, target: LogPosition): Promise<Lsn> {
    if (target.systemId !== systemId) throw new TokenError('it belongs to another database cluster.')
    // Of a timeline that is still to come here: another server has been failed over to it already.
    if (target.timeline > timeline) return LSN_MAX
    const end = (await this.#historyOf(timeline)).get(target.timeline)
    if (end === undefined || target.lsn > end) throw new TokenLostError(target.timeline)
    return target.lsn
  }

  #historyOf(timeline: number): Promise<TimelineHistory> {
    if (this.#history?.timeline === timeline) return this.#history.ends
    const ends = this.#options.askHistory(timeline)
    this.#history = { timeline, ends }
    ends.catch(() => {
      this.#history = null
    })
    return ends
  }

  async #wait(target: LogPosition, lsn: Lsn, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { runtime } = this.#options
    const refusal = new AbortController()
    const { timers } = runtime
    const cancelNudge = this.#nudgeSoon()
    const cancelDoubt = timers.after(DOUBT_AFTER_MS, () => void this.#refuseBeyond(target, refusal))
    try {
      const either = signal === undefined ? refusal.signal : AbortSignal.any([signal, refusal.signal])
      await this.#waiters.wait(lsn, timeoutMs, either)
    } finally {
      cancelNudge()
      cancelDoubt()
    }
  }

  /** Where commits are flushed by themselves, a nudge would mostly be for nothing. */
  #nudgeSoon(): () => void {
    const { runtime, nudge, flushesLate } = this.#options
    if (!flushesLate()) return runtime.timers.after(NUDGE_AFTER_MS, nudge)
    nudge()
    return () => undefined
  }

  /**
   * Where the stream leaves something out, to have reached a position is not to have all before it: that is looked for. If it can't be looked
   * for now, as when the connection was lost, false comes when that may have changed.
   *
   * @throws {WaitTimeoutError} @throws {OverloadedError}
   */
  async #isAllTold(leftMs: () => number, signal?: AbortSignal): Promise<boolean> {
    const looking = this.#options.lookForUntold()
    if (looking === null) return true
    if (this.#again.size >= WAITERS_MAX) throw new OverloadedError(this.#again.size)
    let again: () => void = () => undefined
    const waiting = new Promise<boolean>(resolve => {
      again = () => resolve(false)
    })
    this.#again.add(again)
    const timeoutMs = leftMs()
    let cancel: (() => void) | undefined
    const late = new Promise<never>((_resolve, reject) => {
      cancel = this.#options.runtime.timers.after(timeoutMs, () => reject(new WaitTimeoutError(timeoutMs)))
    })
    const looked = looking.then(
      () => true,
      () => waiting,
    )
    try {
      return await unlessAborted(Promise.race([looked, late]), signal)
    } finally {
      cancel?.()
      this.#again.delete(again)
    }
  }

  /** A position that the server itself has not come to is not waited for: the token was made up. */
  async #refuseBeyond(target: LogPosition, refusal: AbortController): Promise<void> {
    // If the server can't be asked, the wait goes on, and ends by itself.
    const reached = await this.#options.server.get().catch(() => target)
    if (isBeyond(target, reached)) refusal.abort(beyondServer())
  }
}

function beyondServer(): TokenError {
  return new TokenError('it names a position that the server has not come to.')
}

/** Ends waits that begin again. */
class HistoryChanged extends Error {}

function isOf({ systemId, timeline }: Incarnation, target: Incarnation): boolean {
  return target.timeline === timeline && target.systemId === systemId
}
