import type { Lsn } from '../change/lsn.js'
import type { ChangeFeed, Subscription } from './feed.js'
import type { FeedEntry } from './ring.js'

/** What `followTable` needs to make its readers' changes of the feed's entries. */
export interface FollowOptions<Change> {
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
  #ended = false
  #wake: () => void = () => undefined
  readonly #end = (): void => this.#finish()

  constructor(options: FollowOptions<Change>) {
    this.#options = options
    const { subscription, signal, closing } = options
    subscription.wake = () => this.#wake()
    if (signal?.aborted === true || closing.aborted) this.#finish()
    else {
      signal?.addEventListener('abort', this.#end, { once: true })
      closing.addEventListener('abort', this.#end, { once: true })
    }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Change, undefined>> {
    const { feed, subscription, toChange } = this.#options
    while (!this.#ended) {
      const entry = feed.read(subscription)
      if (entry !== null) return { done: false, value: toChange(entry, entry.position) }
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
    return { done: true, value: undefined }
  }

  return(): Promise<IteratorResult<Change, undefined>> {
    this.#finish()
    return Promise.resolve({ done: true, value: undefined })
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    const { feed, subscription, signal, closing } = this.#options
    feed.unsubscribe(subscription)
    signal?.removeEventListener('abort', this.#end)
    closing.removeEventListener('abort', this.#end)
    this.#wake()
  }
}
