import { ClosedError, ConnectionError } from '../errors.js'
import type { Connections, QueryConnection } from '../runtime.js'
import { WaitingLine } from '../runtime/waiting-line.js'

/**
 * walcache's own few sessions: so handlers that hold every client of the caller's pool can't keep it waiting.
 *
 * Loads lease a session for themselves; short queries share what is idle. Whoever comes while all are in use waits in line.
 */
export class SessionPool {
  readonly #connections: Connections
  readonly #max: number
  readonly #idle: QueryConnection[] = []
  /** Those on which `run` works. */
  readonly #busy = new Set<QueryConnection>()
  /** Those who wait for a place; their number is bounded by their callers. */
  readonly #line = new WaitingLine()
  #used = 0
  readonly #closing = new AbortController()
  #closed: Promise<void> | null = null
  /** An idle session was ended, though not by us: its server may be going down. */
  onIdleLost: () => void = () => undefined
  /** Resolves the wait for the last one to leave. */
  #onEmpty: () => void = () => undefined

  constructor(connections: Connections, max: number) {
    this.#connections = connections
    this.#max = max
  }

  /**
   * A new session for the caller alone, whose `close` makes room for the next.
   *
   * @throws {ConnectionError} @throws {ClosedError} Rejects with the signal's reason when it aborts.
   */
  async lease(signal?: AbortSignal): Promise<QueryConnection> {
    await this.#enter(signal)
    try {
      const session = await this.#connect(signal)
      return new LeasedSession(session, () => this.#leave())
    } catch (error) {
      this.#leave()
      throw error
    }
  }

  /**
   * What `work` makes of a session, an idle one if there is one. An abort ends the session, and with it the query.
   *
   * @throws {ConnectionError} @throws {ClosedError} Rejects with the signal's reason when it aborts.
   */
  async run<T>(work: (session: QueryConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#enter(signal)
    try {
      const idle = this.#idle.pop()
      if (idle !== undefined) {
        try {
          return await this.#runOn(idle, work, signal)
        } catch (error) {
          // An idle session may have died unnoticed, as when the server was restarted: that says nothing about a new one.
          if (!isLost(error) || signal?.aborted) throw error
        }
      }
      return await this.#runOn(await this.#connectShared(signal), work, signal)
    } finally {
      this.#leave()
    }
  }

  #connect(signal: AbortSignal | undefined): Promise<QueryConnection> {
    const closing = this.#closing.signal
    return this.#connections.query(signal === undefined ? closing : AbortSignal.any([signal, closing]))
  }

  async #connectShared(signal: AbortSignal | undefined): Promise<QueryConnection> {
    const session = await this.#connect(signal)
    void session.closed.then(() => {
      const place = this.#idle.indexOf(session)
      if (place < 0) return
      this.#idle.splice(place, 1)
      this.onIdleLost()
    })
    return session
  }

  async #runOn<T>(
    session: QueryConnection,
    work: (session: QueryConnection) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    let usable = true
    const end = () => void session.close()
    signal?.addEventListener('abort', end, { once: true })
    this.#busy.add(session)
    try {
      return await work(session)
    } catch (error) {
      usable = !isLost(error)
      signal?.throwIfAborted()
      this.#closing.signal.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', end)
      this.#busy.delete(session)
      if (usable && signal?.aborted !== true && this.#closed === null) this.#idle.push(session)
      else await session.close()
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    this.#closing.signal.throwIfAborted()
    if (this.#used >= this.#max) await this.#line.wait(signal)
    else this.#used++
    if (this.#closed === null) return
    this.#leave()
    throw this.#closing.signal.reason
  }

  #leave(): void {
    if (!this.#line.next() && --this.#used === 0) this.#onEmpty()
  }

  /**
   * Ends the sessions that are there, since the server answers on none of them any more; what began on an idle one is asked again on a new
   * one, and the rest fails by name. Without it they would wait for as long as the system sends their packets again: a quarter of an hour.
   */
  drop(): void {
    for (const session of [...this.#idle.splice(0), ...this.#busy]) void session.close()
  }

  /** Ends all sessions, and what runs on them with a ClosedError; leases are their holders' to end. Idempotent; resolves when none is left. */
  close(): Promise<void> {
    this.#closed ??= this.#end()
    return this.#closed
  }

  async #end(): Promise<void> {
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    if (this.#used === 0) this.#onEmpty()
    this.#closing.abort(new ClosedError())
    await Promise.all([...this.#idle.splice(0), ...this.#busy].map(session => session.close()))
    await empty
  }
}

function isLost(error: unknown): boolean {
  return error instanceof ConnectionError && (error.failure === 'lost' || error.failure === 'silent')
}

class LeasedSession implements QueryConnection {
  readonly #session: QueryConnection
  #onClose: (() => void) | null

  constructor(session: QueryConnection, onClose: () => void) {
    this.#session = session
    this.#onClose = onClose
  }

  query(sql: string, parameters?: readonly (string | null)[]): ReturnType<QueryConnection['query']> {
    return this.#session.query(sql, parameters)
  }

  copyOut(sql: string): AsyncIterable<Uint8Array> {
    return this.#session.copyOut(sql)
  }

  get pid(): number {
    return this.#session.pid
  }

  get received(): number | null {
    return this.#session.received
  }

  get closed(): Promise<void> {
    return this.#session.closed
  }

  async close(): Promise<void> {
    await this.#session.close()
    this.#onClose?.()
    this.#onClose = null
  }
}
