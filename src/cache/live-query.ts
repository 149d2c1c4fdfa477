import { isDeepStrictEqual } from 'node:util'
import type { Lsn } from '../change/lsn.js'
import { MORE, type Subscription } from '../feed/subscription.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { LiveTable } from '../query/live.js'
import { readFindMany } from '../query/query.js'
import type { Watched } from '../query/types.js'

/**
 * A query's answer, and the next one when a commit has changed it: memory is asked again only when rows that the query's condition means were
 * touched, and once for all commits that have come by then.
 */
export class LiveQuery {
  readonly #query: object
  #shown: readonly object[] | null = null

  /** @throws {QueryError} for a query that means nothing. */
  constructor(mapping: TableMapping, query: object) {
    readFindMany(mapping, query)
    this.#query = query
  }

  /** The next answer, null if it is the one before still, or MORE. @throws {NotLocalError} and whatever the table failed with. */
  read(
    subscription: Subscription<LiveTable>,
    tokenOf: (position: Lsn) => string,
  ): Watched<object> | null | typeof MORE {
    if (this.#shown !== null) {
      const change = subscription.read()
      if (change === null || change === MORE) return change
    }
    // All that has come meanwhile is in one answer.
    subscription.skip()
    const { live } = subscription
    const rows = this.#answer(live)
    if (this.#shown !== null && isDeepStrictEqual(rows, this.#shown)) return MORE
    // What a reader might alter is not what the next answer is compared with.
    this.#shown = live.rows.shared ? rows : this.#answer(live)
    const lsn = live.store.position
    return { rows: Object.freeze(rows), position: tokenOf(lsn), lsn }
  }

  #answer({ finder, store }: LiveTable): object[] {
    return finder.findMany(this.#query, store.visible)
  }
}
