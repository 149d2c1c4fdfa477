import { type Lsn, normaliseInsertLsn, parseLsn } from '../change/lsn.js'
import { SqlSnapshot } from '../change/sql-snapshot.js'
import { asError, ConnectionError } from '../errors.js'
import type { Logger } from '../observe.js'
import { pause, type QueryConnection, type Runtime } from '../runtime.js'
import { FILES_SQL } from './files.js'
import { type Fingerprint, fingerprintSql, parseFingerprint } from './fingerprint.js'
import { SharedQuestion } from './shared-question.js'
import { SpacedCheck } from './spaced-check.js'

/** How long a probe waits for its position before it nudges the server, once. */
const NUDGE_AFTER_MS = 50
/** Nudges come no closer together: each may cost the server a flush. */
const NUDGE_EVERY_MS = 2
/**
 * The longest pause after nudges that found nothing to flush: the stream is behind, and nothing but time helps. One alone says little, since
 * the server's own writer may have been quicker that time; so each in a row doubles the pause.
 */
const NEEDLESS_NUDGE_EVERY_MS = 20
/** Checks because of silent commits come no closer together: tables that nobody has declared may be written all the time. */
const SILENT_CHECK_EVERY_MS = 100
/** A probe that the server has not answered by then is given up. */
const PROBE_TIMEOUT_MS = 5_000

/** SQLSTATE. */
const CANNOT_CONNECT_NOW = '57P03'

/** Its commit flushes all that was written before. */
const NUDGE = `SELECT CASE WHEN pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()
  THEN pg_logical_emit_message(true, 'walcache', '') END AS flushed`

/** What one probe found. */
export interface ProbeAnswer {
  /** Local monotonic time just before the question was sent. */
  readonly askedMs: number
  /** Everything committed before the question was asked ends at or before this position. */
  readonly position: Lsn
  /** Which transactions were visible when it was asked. */
  readonly snapshot: SqlSnapshot
  /** The server's start time: another one means that it was restarted, or is another server. */
  readonly startedAt: string
  readonly fingerprint: Fingerprint
  /** What `FILES_SQL` gives; null if it was not asked for. */
  readonly files: string | null
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
  /** Whether the tables' files are asked for. */
  readonly withFiles: boolean
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
const probeSql = ({
  serverVersion,
  withFiles,
}: ProbeTarget): string => `SELECT CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_insert_lsn() END AS position,
  pg_current_snapshot() AS snapshot, pg_postmaster_start_time() AS started, pg_is_in_recovery() AS recovering, ${fingerprintSql(serverVersion)} AS fingerprint,
  ${withFiles ? FILES_SQL : 'NULL'} AS files,
  EXISTS (SELECT FROM pg_catalog.pg_stat_replication
           WHERE application_name = $3 AND sync_state IN ('sync', 'quorum')) AS synchronous`

/**
 * Asks the server, again and again, for its newest position and the fingerprint of our tables, and waits for the stream to get there: the only
 * proof that the visible state is not old, since a quiet stream and a dead connection look alike.
 */
export class Prober {
  readonly #options: ProberOptions
  readonly #sql: string
  /** The proof under way. */
  #proof: Promise<void> | null = null
  /** Whether the server is being asked. */
  #asking = false
  #suspect: () => void = () => undefined
  #silent: () => void = () => undefined
  #checkOnce: () => Promise<unknown> = notRunning
  readonly #check = new SharedQuestion(() => this.#checkOnce())
  #nextNudgeMs = Number.NEGATIVE_INFINITY
  #nudgePauseMs = NUDGE_EVERY_MS
  #flushesLate = false
  #nudging = false
  #nudgeAgain = false

  constructor(options: ProberOptions) {
    this.#options = options
    this.#sql = probeSql(options.target)
  }

  /** Probes at each interval until `signal` aborts. Rejects only with what is final: what `check` threw, and a server that refuses. */
  async run(signal: AbortSignal): Promise<void> {
    const { runtime } = this.#options
    const ended = new AbortController()
    const until = AbortSignal.any([signal, ended.signal])
    const judge = (error: unknown): void => this.#judge(error, signal, ended)
    const look = (): void => {
      if (this.#asking || until.aborted) return
      // While a proof waits for its position, which may take as long as a huge transaction, the server is watched all the same.
      const attempt = this.#proof === null ? this.prove(signal) : this.#askAndCheck(signal)
      attempt.catch(judge)
    }
    this.#suspect = look
    this.#checkOnce = async () => {
      try {
        return await this.#askAndCheck(until)
      } catch (error) {
        judge(error)
        throw error
      }
    }
    const silent = new SpacedCheck({
      runtime,
      everyMs: SILENT_CHECK_EVERY_MS,
      check: checked => this.#askAndCheck(checked),
      onError: judge,
    })
    this.#silent = () => silent.want(until)
    while (!until.aborted) {
      look()
      await pause(runtime.timers, this.#options.intervalMs, until)
    }
    this.#suspect = () => undefined
    this.#silent = () => undefined
    this.#checkOnce = notRunning
    if (ended.signal.aborted) throw asError(ended.signal.reason)
  }

  /** Something has happened that may concern the server: it is looked at now. */
  suspect(): void {
    this.#suspect()
  }

  /** A commit has come that says nothing of our tables: what it may have done to them all the same is looked for now. */
  silent(): void {
    this.#silent()
  }

  /** Resolves when an answer that was asked for after the call has been checked. Rejects if there is none, or it is final. */
  async check(): Promise<void> {
    await this.#check.get()
  }

  /** One proof at a time, shared by all who ask for one: it may have begun before they asked. */
  prove(signal: AbortSignal): Promise<void> {
    this.#proof ??= this.#prove(signal).finally(() => {
      this.#proof = null
    })
    return this.#proof
  }

