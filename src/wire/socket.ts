import type { Duplex } from 'node:stream'
import net from 'node:net'
import type pg from 'pg'
import type { TextRow, Timers } from '../runtime.js'

/** What a new session was found to be. */
export interface PreparedSession {
  /** The server's process for it: a pooler between would have told `pg` another one. */
  readonly pid: number
}

/** What it takes to open a connection. */
export interface Opening {
  readonly config: pg.ClientConfig
  readonly timers: Timers
  /** How long it may take, preparation included. */
  readonly limitMs: number
  readonly signal?: AbortSignal | undefined
  /** Makes the new session fit for use. */
  readonly prepare: (session: { query(sql: string): Promise<TextRow[]> }) => Promise<PreparedSession>
}

/** How long a server may take to say goodbye, before its socket is cut. */
const GOODBYE_MS = 2_000

/**
 * The socket under a `pg` client, ours from before it connects: `pg` itself can't be stopped while it connects or while a
 * query runs, and waits for a goodbye that a vanished peer never sends.
 */
export class Socket {
  #stream: Duplex | undefined
  #isCut = false
  readonly #make: () => Duplex | undefined

  constructor(make: pg.ClientConfig['stream']) {
    this.#make = make ?? (() => new net.Socket())
  }

  /** `pg`'s own hook for making the socket. */
  readonly stream: NonNullable<pg.ClientConfig['stream']> = () => {
    if (this.#isCut) throw new Error('The socket was cut before it was made.')
    this.#stream = this.#make()
    return this.#stream
  }

  /** Bytes that have come so far; null where they are not counted: `pg` takes any stream that a configuration gives. */
  get received(): number | null {
    const { bytesRead } = (this.#stream ?? {}) as { readonly bytesRead?: number }
    return bytesRead ?? null
  }

  /** Ends it now, without a goodbye. What runs on it fails with `reason`. */
  cut(reason?: Error): void {
    this.#isCut = true
    this.#stream?.destroy(reason)
  }

  /** Settles as `work` does; cuts the socket when `signal` aborts, or after `limitMs`, so that `work` fails. */
  async within<T>(work: Promise<T>, timers: Timers, limitMs: number, signal?: AbortSignal): Promise<T> {
    const onAbort = () => this.cut()
    const cancel = timers.after(limitMs, () => this.cut(timedOut(limitMs)))
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) onAbort()
    try {
      const result = await work
      signal?.throwIfAborted()
      return result
    } catch (error) {
      // What the cut socket says is of no interest to who had it cut.
      signal?.throwIfAborted()
      throw error
    } finally {
      cancel()
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Waits for a goodbye that was begun, but not for ever. */
  goodbye(done: Promise<unknown>, timers: Timers, limitMs = GOODBYE_MS): Promise<unknown> {
    return this.within(done, timers, limitMs)
  }
}

function timedOut(limitMs: number): Error {
  return Object.assign(new Error(`no answer within ${limitMs} ms`), { code: 'ETIMEDOUT' })
}
