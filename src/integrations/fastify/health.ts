import type { FastifyInstance } from 'fastify'
import type { Cache } from '../../index.js'

/** The routes by which a supervisor and a load balancer ask how the process is. */
export interface HealthRouteOptions {
  /** Where the process says whether it should be left to live: 503 once the cache has failed. Default `/health`; false for no such route. */
  readonly healthPath?: string | false
  /** Where it says whether it can take requests: 503 unless the tables are loaded and fresh. Default `/ready`; false for no such route. */
  readonly readyPath?: string | false
  /** Milliseconds by which memory may be behind for a server that counts as ready. Default 10,000. */
  readonly readyStaleness?: number
}

const WITHOUT_SCOPE = { config: { walcache: { scope: false } } } as const
const OK = 200
const UNAVAILABLE = 503

export function healthRoutes(app: FastifyInstance, cache: Cache, options: HealthRouteOptions): void {
  const { healthPath = '/health', readyPath = '/ready', readyStaleness = 10_000 } = options
  if (healthPath !== false)
    app.get(healthPath, WITHOUT_SCOPE, (_, reply) => {
      const { state, stalenessMs, lsn, bytes, reconnects, lastError } = cache.health()
      const isAlive = state !== 'failed' && state !== 'closed'
      // JSON has no Infinity, which stands for "never shown to be fresh".
      const staleness = Number.isFinite(stalenessMs) ? Math.round(stalenessMs) : null
      const said = {
        state,
        stalenessMs: staleness,
        lsn,
        bytes,
        reconnects,
        lastError: lastError?.code ?? null,
      }
      return reply.code(isAlive ? OK : UNAVAILABLE).send(said)
    })
  if (readyPath !== false)
    app.get(readyPath, WITHOUT_SCOPE, (_, reply) => {
      const { lsn, stalenessMs, state } = cache.health()
      const isReady =
        lsn !== null && stalenessMs <= readyStaleness && state !== 'closed' && state !== 'failed'
      return reply.code(isReady ? OK : UNAVAILABLE).send({ ready: isReady })
    })
}
