import type { Lsn } from '../change/lsn.js'
import { ConnectionError } from '../errors.js'
import { ChangeIterator, type FollowOptions } from '../feed/changes.js'
import type { ChangeFeed } from '../feed/feed.js'
import { MORE, type Subscription } from '../feed/subscription.js'
import type { Incarnation, TokenCodec } from '../freshness/token.js'
import type { LiveTable } from '../query/live.js'
import type { DatabaseReader } from '../query/database.js'
import type { CheckedQuery } from '../query/query.js'
import { rowFilter } from '../query/row-filter.js'
import type { ChangesOptions, TableChange, Watched } from '../query/types.js'
import type { Timers } from '../runtime.js'
import type { Store } from '../store/store.js'
import type { Alignment } from './alignment.js'
import { type Answer, BoundedLiveQuery } from './bounded-live-query.js'
import { toTableChange } from './changes.js'
import { LiveQuery } from './live-query.js'

export interface FollowersContext {
  readonly feed: ChangeFeed<LiveTable>
  readonly codec: TokenCodec
  readonly timers: Timers
  readonly closing: AbortSignal
  readonly database: () => DatabaseReader
  /** The generation that is read. @throws {NotReadyError} @throws {ClosedError} */
  readonly readable: () => {
    readonly incarnation: Incarnation
    readonly store: Store
    readonly alignment: Alignment
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
    if (live.table.residency !== null) return this.#watchBounded(table, live, query, signal)
    const tokenOf = (position: Lsn): string => this.#tokenOf(position)
    const liveQuery = new LiveQuery(live.mapping, query)
    const subscription = this.#subscribe(table, live, query.where, undefined)
    return this.#iterate(subscription, signal, () => liveQuery.read(subscription, tokenOf))
  }

  #watchBounded(
    table: number,
    live: LiveTable,
    query: { readonly where?: object },
    signal: AbortSignal | undefined,
  ): AsyncIterableIterator<Watched<object>> {
    const liveQuery = new BoundedLiveQuery(live.mapping, query, {
      timers: this.#context.timers,
      tokenOf: position => this.#tokenOf(position),
      askDatabase: (...asked) => this.#askDatabase(...asked),
    })
    const subscription = this.#subscribe(table, live, query.where, undefined)
    return this.#iterate(subscription, signal, ended => liveQuery.read(subscription, ended))
  }

  async #askDatabase(live: LiveTable, query: CheckedQuery, signal: AbortSignal): Promise<Answer | null> {
    const { readable, database } = this.#context
    const { alignment, incarnation, store } = readable()
    if (live.store !== store) return null
    let rows: object[] = []
    const aligned = await alignment.stateSeen(async () => {
      const { value, snapshot, position } = await database().findMany(live, query, signal)
      const { systemId, timeline, lsn } = position
      if (systemId !== incarnation.systemId || timeline !== incarnation.timeline)
        throw new ConnectionError('lost', 'The server was replaced by another one.', true)
      rows = value
      return { snapshot, position: lsn, startedAt: null, inRecovery: false, fingerprint: null }
    }, signal)
    if (aligned === null) return null
    aligned.state.release()
    return { rows, lsn: aligned.state.position }
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
    read: FollowOptions<LiveTable, T>['read'],
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
