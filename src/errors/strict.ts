import { CacheError } from './base.js'

/** No transaction could be begun in time that shows the state after one commit: as long as a commit waits for a synchronous standby, none can. */
export class SnapshotNotAlignedError extends CacheError {
  readonly code = 'CACHE_SNAPSHOT_NOT_ALIGNED'
  override readonly transient = true
  constructor(
    readonly timeoutMs: number,
    options?: ErrorOptions,
  ) {
    super(
      `For ${timeoutMs} ms no transaction showed the state after one commit that memory has too: commits became visible in another order than they were written in, ` +
        'one waits for a synchronous standby, or the stream is behind. Try again, or use cache.snapshot().',
      options,
    )
  }
}

/** As many strict snapshots are open as may be: each holds a session and a transaction on the server. */
export class StrictSnapshotLimitError extends CacheError {
  readonly code = 'CACHE_STRICT_SNAPSHOT_LIMIT'
  override readonly transient = true
  constructor(
    readonly open: number,
    options?: ErrorOptions,
  ) {
    super(
      `${open} strict snapshots are open, and each holds a session and a transaction on the server, so no further one was opened. Close those that are done with, ` +
        'or raise connections.',
      options,
    )
  }
}
