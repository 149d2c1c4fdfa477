import { CommitLog } from '../../src/apply/commit-log.js'
import type { FillBatch } from '../../src/apply/fill-batch.js'
import { GroupBatch } from '../../src/apply/group-batch.js'
import { KeyBatch } from '../../src/apply/key-batch.js'
import type { Wanted } from '../../src/apply/wanted.js'
import { LSN_ZERO, type Lsn } from '../../src/change/lsn.js'
import type { CommitSeq } from '../../src/store/address.js'
import { Snapshot } from '../../src/store/snapshot.js'
import { Store } from '../../src/store/store.js'
import type { TableStore } from '../../src/store/table.js'
import { replace } from '../replace.js'
import { PinnedSample } from './pinned.js'
import { walkTable } from './table-walk.js'
import { must } from './violation.js'

export interface WatchOptions {
  /** Of so many commits of a store, after one of them everything that it holds is walked. Default: every one. */
  readonly every?: number
  /** Told of each invariant that does not hold. What the cache does is not disturbed. */
  readonly onViolation: (error: Error) => void
}

/** What is remembered of a store. */
interface Watched {
  commits: number
  /** The newest snapshot, and where it stood. */
  seq: CommitSeq
  position: Lsn
  readonly open: Map<Snapshot, PinnedSample>
}

/**
 * Looks at all stores of this process from outside, at each commit, at each transaction that is taken back, and whenever a snapshot is opened or
 * released. docs/testing.md has the list of what has to hold.
 */
export class InvariantWatch {
  /** How often everything that a store holds was walked. */
  walks = 0
  readonly #options: WatchOptions
  readonly #stores = new WeakMap<Store, Watched>()
  readonly #storeOf = new WeakMap<TableStore, Store>()
  readonly #restores: readonly (() => void)[]

  constructor(options: WatchOptions) {
    this.#options = options
    this.#restores = [
      this.#watchPublish(),
      this.#watchAbort(),
      this.#watchSnapshots(),
      this.#watchReleases(),
      this.#watchLog(),
      this.#watchInstalls(KeyBatch.prototype),
      this.#watchInstalls(GroupBatch.prototype),
    ]
  }

  /** Nobody looks any more. */
  stop(): void {
    for (const restore of this.#restores.toReversed()) restore()
  }

  #check(look: () => void): void {
    try {
      look()
    } catch (error) {
      this.#options.onViolation(error as Error)
    }
  }

  #of(store: Store): Watched {
    let watched = this.#stores.get(store)
    if (watched === undefined) {
      watched = { commits: 0, seq: 0, position: LSN_ZERO, open: new Map() }
      this.#stores.set(store, watched)
    }
    return watched
  }

  #walk(store: Store): void {
    this.walks++
    for (const table of store.tables) walkTable(table, store.visible)
  }

  #watchPublish(): () => void {
    const published = (store: Store, before: CommitSeq, from: Lsn, to: Lsn): void => {
      const watched = this.#of(store)
      must(store.visible === before + 1, 'I1', () => `${before} was followed by ${store.visible}.`)
      must(
        to > from && store.position === to,
        'I1',
        () => `from ${from} a commit led to ${store.position} instead of ${to}.`,
      )
      for (const sample of watched.open.values()) sample.check()
      for (const table of store.tables) this.#storeOf.set(table, store)
      if (watched.commits++ % (this.#options.every ?? 1) === 0) this.#walk(store)
    }
    const check = (look: () => void): void => this.#check(look)
    return replace(
      Store.prototype,
      'publish',
      original =>
        function (this: Store, position, xid) {
          const { visible, position: from } = this
          original.call(this, position, xid)
          check(() => published(this, visible, from, position))
        },
    )
  }

  #watchAbort(): () => void {
    const check = (store: Store): void => this.#check(() => this.#walk(store))
    return replace(
      Store.prototype,
      'abort',
      original =>
        function (this: Store, rows) {
          const isMore = original.call(this, rows)
          if (!isMore) check(this)
          return isMore
        },
    )
  }

  #watchSnapshots(): () => void {
    const opened = (store: Store, snapshot: Snapshot): void => {
      const watched = this.#of(store)
      const { seq, position } = snapshot
      must(
        seq === store.visible && position === store.position,
        'I16',
        () => `a snapshot of ${seq} was opened when ${store.visible} was visible.`,
      )
      const isInOrder = seq >= watched.seq && position >= watched.position
      must(
        isInOrder,
        'I16',
        () => `a snapshot stands at ${position}, and one before it at ${watched.position}.`,
      )
      watched.seq = seq
      watched.position = position
      watched.open.set(snapshot, new PinnedSample(store, seq))
      this.#releases.set(snapshot, watched)
    }
    const check = (look: () => void): void => this.#check(look)
    return replace(
      Store.prototype,
      'snapshot',
      original =>
        function (this: Store) {
          const snapshot = original.call(this)
          check(() => opened(this, snapshot))
          return snapshot
        },
    )
  }

  readonly #releases = new WeakMap<Snapshot, Watched>()

  #watchReleases(): () => void {
    const releasing = (snapshot: Snapshot): void => {
      const open = this.#releases.get(snapshot)?.open
      const sample = open?.get(snapshot)
      open?.delete(snapshot)
      if (sample !== undefined) this.#check(() => sample.check())
    }
    return replace(
      Snapshot.prototype,
      'release',
      original =>
        function (this: Snapshot) {
          if (!this.released) releasing(this)
          original.call(this)
        },
    )
  }

  /** What a fill is given are all the commits since its query was sent, without a gap. */
  #watchLog(): () => void {
    const check = (look: () => void): void => this.#check(look)
    return replace(
      CommitLog.prototype,
      'after',
      original =>
        function (this: CommitLog, number, snapshot) {
          const entries = original.call(this, number, snapshot)
          check(() => {
            const numbers = entries?.map(entry => entry.number) ?? []
            const isWhole =
              numbers.every((each, i) => each === number + 1 + i) && number + numbers.length >= this.newest
            must(
              entries === null || isWhole,
              'I10',
              () => `after ${number} and up to ${this.newest} the log has ${numbers.join(', ')}.`,
            )
          })
          return entries
        },
    )
  }

  /** What a query saw is made known when memory has come as far, or the row is of an old transaction. */
  #watchInstalls<W extends Wanted>(batch: Pick<FillBatch<W>, 'install'>): () => void {
    const installing = (of: FillBatch<W>, wanted: W): void => {
      const { table, reply, horizonTried } = of
      const store = this.#storeOf.get(table.table)
      if (store === undefined) return
      const isReached = store.position >= reply!.position
      must(
        isReached || of.isFast(wanted, horizonTried!),
        'I11',
        () =>
          `${table.mapping.name}: what was seen at ${reply!.position} is made known at ${store.position}.`,
      )
    }
    const check = (look: () => void): void => this.#check(look)
    return replace(
      batch,
      'install',
      original =>
        function (this: FillBatch<W>, wanted, rows) {
          check(() => installing(this, wanted))
          return original.call(this, wanted, rows)
        },
    )
  }
}
