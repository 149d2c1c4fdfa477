import { ClosedError, ConnectionError } from '../errors.js'
import type { Connections, QueryConnection } from '../runtime.js'

/**
 * walcache's own few sessions: so handlers that hold every client of the caller's pool can't keep it waiting.
 *
 * Loads lease a session for themselves; short queries share what is idle. Whoever comes while all are in use waits in line.
 */
export class SessionPool {
  readonly #connections: Connections
  readonly #max: number
  readonly #idle: QueryConnection[] = []
  /** Those who wait for a place; their number is bounded by their callers. */
  readonly #line: (() => void)[] = []
  #used = 0
  #closed = false

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
      const session = await this.#connections.query(signal)
      return new LeasedSession(session, () => this.#leave())
    } catch (error) {
      this.#leave()
      throw error
    }
  }

  /** What `work` makes of a session, an idle one if there is one. An abort ends the session, and with it the query. */
  async run<T>(work: (session: QueryConnection) => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#enter(signal)
    try {
      const idle = this.#idle.pop()
      if (idle !== undefined) {
        try {
          return await this.#runOn(idle, work, signal)
        } catch (error) {
          // An idle session may have died unnoticed, as when the server was restarted: that says nothing about a new one.
          if (!isLost(error) || signal?.aborted || this.#closed) throw error
        }
      }
      return await this.#runOn(await this.#connections.query(signal), work, signal)
    } finally {
      this.#leave()
    }
  }

  async #runOn<T>(
    session: QueryConnection,
    work: (session: QueryConnection) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    let usable = true
    const end = () => void session.close()
    signal?.addEventListener('abort', end, { once: true })
    try {
      return await work(session)
    } catch (error) {
      usable = !isLost(error)
      signal?.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', end)
      if (usable && signal?.aborted !== true && !this.#closed) this.#idle.push(session)
      else await session.close()
    }
  }

  async #enter(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted()
    if (this.#closed) throw new ClosedError()
    if (this.#used >= this.#max) await this.#turn(signal)
    else this.#used++
    if (!this.#closed) return
    this.#leave()
    throw new ClosedError()
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal?.removeEventListener('abort', giveUp)
        resolve()
      }
      const giveUp = (): void => {
        this.#line.splice(this.#line.indexOf(go), 1)
        reject(signal!.reason as Error)
      }
      this.#line.push(go)
      signal?.addEventListener('abort', giveUp, { once: true })
    })
  }

  #leave(): void {
    const next = this.#line.shift()
    if (next === undefined) this.#used--
    else next()
  }

  /** Ends idle sessions; those in use end when their work does. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(this.#idle.splice(0).map(session => session.close()))
  }
}

function isLost(error: unknown): boolean {
  return error instanceof ConnectionError && error.failure === 'lost'
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

  async close(): Promise<void> {
    await this.#session.close()
    this.#onClose?.()
    this.#onClose = null
  }
}
