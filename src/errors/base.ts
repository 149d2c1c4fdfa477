/**
 * Every error that walcache hands to a caller. `code` is stable; the message says what happened, why, and
 * what to do, and never contains a row's values, a key or a secret; `cause` keeps the original.
 */
export abstract class CacheError extends Error {
  abstract readonly code: string
  /** Whether the same attempt may succeed later without anybody changing anything. */
  readonly transient: boolean = false

  override get name(): string {
    return this.constructor.name
  }
}

/** The error of a failed assertion: walcache itself is wrong, nobody else can act on it. */
export class InternalError extends CacheError {
  readonly code = 'CACHE_INTERNAL'
}

/** States what must be true. */
export function assert(condition: boolean, mustBeTrue: string): asserts condition {
  if (!condition) throw new InternalError(`walcache is wrong about this: ${mustBeTrue}. Please report it.`)
}

/** `thrown` as an Error, whatever was thrown. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
