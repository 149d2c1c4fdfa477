import { type CacheError, StaleError } from '../errors.js'
import type { Runtime } from '../runtime.js'

/** A timer can't be set for longer; such a bound is told of by the first read. */
const WATCH_MAX_MS = 2 ** 31 - 2

/**
 * How old the visible state can be, by the local monotonic clock.
 *
 * A probe asks the server for its newest position; once the stream has passed it, everything committed before the question was asked
 * is in memory. So `now - asked` bounds the age, without comparing clocks of two machines. A clock call costs as much as a hot read, so
 * one answer counts for the rest of its synchronous run: no commit can be applied within that.
 */
export class FreshnessGate {
  /** Whether this synchronous run has been shown to be fresh enough by the default bound. Hot: looked at by every local read. */
  fresh = false
  readonly #runtime: Runtime
  readonly #maxStalenessMs: number
  readonly #whenStale: 'throw' | 'serve'
  #provenMs = Number.NEGATIVE_INFINITY
  /** Why there is nothing to read, however old. */
  #refusal: CacheError | null = null
  #stale = false
  readonly #onChange: (stale: boolean) => void
  /** Set while there is something proven: it may become too old with nobody reading. */
  #cancelWatch: (() => void) | null = null

  constructor(
    runtime: Runtime,
    maxStalenessMs: number,
    whenStale: 'throw' | 'serve',
    onChange: (stale: boolean) => void,
  ) {
    this.#runtime = runtime
    this.#maxStalenessMs = maxStalenessMs
    this.#whenStale = whenStale
    this.#onChange = onChange
  }

  get maxStalenessMs(): number {
    return this.#maxStalenessMs
  }

  /** Milliseconds by which the visible state may be behind the server; infinite before the first proof. */
  stalenessMs(): number {
    return this.ageMs(this.#provenMs)
  }

  /** How long ago `atMs` (monotonic) is. */
  ageMs(atMs: number): number {
    return this.#runtime.clock.monotonicMs() - atMs
  }

  /** Everything committed before this time (monotonic) is visible. */
  get provenMs(): number {
    return this.#provenMs
  }

  /** Everything committed before `atMs` (monotonic) is visible. */
  prove(atMs: number): void {
    if (atMs > this.#provenMs) this.#provenMs = atMs
    this.#settle()
  }

  /** What was proven no longer counts: another generation is visible, which was proven at `atMs`. */
  restart(atMs: number): void {
    this.#provenMs = atMs
    this.#refusal = null
    this.fresh = false
    this.#settle()
  }

  /** What was proven no longer counts, and nothing will be proven before `restart`: the visible state is found to be no commit's. */
  doubt(): void {
    this.#provenMs = Number.NEGATIVE_INFINITY
    this.fresh = false
    this.#settle()
  }

  /** There is nothing to read, until `restart`: whoever tries gets this error, which tells more than an age would. */
  refuse(error: CacheError): void {
    this.#refusal = error
    this.fresh = false
    this.#cancelWatch?.()
    this.#cancelWatch = null
  }

  /**
   * Lets the rest of this synchronous run read.
   *
   * @throws {StaleError} if the state may be older than the default bound and the policy is to throw.
   * @throws {CacheError} what `refuse` was given.
   */
  pass(): void {
    if (this.#refusal !== null) throw this.#refusal
    const staleness = this.stalenessMs()
    if (staleness > this.#maxStalenessMs) {
      this.#turn(true)
      if (this.#whenStale === 'throw') throw new StaleError(staleness, this.#maxStalenessMs)
    }
    this.fresh = true
    this.#runtime.timers.microtask(this.#endRun)
  }

  readonly #endRun = (): void => {
    this.fresh = false
  }

  /** Turns to what the proof says, and looks again when that would be too old. */
  #settle(): void {
    const leftMs = this.#maxStalenessMs - this.stalenessMs()
    this.#turn(leftMs < 0)
    if (leftMs < 0 || leftMs > WATCH_MAX_MS || this.#refusal !== null || this.#cancelWatch !== null) return
    // The next whole millisecond: at the bound itself it is still fresh.
    this.#cancelWatch = this.#runtime.timers.after(Math.floor(leftMs) + 1, () => {
      this.#cancelWatch = null
      this.#settle()
    })
  }

  #turn(stale: boolean): void {
    if (this.#stale === stale) return
    this.#stale = stale
    this.#onChange(stale)
  }
}
