import type pg from 'pg'
import { isBeyond, type LogPosition, type TokenCodec } from '../freshness/token.js'
import type { ReadSession } from '../query/answer.js'
import { checkOptions, checkWait, WAIT_OPTIONS } from '../query/check-read.js'
import type { SessionTable, Snapshot, TableDeclaration, WaitOptions } from '../query/types.js'
import type { Session, WriteOptions, Written } from './types.js'

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
