import { type Lsn, normaliseInsertLsn, parseLsn } from '../change/lsn.js'
import { asError } from '../errors.js'
import type { Logger } from '../observe.js'
import { pause, type QueryConnection, type Runtime } from '../runtime.js'
import { fingerprintSql } from './fingerprint.js'

/** How long a probe waits for its position before it nudges the server, once. */
const NUDGE_AFTER_MS = 50
/** Nudges come no closer together: each costs the server a flush. */
const NUDGE_EVERY_MS = 20
/** A probe that the server has not answered by then is given up. */
const PROBE_TIMEOUT_MS = 5_000

/** What one probe found. */
export interface ProbeAnswer {
  /** Local monotonic time just before the question was sent. */
  readonly askedMs: number
  /** Everything committed before the question was asked ends at or before this position. */
  readonly position: Lsn
  /** The server's start time: another one means that it was restarted, or is another server. */
  readonly startedAt: string
  readonly fingerprint: string
  readonly inRecovery: boolean
  /** Our walsender counts as a synchronous standby: commits wait for this process. */
  readonly synchronous: boolean
}

/** What a probe needs of the server it asks. */
export interface ProbeTarget {
  /** `server_version_num`. */
  readonly serverVersion: number
  readonly tableOids: readonly number[]
  readonly publication: string
  readonly applicationName: string
  readonly walBlockBytes: number
  readonly walSegmentBytes: number
}

export interface ProberOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly intervalMs: number
  readonly target: ProbeTarget
  /** Runs a query on a session of ours. */
  readonly run: <T>(work: (session: QueryConnection) => Promise<T>, signal: AbortSignal) => Promise<T>
  /** Resolves when the visible state has reached the position; rejects when `signal` aborts. */
  readonly reached: (position: Lsn, signal: AbortSignal) => Promise<void>
  /** Judges an answer before it counts; what it throws is final for this prober. */
  readonly check: (answer: ProbeAnswer) => void
  /** Everything committed before `askedMs` is visible. */
  readonly onProven: (askedMs: number) => void
}

// On a standby the insert position can't be asked for; the answer is refused, but it is an answer.
const probeSql = (
  serverVersion: number,
): string => `SELECT CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_insert_lsn() END AS position,
  pg_postmaster_start_time() AS started, pg_is_in_recovery() AS recovering, ${fingerprintSql(serverVersion)} AS fingerprint,
  EXISTS (SELECT FROM pg_catalog.pg_stat_replication
           WHERE application_name = $3 AND sync_state IN ('sync', 'quorum')) AS synchronous`

/**
 * Asks the server, again and again, for its newest position and the fingerprint of our tables, and waits for the stream to get there: the only
 * proof that the visible state is not old, since a quiet stream and a dead connection look alike.
 */
export class Prober {
  readonly #options: ProberOptions
  readonly #sql: string
  #inFlight: Promise<void> | null = null
  #nudgedMs = Number.NEGATIVE_INFINITY

  constructor(options: ProberOptions) {
    this.#options = options
    this.#sql = probeSql(options.target.serverVersion)
  }

  /** Probes at each interval until `signal` aborts. Rejects only with what `check` threw. */
  async run(signal: AbortSignal): Promise<void> {
    const { runtime, intervalMs } = this.#options
    while (!signal.aborted) {
      await this.#probeLogged(signal)
      await pause(runtime.timers, intervalMs, signal)
    }
  }

  /** One proof that began now or later than now: shared by all who ask while none has begun yet. */
  prove(signal: AbortSignal): Promise<void> {
    this.#inFlight ??= this.#probe(signal).finally(() => {
      this.#inFlight = null
    })
    return this.#inFlight
  }

  async #probeLogged(signal: AbortSignal): Promise<void> {
    try {
      await this.prove(signal)
    } catch (error) {
      if (error instanceof FinalProbeError) throw error.reason
      if (isRefusal(error)) throw error
      if (!signal.aborted) this.#options.logger.warn(`A freshness probe failed: ${asError(error).message}`)
    }
  }

  async #probe(outer: AbortSignal): Promise<void> {
    const { runtime, reached, check, onProven } = this.#options
    const limit = new AbortController()
    const cancelLimit = runtime.timers.after(PROBE_TIMEOUT_MS, () =>
      limit.abort(new Error(`The server gave no answer within ${PROBE_TIMEOUT_MS} ms.`)),
    )
    const signal = AbortSignal.any([outer, limit.signal])
    try {
      const answer = await this.#ask(signal)
      try {
        check(answer)
      } catch (error) {
        throw new FinalProbeError(asError(error))
      }
      cancelLimit()
      const cancelNudge = runtime.timers.after(NUDGE_AFTER_MS, () => this.nudge(outer))
      try {
        await reached(answer.position, outer)
      } finally {
        cancelNudge()
      }
      onProven(answer.askedMs)
    } finally {
      cancelLimit()
    }
  }

  #ask(signal: AbortSignal): Promise<ProbeAnswer> {
    const { runtime, run, target } = this.#options
    return run(async session => {
      const askedMs = runtime.clock.monotonicMs()
      const [row] = await session.query(this.#sql, [
        `{${target.tableOids.join(',')}}`,
        target.publication,
        target.applicationName,
      ])
      const position = parseLsn(row!['position']!)
      return {
        askedMs,
        position: normaliseInsertLsn(position, target.walBlockBytes, target.walSegmentBytes),
        startedAt: row!['started']!,
        fingerprint: row!['fingerprint']!,
        inRecovery: row!['recovering'] === 't',
        synchronous: row!['synchronous'] === 't',
      }
    }, signal)
  }

  /**
   * Has the server flush its log: a commit under synchronous_commit=off, or the record of an open transaction, may else lie there unflushed,
   * and so unsent, for seconds. One nudge at a time serves all who wait.
   */
  nudge(signal: AbortSignal): void {
    const { runtime, run, logger } = this.#options
    const now = runtime.clock.monotonicMs()
    if (now < this.#nudgedMs + NUDGE_EVERY_MS) return
    this.#nudgedMs = now
    run(session => session.query(`SELECT pg_logical_emit_message(true, 'walcache', '')`), signal).catch(
      (error: unknown) => {
        if (!signal.aborted) logger.debug(`A nudge failed: ${asError(error).message}`)
      },
    )
  }
}

/** The server understood the question and will never answer it (SQLSTATE class 42): a missing right, say. */
function isRefusal(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^42...$/.test(code)
}

/** Carries what `check` threw past the places that forgive a failed probe. */
class FinalProbeError extends Error {
  constructor(readonly reason: Error) {
    super(reason.message, { cause: reason })
  }
}