  /** Asks now, and has the answer judged; null if there is none this time. Rejects with what is final, as `run` does. */
  async look(signal: AbortSignal): Promise<ProbeAnswer | null> {
    try {
      return await this.#askAndCheck(signal)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof FinalProbeError) throw error.reason
      if (isRefusal(error) || isShuttingDown(error)) throw error
      this.#options.logger.warn(`A freshness probe failed: ${asError(error).message}`)
      return null
    }
  }

  #judge(error: unknown, signal: AbortSignal, ended: AbortController): void {
    if (signal.aborted) return
    if (error instanceof FinalProbeError) ended.abort(error.reason)
    else if (isRefusal(error) || isShuttingDown(error)) ended.abort(error)
    else this.#options.logger.warn(`A freshness probe failed: ${asError(error).message}`)
  }

  async #prove(signal: AbortSignal): Promise<void> {
    const { runtime, reached, onProven } = this.#options
    const { position, askedMs } = await this.#askAndCheck(signal)
    const cancelNudge = runtime.timers.after(NUDGE_AFTER_MS, () => this.nudge(signal))
    try {
      await reached(position, signal)
    } finally {
      cancelNudge()
    }
    onProven(askedMs)
  }

  async #askAndCheck(signal: AbortSignal): Promise<ProbeAnswer> {
    const { runtime, check } = this.#options
    const limit = new AbortController()
    const cancelLimit = runtime.timers.after(PROBE_TIMEOUT_MS, () =>
      limit.abort(new Error(`The server gave no answer within ${PROBE_TIMEOUT_MS} ms.`)),
    )
    this.#asking = true
    try {
      const answer = await this.#ask(AbortSignal.any([signal, limit.signal]))
      try {
        check(answer)
      } catch (error) {
        throw new FinalProbeError(asError(error))
      }
      return answer
    } finally {
      this.#asking = false
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
        snapshot: SqlSnapshot.parse(row!['snapshot']!),
        startedAt: row!['started']!,
        fingerprint: parseFingerprint(row!['fingerprint']!),
        files: row!['files']!,
        inRecovery: row!['recovering'] === 't',
        synchronous: row!['synchronous'] === 't',
      }
    }, signal)
  }

  /** Whether the last nudge found something to flush. */
  get flushesLate(): boolean {
    return this.#flushesLate
  }

  /**
   * Has the server flush its log: a commit under synchronous_commit=off, or the record of an open transaction, may else lie there unflushed,
   * and so unsent, for seconds. One nudge at a time serves all who wait, and one that finds everything flushed costs a look.
   */
  nudge(signal: AbortSignal): void {
    // The one under way may have reached the server before what the caller waits for was written.
    this.#nudgeAgain = this.#nudging
    if (this.#nudging) return
    this.#nudging = true
    this.#nudge(signal)
      .catch((error: unknown) => {
        if (!signal.aborted) this.#options.logger.debug(`A nudge failed: ${asError(error).message}`)
      })
      .finally(() => {
        this.#nudging = false
        if (this.#nudgeAgain && !signal.aborted) this.nudge(signal)
      })
  }

  async #nudge(signal: AbortSignal): Promise<void> {
    const { runtime, run } = this.#options
    const { clock, timers } = runtime
    const tooEarlyMs = this.#nextNudgeMs - clock.monotonicMs()
    if (tooEarlyMs > 0) await pause(timers, tooEarlyMs, signal)
    const [row] = await run(session => session.query(NUDGE), signal)
    const wasNeeded = row!['flushed'] !== null
    this.#flushesLate = wasNeeded
    this.#nudgePauseMs = wasNeeded
      ? NUDGE_EVERY_MS
      : Math.min(2 * this.#nudgePauseMs, NEEDLESS_NUDGE_EVERY_MS)
    this.#nextNudgeMs = clock.monotonicMs() + this.#nudgePauseMs
  }
}

function notRunning(): Promise<never> {
  return Promise.reject(new Error('Nobody is asking the server any more.'))
}

/** The server understood the question and will never answer it (SQLSTATE class 42): a missing right, say. */
function isRefusal(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' && /^42...$/.test(code)
}

/** The server lets nobody in any more, and waits until our stream has confirmed everything: better it waits for nobody. */
function isShuttingDown(error: unknown): boolean {
  const { cause } = error as { cause?: unknown }
  return (
    error instanceof ConnectionError && (cause as { code?: unknown } | undefined)?.code === CANNOT_CONNECT_NOW
  )
}

/** Carries what `check` threw past the places that forgive a failed probe. */
class FinalProbeError extends Error {
  constructor(readonly reason: Error) {
    super(reason.message, { cause: reason })
  }
}
