import type { CallerSession } from '../mapping/session.js'
import type { Connections } from '../runtime.js'
import { connectionsOf } from '../wire/connection.js'
import { watchedConnections } from '../wire/watched-connections.js'
import { APPLICATION_NAME, type ResolvedOptions } from './options.js'
import { callerSession, sessionOver } from './setup.js'
import { untilServerIsUp } from './start-retry.js'

/** How the server is reached, and the settings of the caller's own sessions there. */
export interface Opened {
  readonly connections: Connections
  readonly session: CallerSession
}

/**
 * Finds out how to reach the server, once it is up.
 *
 * @throws {ConnectionError} @throws {OptionError} Rejects with the signal's reason when it aborts.
 */
export async function openConnections(options: ResolvedOptions, signal: AbortSignal): Promise<Opened> {
  const { runtime, logger, pool, replication } = options
  const own = runtime.connections === undefined ? undefined : watchedConnections(runtime.connections, runtime)
  const session = await untilServerIsUp(runtime, signal, logger, () =>
    own === undefined ? callerSession(pool, signal) : sessionOver(own, signal),
  )
  const connections =
    own ??
    watchedConnections(
      connectionsOf(pool, {
        ...(replication === undefined ? {} : { replication }),
        settings: session,
        applicationName: APPLICATION_NAME,
        timers: runtime.timers,
      }),
      runtime,
    )
  return { connections, session }
}

/** One session is left for the probes: reads that wait for somebody's lock must not make all of memory stale. */
export function readsAtOnce({ gateRunning, connections }: ResolvedOptions): number {
  return Math.min(gateRunning, connections - 1)
}
