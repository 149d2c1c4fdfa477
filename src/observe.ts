import { channel } from 'node:diagnostics_channel'
import { asError } from './errors.js'

/** Where the cache says what it does; silent unless given. pino, winston and console fit. */
export interface Logger {
  debug(message: string): void
  info(message: string): void
  warn(message: string): void
  error(message: string): void
}

/** A query of a bounded table was answered. */
export interface FillEvent {
  /** `schema.table`. */
  readonly table: string
  readonly keys: number
  readonly rows: number
}

/** A key of a bounded table has left memory. */
export interface EvictEvent {
  /** `schema.table`. */
  readonly table: string
  /** Too many rows, too many bytes, too many absent keys, another row of its group that had to leave, or `evict()`. */
  readonly cause: 'rows' | 'bytes' | 'absent' | 'group' | 'call'
}

/** Keys of a table were compared with PostgreSQL. */
export interface AuditEvent {
  /** `schema.table`. */
  readonly table: string
  readonly audited: number
  /** Those that could not be compared, since they were just being changed. */
  readonly excluded: number
}

/** For `node:diagnostics_channel`: each message is a `FillEvent`, an `EvictEvent` or an `AuditEvent`. Nothing of a row or key is in one. */
export const fillChannel = channel('walcache:fill')
export const evictChannel = channel('walcache:evict')
export const auditChannel = channel('walcache:audit')

const nothing = (): void => undefined

export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }

/**
 * A callback of the caller's that can't disturb us: what it throws, or its promise rejects with, goes to the process as a warning, once,
 * since nobody else would hear of it.
 */
export function isolated<A extends unknown[]>(
  name: string,
  callback: (...args: A) => unknown,
): (...args: A) => void {
  let isKnown = false
  const failed = (error: unknown): void => {
    if (isKnown) return
    isKnown = true
    process.emitWarning(`The "${name}" that walcache was given fails: ${asError(error).message}`)
  }
  return (...args) => {
    try {
      Promise.resolve(callback(...args)).catch(failed)
    } catch (error) {
      failed(error)
    }
  }
}

/** @see isolated */
export function isolatedLogger(logger: Logger): Logger {
  if (logger === silentLogger) return logger
  return {
    debug: isolated('logger.debug', message => logger.debug(message)),
    info: isolated('logger.info', message => logger.info(message)),
    warn: isolated('logger.warn', message => logger.warn(message)),
    error: isolated('logger.error', message => logger.error(message)),
  }
}
