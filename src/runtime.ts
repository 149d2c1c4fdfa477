/**
 * The way in for everything that is not a function of its input: time, chance and the database.
 * A simulation hands in its own; nothing in `src` reaches for a global clock, timer or random number.
 */
export interface Runtime {
  readonly clock: Clock
  readonly timers: Timers
  /** Uniform in [0, 1). */
  random(): number
  /** The database, if not the one that the caller's pool connects to: a scripted one. Then the pool lends only its type parsers. */
  readonly connections?: Connections
}

/** What time it is. */
export interface Clock {
  /** Milliseconds on a clock that never goes back; its zero means nothing. */
  monotonicMs(): number
  /** Milliseconds since 1970 by the machine's clock: for what people read, never for a decision. */
  wallMs(): number
}

/** What is done later. */
export interface Timers {
  /** Calls `callback` once after `delayMs`; the timer does not keep the process alive. Returns what cancels it. */
  after(delayMs: number, callback: () => void): () => void
  /** Resolves in a later turn of the event loop, after pending I/O. */
  yield(): Promise<void>
  /** Calls `callback` when the current synchronous run has ended. */
  microtask(callback: () => void): void
}

const resolved = Promise.resolve()

export const systemRuntime: Runtime = {
  clock: {
    monotonicMs: () => performance.now(),
    wallMs: () => Date.now(),
  },
  timers: {
    after(delayMs, callback) {
      const timer = setTimeout(callback, delayMs)
      timer.unref()
      return () => clearTimeout(timer)
    },
    yield: () => new Promise(resolve => setImmediate(resolve)),
    // queueMicrotask makes a resource for async_hooks each time, which costs several times what the microtask does.
    microtask: task => void resolved.then(task),
  },
  random: Math.random,
}

/** Resolves after `delayMs`, or as soon as the signal aborts. */
export function pause(timers: Timers, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) {
      resolve()
      return
    }
    const done = (): void => {
      cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const cancel = timers.after(delayMs, done)
    signal.addEventListener('abort', done, { once: true })
  })
}

/** Settles as `work` does, or with the signal's reason as soon as it aborts; the work itself goes on. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** What `work` gives, under a signal that also aborts, with the reason `late`, once `limitMs` have passed. */
export async function within<T>(
  timers: Timers,
  limitMs: number,
  signal: AbortSignal,
  late: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController()
  const cancel = timers.after(limitMs, () => limit.abort(late()))
  try {
    return await work(AbortSignal.any([signal, limit.signal]))
  } finally {
    cancel()
  }
}

/** One row of a query's answer, every value as PostgreSQL's text (or null): no type parser has touched it. */
export type TextRow = Readonly<Record<string, string | null>>

/** What tells whether an answer that does not come is on its way. */
interface SessionFacts {
  /** The server's process for this session. */
  readonly pid: number
  /** Bytes that have come from the server so far; null if what carries them does not count. */
  readonly received: number | null
}

/** A connection that answers SQL: loads, catalogue look-ups, probes, fall-through reads. */
export interface QueryConnection extends SessionFacts {
  /**
   * The rows of one statement, values as text. Parameters go out of band, as text.
   *
   * @throws whatever the server answered, with its SQLSTATE as `code`.
   */
  query(sql: string, parameters?: readonly (string | null)[]): Promise<TextRow[]>
  /**
   * The rows of `COPY ... TO STDOUT`, many at a time: whole CopyData messages as the protocol has them, one for each row (a byte `d`,
   * four of the length that counts itself and the row, the row). They are the reader's to keep.
   */
  copyOut(sql: string): AsyncIterable<Uint8Array>
  /** Resolves when the session is over, whoever ended it. Never rejects. */
  readonly closed: Promise<void>
  /** Ends the session: politely when it is idle, at once when it is busy. Idempotent. */
  close(): Promise<void>
}

/** What a replication connection hands over while it streams. Called synchronously, in stream order. */
export interface StreamHandlers {
  /**
   * A change frame: its header's position, and its payload, `bytes[start, end)`. Nobody writes to `bytes` any
   * more: a handler may keep them, and then holds all of them in memory.
   */
  onData(lsnHigh: number, lsnLow: number, bytes: Uint8Array, start: number, end: number): void
  onKeepalive(lsnHigh: number, lsnLow: number, replyRequested: boolean): void
}

/** A connection in replication mode: simple queries first, then the stream. */
export interface ReplicationConnection extends SessionFacts {
  query(sql: string): Promise<TextRow[]>
  /** Sends `START_REPLICATION ...`; resolves when the server has switched to streaming. */
  start(sql: string, handlers: StreamHandlers): Promise<void>
  /** Sends a standby status update (the whole message). */
  sendStatus(status: Uint8Array): void
  /** Stops and resumes reading from the socket: backpressure. */
  pause(): void
  resume(): void
  /** Resolves with the reason when the connection is lost, with undefined after `close`. Never rejects. */
  readonly closed: Promise<Error | undefined>
  /** Ends the connection; a temporary slot goes with it. Idempotent. */
  close(): Promise<void>
}

/** The database, as two kinds of connection. */
export interface Connections {
  /**
   * A new session with the pinned settings, by the pool's configuration or that of replication: a role sees what the sessions of its own do.
   * Rejects with a `CacheError` that says what to do.
   */
  query(signal?: AbortSignal, by?: 'pool' | 'replication'): Promise<QueryConnection>
  replication(signal?: AbortSignal): Promise<ReplicationConnection>
}
