import { ClosedError } from '../errors.js'
import type { Timers } from '../runtime.js'
import type { ChangeFeed } from './feed.js'
import type { FeedTable } from './ring.js'
import { MORE, type Subscription } from './subscription.js'

/** A loop over what is there already never leaves the event loop a turn: after so many changes it does. */
const CHANGES_PER_TURN = 256

type Next<Change> = Change | null | typeof MORE

/** What a reader's changes are made of. */
export interface FollowOptions<Live extends FeedTable, Change> {
  readonly timers: Pick<Timers, 'yield'>
  readonly feed: ChangeFeed<Live>
  readonly subscription: Subscription<Live>
  /** What is next for the reader, null if there is nothing yet, or MORE. The signal aborts when the iteration ends. */
  readonly read: (ended: AbortSignal) => Next<Change> | Promise<Next<Change>>
  /** The reader's own; its abort ends the iteration quietly. */
  readonly signal: AbortSignal | undefined
  /** The cache's; its abort ends the iteration, with its reason if that is an error to report. */
  readonly closing: AbortSignal
}

/**
 * A subscription as an iterator. It exists, and keeps what happens from then on, before the first `next()`; `return()` (leaving the loop) or an
 * abort ends it.
 */
export class ChangeIterator<Live extends FeedTable, Change> implements AsyncIterableIterator<Change> {
  readonly #options: FollowOptions<Live, Change>
  readonly #ended = new AbortController()
  #sinceTurn = 0
  /** What the next call of `next` is to reject with. */
  #failure: Error | null = null
  /** The newest call of `next`: calls are answered one after another, each with the change whose turn it is. */
  #asked: Promise<unknown> = Promise.resolve()
  /** Ends the wait of the call whose turn it is. */
  #wake: () => void = () => undefined
  readonly #onAbort = (): void => this.#finish()
  readonly #onClosing = (): void => {
    const reason: unknown = this.#options.closing.reason
    this.#finish(reason instanceof ClosedError && reason.cause !== undefined ? reason : null)
  }

  constructor(options: FollowOptions<Live, Change>) {
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

  next(): Promise<IteratorResult<Change, undefined>> {
    const answer = this.#asked.then(this.#take, this.#take)
    this.#asked = answer
    return answer
  }

  readonly #take = async (): Promise<IteratorResult<Change, undefined>> => {
    const { subscription, timers } = this.#options
    while (!this.#hasEnded) {
      // Before the look, not behind it: what has been taken off the ring is handed over at once, with nothing published in between.
      if (this.#sinceTurn === CHANGES_PER_TURN) {
        this.#sinceTurn = 0
        await timers.yield()
        continue
      }
      const read = this.#read()
      const change = read instanceof Promise ? await this.#settled(read) : read
      // Whoever has left gets nothing any more, also if it was being read for them.
      if (this.#hasEnded) break
      if (change === MORE) {
        this.#sinceTurn = CHANGES_PER_TURN
        continue
      }
      if (change !== null) {
        this.#sinceTurn++
        return { done: false, value: change }
      }
      if (subscription.failure !== null) this.#finish(subscription.failure)
      else
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
    }
    const failure = this.#failure
    this.#failure = null
    if (failure !== null) throw failure
    return { done: true, value: undefined }
  }

  get #hasEnded(): boolean {
    return this.#ended.signal.aborted
  }

  #read(): Next<Change> | Promise<Next<Change>> {
    try {
      return this.#options.read(this.#ended.signal)
    } catch (error) {
      // A loop that `next` rejects to does not call `return`.
      this.#finish()
      throw error
    }
  }

  async #settled(read: Promise<Next<Change>>): Promise<Next<Change>> {
    try {
      return await read
    } catch (error) {
      // What the end itself has brought about is no failure.
      if (this.#hasEnded) return null
      this.#finish()
      throw error
    }
  }

  return(): Promise<IteratorResult<Change, undefined>> {
    this.#finish()
    return Promise.resolve({ done: true, value: undefined })
  }

  #finish(failure: Error | null = null): void {
    if (this.#hasEnded) return
    this.#ended.abort()
    this.#failure = failure
    const { feed, subscription, signal, closing } = this.#options
    feed.unsubscribe(subscription)
    signal?.removeEventListener('abort', this.#onAbort)
    closing.removeEventListener('abort', this.#onClosing)
    this.#wake()
  }
}
