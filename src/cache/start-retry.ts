import { ConnectionError } from '../errors.js'
import type { Logger } from '../observe.js'
import { pause, type Runtime } from '../runtime.js'
import { type Backoff, backoffMs } from '../source/backoff.js'

/** A server that can't be reached at the start, since it may be starting up itself, is tried again for so long. */
export const START_RETRY_MS = 10_000

const BACKOFF: Backoff = { firstMs: 100, longestMs: 1_000 }

/**
 * What `work` gives, tried again while nobody listens or the server is starting up: an application and its database are often started
 * together. Everything else it throws is final.
 */
export async function untilServerIsUp<T>(
  { clock, timers, random }: Runtime,
  signal: AbortSignal,
  logger: Logger,
  work: () => Promise<T>,
): Promise<T> {
  const startedMs = clock.monotonicMs()
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      const isUp = !(error instanceof ConnectionError) || error.failure !== 'refused'
      if (isUp || clock.monotonicMs() - startedMs > START_RETRY_MS) throw error
      logger.warn(error.message)
      await pause(timers, backoffMs(BACKOFF, attempt, random), signal)
      signal.throwIfAborted()
    }
  }
}
