import type { Lsn } from '../change/lsn.js'
import { ClosedError } from '../errors.js'
import type { Timers } from '../runtime.js'
import type { ChangeFeed, Subscription } from './feed.js'
import type { FeedEntry } from './ring.js'

/** A loop over what is there already never leaves the event loop a turn: after so many changes it does. */
const CHANGES_PER_TURN = 256

/** What a reader's changes are made of. */
export interface FollowOptions<Change> {
  readonly timers: Pick<Timers, 'yield'>
  readonly feed: ChangeFeed
  readonly subscription: Subscription
  readonly toChange: (entry: FeedEntry, position: Lsn) => Change
  /** The reader's own; its abort ends the iteration quietly. */
  readonly signal: AbortSignal | undefined
  /** The cache's; its abort ends the iteration, with its reason if that is an error to report. */
  readonly closing: AbortSignal
}

/**
 * A subscription as an iterator. It exists, and keeps what happens from then on, before the first `next()`; `return()` (leaving the loop) or an
 * abort ends it.
 */
export class ChangeIterator<Change> implements AsyncIterableIterator<Change> {
  readonly #options: FollowOptions<Change>
  #delivered = 0
  #ended = false
  /** What the next call of `next` is to reject with. */
  #failure: Error | null = null
  /** One for each call of `next` that waits. */
  #waiting: (() => void)[] = []
  readonly #onAbort = (): void => this.#finish()
  readonly #onClosing = (): void => {
    const reason: unknown = this.#options.closing.reason
    this.#finish(reason instanceof ClosedError && reason.cause !== undefined ? reason : null)
  }

  constructor(options: FollowOptions<Change>) {
    this.#options = options
    const { subscription, signal, closing } = options
    subscription.wake = () => this.#wake()
    if (signal?.aborted === true || closing.aborted) this.#finish()
    else {
      signal?.addEventListener('abort', this.#onAbort, { once: true })
      closing.addEventListener('abort', this.#onClosing, { once: true })
    }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Change, undefined>> {
    const { feed, subscription, timers } = this.#options
    while (!this.#ended) {
      const entry = feed.read(subscription)
      if (entry !== null) {
        const change = this.#changeOf(entry)
        if (++this.#delivered % CHANGES_PER_TURN === 0) await timers.yield()
        return { done: false, value: change }
      }
      if (subscription.failure !== null) this.#finish(subscription.failure)
      else await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
    const failure = this.#failure
    this.#failure = null
    if (failure !== null) throw failure
    return { done: true, value: undefined }
  }

  #changeOf(entry: FeedEntry): Change {
    try {
      return this.#options.toChange(entry, entry.position)
    } catch (error) {
      // A loop that `next` rejects to does not call `return`.
      this.#finish()
      throw error
    }
  }

  return(): Promise<IteratorResult<Change, undefined>> {
    this.#finish()
    return Promise.resolve({ done: true, value: undefined })
  }

  #finish(failure: Error | null = null): void {
    if (this.#ended) return
    this.#ended = true
    this.#failure = failure
    const { feed, subscription, signal, closing } = this.#options
    feed.unsubscribe(subscription)
    signal?.removeEventListener('abort', this.#onAbort)
    closing.removeEventListener('abort', this.#onClosing)
    this.#wake()
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
