import type { ChangeBatch } from '../change/change.js'
import type { Lsn } from '../change/lsn.js'

/** Where a source's stream begins. */
export interface SourceStart {
  /** The stream holds the commits at or after this position, and no others. */
  readonly lsn: Lsn
  /** `pg_control_system().system_identifier`: which cluster this is. */
  readonly systemId: string
  /** Which of its histories. */
  readonly timeline: number
}

/**
 * One uninterrupted run of commits. A source never mends itself: when it fails, its owner closes it and opens another, whose
 * start and snapshot are new.
 */
export interface ChangeSource<B> {
  readonly start: SourceStart
  /**
   * Begins the stream, and yields what has arrived whenever something has; pulled, so that a slow reader slows the sender.
   * May be called once. Give each batch to one and the same sink; what is left of a batch comes with the next one.
   *
   * Ends when the source is closed. Rejects with the signal's reason when it aborts, with a ConnectionError after what had
   * arrived when the connection is lost.
   */
  batches(signal: AbortSignal): AsyncIterable<ChangeBatch<B>>
  /** Everything before `lsn` has been applied: the sender may forget it. Never beyond what was delivered. */
  confirm(lsn: Lsn): void
  /** Frees everything. Idempotent. */
  close(): Promise<void>
}

/** A source that begins with its slot. */
export interface FreshSource<B> extends ChangeSource<B> {
  readonly start: SourceStart & {
    /** The database's state at that very point: shows exactly the commits before it. Good until `batches` is called. */
    readonly snapshotName: string
  }
}
