import type pg from 'pg'
import { isBeyond, type LogPosition, type TokenCodec } from '../freshness/token.js'
import type { ReadSession } from '../query/answer.js'
import { checkOptions, checkWait, WAIT_OPTIONS } from '../query/check-read.js'
import type { SessionTable, Snapshot, TableDeclaration, WaitOptions } from '../query/types.js'
import type { WriteOptions, Written } from './write.js'

/**
 * One user's reads and writes, which never go back: each read is at or after everything that an earlier one has shown, wherever that was answered,
 * on this server or another. Keep `token` in a cookie, and begin the next request's session with it.
 */
export interface Session {
  /** The table that this class, or result of `defineTable`, declares. @throws {OptionError} if it is not among the cache's entities. */
  table<Row extends object>(declaration: TableDeclaration<Row>): SessionTable<Row>
  /** A snapshot at or after everything that the session has seen. Throws as `cache.waitFor` and `cache.snapshot` do. */
  snapshot(options?: WaitOptions): Promise<Snapshot>
  /** As `cache.write`; the session's later reads see what it wrote. */
  write<T>(work: (client: pg.PoolClient) => Promise<T>, options?: WriteOptions): Promise<Written<T>>
  /** Later reads are at or after this token as well. @throws {TokenError} */
  observe(token: string): void
  /** The newest position that the session has seen, or null if it has not seen any. */
  readonly token: string | null
  /** The token, or an empty text: good for `cache.session` either way. */
  toString(): string
}

/** What a session needs of its cache. */
export interface SessionHost {
  readonly codec: TokenCodec
  readonly table: <Row extends object>(
    declaration: TableDeclaration<Row>,
    session: ReadSession,
  ) => SessionTable<Row>
  readonly snapshot: () => Snapshot
  readonly waitFor: (position: LogPosition, options?: WaitOptions) => Promise<void>
  readonly write: <T>(
    work: (client: pg.PoolClient) => Promise<T>,
    options?: WriteOptions,
  ) => Promise<Written<T>>
}

export class CacheSession implements Session, ReadSession {
  readonly #host: SessionHost
  #seen: LogPosition | null = null

  /** @throws {TokenError} */
  constructor(host: SessionHost, token: string | null | undefined) {
    this.#host = host
    if (token !== undefined && token !== null && token !== '') this.observe(token)
  }

  get seen(): LogPosition | null {
    return this.#seen
  }

  observe(position: LogPosition | string): void {
    const seen = isPosition(position) ? position : this.#host.codec.decode(position)
    if (this.#seen === null || isBeyond(seen, this.#seen)) this.#seen = seen
  }

  table<Row extends object>(declaration: TableDeclaration<Row>): SessionTable<Row> {
    return this.#host.table(declaration, this)
  }

  async snapshot(options: WaitOptions = {}): Promise<Snapshot> {
    checkWait(checkOptions('session.snapshot', options, WAIT_OPTIONS))
    if (this.#seen !== null) await this.#host.waitFor(this.#seen, options)
    const snapshot = this.#host.snapshot()
    this.observe(snapshot.position)
    return snapshot
  }

  async write<T>(work: (client: pg.PoolClient) => Promise<T>, options?: WriteOptions): Promise<Written<T>> {
    const written = await this.#host.write(work, options)
    this.observe(written.token)
    return written
  }

  get token(): string | null {
    return this.#seen === null ? null : this.#host.codec.encode(this.#seen, this.#seen.lsn)
  }

  toString(): string {
    return this.token ?? ''
  }
}

/** A token may be anything, as it comes from a client. */
function isPosition(given: LogPosition | string): given is LogPosition {
  return typeof given === 'object' && given !== null && 'lsn' in given
}
