export type { KeyValue } from '../mapping/where-types.js'

/** What an asynchronous read takes beside its question. */
export interface ReadOptions {
  /** Milliseconds; overrides the cache's `maxStaleness` for this read. */
  readonly maxStaleness?: number
  /** What to do when memory may be older than that; overrides the cache's `onStale`. */
  readonly onStale?: 'throw' | 'database' | 'serve'
  /** What to do when memory can't prove the answer; overrides the cache's `onUnknown`. */
  readonly onUnknown?: 'throw' | 'database'
  /** A token: the read waits until its position is visible, and so is at or after that commit. */
  readonly after?: string | undefined
  /** How long it waits for that, in milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  /**
   * What to do then: ask the 'database', which is past every token, 'throw' the WaitTimeoutError, or 'serve' memory although it is before the
   * token. Default 'database' where `onStale` is that, else 'throw'.
   */
  readonly onTimeout?: 'throw' | 'database' | 'serve'
  /** Gives the read up: it rejects with the signal's reason. */
  readonly signal?: AbortSignal
}
