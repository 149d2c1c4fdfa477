import type {
  Connections,
  QueryConnection,
  ReplicationConnection,
  Runtime,
  StreamHandlers,
  TextRow,
} from '../runtime.js'
import { SessionWatch, type WatchedSession } from './session-watch.js'

/** The same connections, except that whoever waits for an answer that never comes is told: `SessionWatch` says when that is known. */
export function watchedConnections(
  connections: Connections,
  runtime: Pick<Runtime, 'clock' | 'timers'>,
): Connections {
  const watchOver = (by: 'pool' | 'replication'): SessionWatch =>
    new SessionWatch({ runtime, open: signal => connections.query(signal, by) })
  const queries = watchOver('pool')
  const replications = watchOver('replication')
  return {
    query: async (signal, by = 'pool') => {
      const watch = by === 'pool' ? queries : replications
      return new WatchedQuery(await connections.query(signal, by), watch)
    },
    replication: async signal => new WatchedReplication(await connections.replication(signal), replications),
  }
}

class WatchedQuery implements QueryConnection {
  readonly #session: QueryConnection
  readonly #watch: SessionWatch
  readonly #watched: WatchedSession

  constructor(session: QueryConnection, watch: SessionWatch) {
    this.#session = session
    this.#watch = watch
    this.#watched = watch.add(session)
    void session.closed.then(() => watch.remove(this.#watched))
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

  query(sql: string, parameters?: readonly (string | null)[]): Promise<TextRow[]> {
    return this.#watched.awaits(this.#session.query(sql, parameters))
  }

  async *copyOut(sql: string): AsyncIterable<Uint8Array> {
    const rows = this.#session.copyOut(sql)[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await this.#watched.awaits(rows.next())
        if (next.done === true) return
        yield next.value
      }
    } finally {
      await rows.return?.()
    }
  }

  async close(): Promise<void> {
    await this.#session.close()
    await this.#watch.remove(this.#watched)
  }
}

/** Watched until it streams; from then on that is for `Standby` to do. */
class WatchedReplication implements ReplicationConnection {
  readonly #connection: ReplicationConnection
  readonly #watch: SessionWatch
  readonly #watched: WatchedSession

  constructor(connection: ReplicationConnection, watch: SessionWatch) {
    this.#connection = connection
    this.#watch = watch
    this.#watched = watch.add(connection)
    void connection.closed.then(() => watch.remove(this.#watched))
  }

  get pid(): number {
    return this.#connection.pid
  }

  get received(): number | null {
    return this.#connection.received
  }

  get closed(): Promise<Error | undefined> {
    return this.#connection.closed
  }

  query(sql: string): Promise<TextRow[]> {
    return this.#watched.awaits(this.#connection.query(sql))
  }

  start(sql: string, handlers: StreamHandlers): Promise<void> {
    return this.#watched.awaits(this.#connection.start(sql, handlers))
  }

  sendStatus(status: Uint8Array): void {
    this.#connection.sendStatus(status)
  }

  pause(): void {
    this.#connection.pause()
  }

  resume(): void {
    this.#connection.resume()
  }

  async close(): Promise<void> {
    await this.#connection.close()
    await this.#watch.remove(this.#watched)
  }
}
