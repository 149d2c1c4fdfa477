import type { Lsn } from '../change/lsn.js'
import { ChangeIterator } from '../feed/changes.js'
import type { ChangeFeed } from '../feed/feed.js'
import { MORE, type Subscription } from '../feed/subscription.js'
import type { Incarnation, TokenCodec } from '../freshness/token.js'
import type { LiveTable } from '../query/live.js'
import { onlyAPart } from '../query/coverage.js'
import { rowFilter } from '../query/row-filter.js'
import type { ChangesOptions, TableChange, Watched } from '../query/types.js'
import type { Timers } from '../runtime.js'
import { toTableChange } from './changes.js'
import { LiveQuery } from './live-query.js'

export interface FollowersContext {
  readonly feed: ChangeFeed<LiveTable>
  readonly codec: TokenCodec
  readonly timers: Pick<Timers, 'yield'>
  readonly closing: AbortSignal
  /** The generation that is read. @throws {NotReadyError} @throws {ClosedError} */
  readonly readable: () => {
    readonly incarnation: Incarnation
    readonly store: { readonly writing: boolean }
  }
}

/** Opens what follows a table: its changes, and queries that are answered again. */
export class Followers {
  readonly #context: FollowersContext

  constructor(context: FollowersContext) {
    this.#context = context
  }

  /** @see Table.changes */
  changes(
    table: number,
    live: LiveTable,
    { where, since, signal }: ChangesOptions<object>,
  ): AsyncIterableIterator<TableChange<object>> {
    const subscription = this.#subscribe(table, live, where, since)
    return this.#iterate(subscription, signal, () => {
      const entry = subscription.read()
      if (entry === null || entry === MORE) return entry
      return toTableChange(entry, subscription.live, this.#tokenOf(entry.position))
    })
  }

  /** @see Table.watch */
  watch(
    table: number,
    live: LiveTable,
    query: { readonly where?: object },
    signal: AbortSignal | undefined,
  ): AsyncIterableIterator<Watched<object>> {
    const liveQuery = new LiveQuery(live.mapping, query)
    const subscription = this.#subscribe(table, live, query.where, undefined)
    return this.#iterate(subscription, signal, () =>
      liveQuery.read(subscription, position => this.#tokenOf(position)),
    )
  }

  #subscribe(
    table: number,
    live: LiveTable,
    where: object | undefined,
    since: string | undefined,
  ): Subscription<LiveTable> {
    const { feed, readable } = this.#context
    const { incarnation, store } = readable()
    if (live.table.failed !== null) throw live.table.failed
    if (live.table.residency !== null) throw onlyAPart(live.mapping.name)
    return feed.subscribe({
      table,
      live,
      midTransaction: store.writing,
      ...(where === undefined ? {} : { filter: from => rowFilter(from, where) }),
      ...(since === undefined ? {} : { since: this.#placeOf(since, incarnation) }),
    })
  }

  #iterate<T>(
    subscription: Subscription<LiveTable>,
    signal: AbortSignal | undefined,
    read: () => T | null | typeof MORE,
  ): AsyncIterableIterator<T> {
    const { feed, timers, closing } = this.#context
    return new ChangeIterator<LiveTable, T>({ timers, feed, subscription, read, signal, closing })
  }

  #tokenOf(position: Lsn): string {
    return this.#context.codec.encode(this.#context.readable().incarnation, position)
  }

  /** Null for a token of another history, whose positions can't be compared with those that are held. @throws {TokenError} */
  #placeOf(token: string, { systemId, timeline }: Incarnation): Lsn | null {
    const place = this.#context.codec.decode(token)
    return place.systemId === systemId && place.timeline === timeline ? place.lsn : null
  }
}
