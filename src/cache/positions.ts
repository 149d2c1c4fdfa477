import type pg from 'pg'
import { LSN_ZERO } from '../change/lsn.js'
import { type LogPages, ServerPosition } from '../freshness/server-position.js'
import { TokenCodec } from '../freshness/token.js'
import type { WaitOptions } from '../query/types.js'
import { type Connections, type QueryConnection, unlessAborted } from '../runtime.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { Generation } from './generation.js'
import type { ResolvedOptions } from './options.js'
import { askHistory, askPosition } from './server-questions.js'
import { TokenWaits } from './tokens.js'
import type { Queryable, WriteOptions, Written } from './types.js'
import { positionOn, write } from './write.js'

export interface PositionsHost {
  readonly options: ResolvedOptions
  readonly closing: AbortSignal
  /** The generation that is read. @throws {CacheError} if none can be. */
  readonly readable: () => Generation
  /** The same, or null. */
  readonly live: () => Generation | null
}

/** Where memory and the server are, as tokens say it: given out, taken in and waited for. */
export class Positions {
  readonly codec: TokenCodec
  readonly waits: TokenWaits
  readonly server = new ServerPosition(() => askPosition(this.#sessions!, this.#pages))
  readonly #host: PositionsHost
  #sessions: SessionPool | null = null
  #connections: Connections | null = null
  #pages: LogPages = { walBlockBytes: 1, walSegmentBytes: 1 }

  constructor(host: PositionsHost) {
    const { options, closing, readable, live } = host
    this.#host = host
    this.codec = new TokenCodec(options.tokenSecrets)
    this.waits = new TokenWaits(
      {
        runtime: options.runtime,
        readable,
        server: this.server,
        askHistory: timeline => askHistory(this.#connections!, timeline, closing),
        nudge: () => live()?.probes.nudge(closing),
        flushesLate: () => live()?.probes.flushesLate === true,
        lookForUntold: () => live()?.probes.lookForUntold() ?? null,
      },
      () => live()?.store.position ?? LSN_ZERO,
    )
  }

  /** The server can be asked from now on. */
  connected(connections: Connections, sessions: SessionPool): void {
    this.#connections = connections
    this.#sessions = sessions
  }

  /** A new session that is none of the pool's. */
  connect(signal: AbortSignal): Promise<QueryConnection> {
    return this.#connections!.query(signal)
  }

  get pages(): LogPages {
    return this.#pages
  }

  /** The sizes of the server's pages, which its insert positions have to be read by. */
  set pages(pages: LogPages) {
    this.#pages = pages
  }

  /** The visible commit's. @throws {CacheError} if nothing is visible. */
  get position(): string {
    const { incarnation, store } = this.#host.readable()
    return this.codec.encode(incarnation, store.position)
  }

  /** @see Cache.token */
  async token(client: Queryable | undefined, signal: AbortSignal | undefined): Promise<string> {
    const asked = client === undefined ? this.server.get() : positionOn(client, this.#pages)
    const position = await unlessAborted(asked, signal)
    return this.codec.encode(position, position.lsn)
  }

  /** @see Cache.write */
  async write<T>(work: (client: pg.PoolClient) => Promise<T>, options: WriteOptions): Promise<Written<T>> {
    const { result, position } = await write(this.#host.options.pool, this.#pages, work, options)
    return { result, token: this.codec.encode(position, position.lsn) }
  }

  /** @see Cache.waitFor */
  async waitFor(token: string, options: WaitOptions | undefined): Promise<void> {
    await this.waits.waitFor(this.codec.decode(token), options)
  }
}
