import { ConnectionError } from '../errors.js'
import type { Clock, QueryConnection, Timers } from '../runtime.js'
import { isServerError } from './connect-errors.js'

/** A session that has owed an answer for longer than this, without a byte of it, is looked at; and as often as that. */
const TICK_MS = 5_000
/** How long the server may take to say what its processes do. */
const LOOK_LIMIT_MS = 5_000
/** So many looks in a row that no server answered, and it is out of reach: whatever it still does comes to nobody. */
const UNREACHABLE_MAX = 6
/** So many that it refused, since it had no connection left, say: for a quarter of an hour, like TCP itself, what is silent is hoped for. */
const REFUSED_MAX = 180
/** A timer that is later than this was held up by this process, which then can't judge the server. */
const STALL_MS = 1_000

const LOOK = 'select pid, wait_event_type as waits from pg_catalog.pg_stat_activity where pid = any($1)'

/** What is asked of a session to tell whether an answer is on its way. */
export interface Watchable {
  /** The server's process for it. */
  readonly pid: number
  /** Bytes that have come from the server; null where that is not counted. */
  readonly received: number | null
  close(): Promise<void>
}

export interface SessionWatchOptions {
  readonly runtime: { readonly clock: Clock; readonly timers: Timers }
  /** A new session, by whose rights the watched ones can be looked at. It is not watched itself. */
  readonly open: (signal: AbortSignal) => Promise<QueryConnection>
}

/**
 * Sees to it that nobody waits for ever for a session whose peer has vanished: TCP tells that after minutes, or never.
 *
 * Silence alone proves nothing, since a statement may wait for a lock, or a slow disk, for as long as it likes. So the server is asked, on a
 * session that is made for it: one whose process is gone is given up; so is one whose process, at two looks, waits for us, while we wait for it and
 * not a byte has come in between.
 */
export class SessionWatch {
  readonly #options: SessionWatchOptions
  readonly #sessions = new Set<WatchedSession>()
  #cancelTick: () => void = () => undefined
  #looking: Promise<void> | null = null
  #stopLooking = new AbortController()
  #unreachable = 0
  #refused = 0

  constructor(options: SessionWatchOptions) {
    this.#options = options
  }

  /** Watches a session until it is let go. */
  add(session: Watchable): WatchedSession {
    const watched = new WatchedSession(session)
    if (this.#sessions.size === 0) {
      this.#stopLooking = new AbortController()
      this.#tickLater()
    }
    this.#sessions.add(watched)
    return watched
  }

  /** The session is over. Resolves when nothing is left that was done on its account. */
  async remove(session: WatchedSession): Promise<void> {
    this.#sessions.delete(session)
    if (this.#sessions.size > 0) return
    this.#cancelTick()
    this.#stopLooking.abort()
    await this.#looking
  }

  #tickLater(): void {
    const { clock, timers } = this.#options.runtime
    const dueMs = clock.monotonicMs() + TICK_MS
    this.#cancelTick = timers.after(TICK_MS, () => this.#tick(clock.monotonicMs() - dueMs > STALL_MS))
  }

  #tick(isLate: boolean): void {
    this.#tickLater()
    const silent = [...this.#sessions].filter(session => session.isSilent() && !isLate)
    if (silent.length === 0) {
      this.#unreachable = 0
      this.#refused = 0
    } else
      this.#looking ??= this.#look(silent).finally(() => {
        this.#looking = null
      })
  }

  async #look(silent: readonly WatchedSession[]): Promise<void> {
    const { signal } = this.#stopLooking
    let found: ReadonlyMap<number, string | null>
    try {
      found = await this.#ask(
        silent.map(({ pid }) => pid),
        signal,
      )
    } catch (error) {
      if (!signal.aborted) this.#noAnswer(error, silent)
      return
    }
    this.#unreachable = 0
    this.#refused = 0
    for (const session of silent) session.judge(found.get(session.pid))
  }

  /** What the processes wait for, of those that are there. */
  async #ask(pids: readonly number[], stop: AbortSignal): Promise<ReadonlyMap<number, string | null>> {
    const { runtime, open } = this.#options
    const limit = new AbortController()
    const cancel = runtime.timers.after(LOOK_LIMIT_MS, () => limit.abort())
    const signal = AbortSignal.any([stop, limit.signal])
    try {
      const session = await open(signal)
      const end = () => void session.close()
      signal.addEventListener('abort', end, { once: true })
      try {
        signal.throwIfAborted()
        const rows = await session.query(LOOK, [`{${pids.join(',')}}`])
        return new Map(rows.map(({ pid, waits }) => [Number(pid), waits ?? null]))
      } finally {
        signal.removeEventListener('abort', end)
        await session.close()
      }
    } finally {
      cancel()
    }
  }

  #noAnswer(error: unknown, silent: readonly WatchedSession[]): void {
    const cause = error instanceof ConnectionError ? error.cause : error
    if (isServerError(cause)) this.#refused++
    else this.#unreachable++
    if (this.#refused < REFUSED_MAX && this.#unreachable < UNREACHABLE_MAX) return
    for (const session of silent) session.giveUp('and the server can’t be asked what has become of it')
  }
}

/** A session, and how it is with what it owes. */
export class WatchedSession {
  readonly #session: Watchable
  /** Answers that are waited for. */
  #owed = 0
  #asked = 0
  /** At the last tick: what had been asked, and what had come. */
  #askedBefore = -1
  #receivedBefore: number | null = null
  /** At the last look, the server waited for us. */
  #isSuspect = false
  #reason: ConnectionError | null = null

  constructor(session: Watchable) {
    this.#session = session
  }

  get pid(): number {
    return this.#session.pid
  }

  /** What `answer` gives; if it does not come, and never will, rejects by name. */
  async awaits<T>(answer: Promise<T>): Promise<T> {
    this.#asked++
    this.#owed++
    try {
      return await answer
    } catch (error) {
      throw this.#reason ?? error
    } finally {
      this.#owed--
    }
  }

  /** Whether something has been owed since before the last call, and nothing has come. */
  isSilent(): boolean {
    const isSilent = this.#owed > 0 && !this.#hasMoved()
    this.#askedBefore = this.#asked
    this.#receivedBefore = this.#session.received
    if (!isSilent) this.#isSuspect = false
    return isSilent
  }

  #hasMoved(): boolean {
    return this.#asked !== this.#askedBefore || this.#session.received !== this.#receivedBefore
  }

  /** `waits` is what its process waits for, null if for nothing, or nobody may say; undefined if there is no such process. */
  judge(waits: string | null | undefined): void {
    // The answer may have come while the server was asked.
    if (this.#owed === 0 || this.#hasMoved()) return
    if (waits === undefined) this.giveUp('and the server’s process for it is gone')
    else if (waits !== 'Client' || this.#session.received === null) this.#isSuspect = false
    else if (this.#isSuspect) this.giveUp('while the server waits for us')
    else this.#isSuspect = true
  }

  giveUp(why: string): void {
    const message = `A session with PostgreSQL is silent, ${why}: its network has failed without a word. It is replaced by itself.`
    this.#reason ??= new ConnectionError('silent', message, true)
    void this.#session.close()
  }
}
