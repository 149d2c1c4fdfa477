import { isDeepStrictEqual } from 'node:util'
import { serialize } from 'node:v8'
import type { Lsn } from '../change/lsn.js'
import {
  BehindError,
  ConnectionError,
  MemoryLimitError,
  NotLocalError,
  OverloadedError,
  TableReloadingError,
} from '../errors.js'
import { MORE, type Subscription } from '../feed/subscription.js'
import type { TableMapping } from '../mapping/mapping.js'
import { isFillable } from '../query/answer.js'
import { fillQuery } from '../query/fill.js'
import type { LiveTable } from '../query/live.js'
import { type CheckedQuery, readFindMany } from '../query/query.js'
import type { Watched } from '../query/types.js'
import { pause, type Timers } from '../runtime.js'

/** Between two attempts to have an answer that can be shown to be one commit's; twice as long each time. */
const RETRY_MS = 2
const RETRY_MAX_MS = 1_000

/** Rows, and the commit that they are as of. */
export interface Answer {
  readonly rows: object[]
  readonly lsn: Lsn
}

export interface BoundedLiveQueryContext {
  readonly timers: Timers
  readonly tokenOf: (position: Lsn) => string
  /** What PostgreSQL answers, if that is the state after one commit, which is not before the visible one; null if it is not. */
  readonly askDatabase: (live: LiveTable, query: CheckedQuery, signal: AbortSignal) => Promise<Answer | null>
}

/**
 * As `LiveQuery`, of a table of which memory holds a part: what memory does not know is filled, as an asynchronous read's is, and what can't be
 * is asked of PostgreSQL until the answer is one commit's. All commits that come meanwhile are in one answer.
 */
export class BoundedLiveQuery {
  readonly #query: CheckedQuery
  readonly #context: BoundedLiveQueryContext
  #shown: readonly object[] | null = null

  /** @throws {QueryError} for a query that means nothing. */
  constructor(mapping: TableMapping, query: object, context: BoundedLiveQueryContext) {
    this.#query = readFindMany(mapping, query)
    this.#context = context
  }

  /** The next answer, null if nothing has come that could change the one before, or MORE. */
  read(
    subscription: Subscription<LiveTable>,
    signal: AbortSignal,
  ): null | typeof MORE | Promise<Watched<object> | typeof MORE> {
    if (this.#shown !== null) {
      const change = subscription.read()
      if (change === null || change === MORE) return change
    }
    // All that has come meanwhile is in one answer.
    subscription.skip()
    return this.#next(subscription, signal)
  }

  async #next(
    subscription: Subscription<LiveTable>,
    signal: AbortSignal,
  ): Promise<Watched<object> | typeof MORE> {
    const { timers, tokenOf } = this.#context
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
      const { live } = subscription
      const answer = await this.#ask(live, signal)
      signal.throwIfAborted()
      // One of a generation that has been left meanwhile may be of another history.
      if (answer !== null && subscription.live === live) {
        const { rows, lsn } = answer
        // Rows that a reader might alter can't be what the next answer is compared with.
        if (live.rows.shared && this.#shown !== null && this.#isSame(rows, this.#shown)) return MORE
        this.#shown = rows
        return { rows: Object.freeze(rows), position: tokenOf(lsn), lsn }
      }
      await pause(timers, waitMs, signal)
    }
  }

  /** Memory and PostgreSQL give the rows of a query that asks for no order in any. */
  #isSame(rows: readonly object[], shown: readonly object[]): boolean {
    if (rows.length !== shown.length) return false
    if (this.#query.orderBy.length > 0) return isDeepStrictEqual(rows, shown)
    return isDeepStrictEqual(inSomeOrder(rows), inSomeOrder(shown))
  }

  /** Null if it can't be had now. @throws {DatabaseReadError} and whatever the table failed with for good. */
  async #ask(live: LiveTable, signal: AbortSignal): Promise<Answer | null> {
    try {
      return (
        this.#fromMemory(live) ??
        (await this.#filled(live, signal)) ??
        (await this.#context.askDatabase(live, this.#query, signal))
      )
    } catch (error) {
      if (!isPassing(error)) throw error
      return null
    }
  }

  #fromMemory({ finder, store }: LiveTable): Answer | null {
    try {
      return { rows: finder.findChecked(this.#query, store.visible), lsn: store.position }
    } catch (error) {
      if (error instanceof NotLocalError) return null
      throw error
    }
  }

  async #filled(live: LiveTable, signal: AbortSignal): Promise<Answer | null> {
    try {
      return (await fillQuery(live, this.#query, signal)) ?? null
    } catch (error) {
      if (error instanceof NotLocalError && !isFillable(error)) return null
      throw error
    }
  }
}

/** The same for the same rows, in whatever order they come. */
function inSomeOrder(rows: readonly object[]): string[] {
  return rows.map(row => serialize(row).toString('latin1')).sort()
}

/** What ends by itself, while the query goes on being watched. */
function isPassing(error: unknown): boolean {
  return (
    error instanceof OverloadedError ||
    error instanceof BehindError ||
    error instanceof TableReloadingError ||
    (error instanceof MemoryLimitError && error.transient) ||
    (error instanceof ConnectionError && error.transient)
  )
}
