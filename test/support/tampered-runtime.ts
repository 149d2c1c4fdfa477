import type pg from 'pg'
import { APPLICATION_NAME } from '../../src/cache/options.js'
import { callerSession } from '../../src/cache/setup.js'
import { type Connections, type Runtime, systemRuntime } from '../../src/runtime.js'
import { connectionsOf } from '../../src/wire/connection.js'

/** What happens to what a real server sends. */
export interface Tampering {
  /** May change the payload of a frame of the stream in place, `bytes[start, end)`. */
  readonly frame?: (bytes: Uint8Array, start: number, end: number) => void
  /** May replace a chunk of a COPY. */
  readonly copy?: (chunk: Uint8Array, sql: string) => Uint8Array
  /** Told of each query of ours before it is sent. */
  readonly query?: (sql: string) => void
  /** May keep back the answer to a query. */
  readonly answer?: (sql: string) => Promise<void>
  /** Told of each replication connection before it is made. */
  readonly replication?: () => void
}

/** The real runtime and database, except that what the database says is tampered with on its way. */
export async function tamperedRuntime(
  pool: pg.Pool,
  { frame, copy, query, answer, replication }: Tampering,
): Promise<Runtime> {
  const real = connectionsOf(pool, {
    settings: await callerSession(pool),
    applicationName: APPLICATION_NAME,
    timers: systemRuntime.timers,
  })
  const connections: Connections = {
    async query(signal, by) {
      const session = await real.query(signal, by)
      return {
        pid: session.pid,
        get received() {
          return session.received
        },
        async query(sql, parameters) {
          query?.(sql)
          const rows = await session.query(sql, parameters)
          await answer?.(sql)
          return rows
        },
        async *copyOut(sql) {
          for await (const chunk of session.copyOut(sql)) yield copy === undefined ? chunk : copy(chunk, sql)
        },
        closed: session.closed,
        close: () => session.close(),
      }
    },
    async replication(signal) {
      replication?.()
      const connection = await real.replication(signal)
      return {
        pid: connection.pid,
        get received() {
          return connection.received
        },
        query: sql => connection.query(sql),
        start: (sql, handlers) =>
          connection.start(sql, {
            ...handlers,
            onData: (high, low, bytes, start, end) => {
              frame?.(bytes, start, end)
              handlers.onData(high, low, bytes, start, end)
            },
          }),
        sendStatus: status => connection.sendStatus(status),
        pause: () => connection.pause(),
        resume: () => connection.resume(),
        closed: connection.closed,
        close: () => connection.close(),
      }
    },
  }
  return { ...systemRuntime, connections }
}
