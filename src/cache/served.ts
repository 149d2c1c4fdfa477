import type { Lsn } from '../change/lsn.js'
import { NotReadyError } from '../errors.js'
import type { ChangeFeed } from '../feed/feed.js'
import type { FreshnessGates } from '../freshness/gates.js'
import type { LiveTable } from '../query/live.js'
import type { AuditLedger } from './audits.js'
import type { DeclaredTables } from './declared-tables.js'
import type { Generation } from './generation.js'
import { isOtherHistory } from './histories.js'
import type { JoiningTables } from './joining-tables.js'
import type { LifecycleHooks } from './lifecycle.js'
import type { ResolvedOptions } from './options.js'
import type { Positions } from './positions.js'
import type { SnapshotKeeper } from './snapshots.js'

/** Who is told of the generation that is read. */
export interface ServedHost {
  readonly options: ResolvedOptions
  readonly gates: FreshnessGates
  readonly feed: ChangeFeed<LiveTable>
  readonly tables: DeclaredTables
  readonly positions: Positions
  readonly snapshots: SnapshotKeeper
  readonly audits: AuditLedger
  readonly joining: JoiningTables
  /** What the next generation is loaded by: tables that are added join it. */
  readonly entities: object[]
  /** Whether nothing is read any more. */
  readonly isGone: () => boolean
  /** There is something to read. */
  readonly onReady: () => void
}

/** Which generation is read: what those who read, follow and wait are told of it, and how the next one takes over. */
export class Served {
  readonly #host: ServedHost
  #live: Generation | null = null

  constructor(host: ServedHost) {
    this.#host = host
  }

  /** The generation that is read; null before the first one has caught up. */
  get live(): Generation | null {
    return this.#live
  }

  /** What a lifecycle is to tell of its generations. */
  hooks(onFailed: LifecycleHooks['onFailed']): LifecycleHooks {
    const { feed, gates, snapshots, audits } = this.#host
    return {
      beforeLoad: () => this.#makeRoom(),
      onPosition: (generation, position, changed) => this.#onPosition(generation, position, changed),
      onAborted: generation => {
        if (generation === this.#live) feed.aborted()
      },
      onOverfull: generation => snapshots.endOldest(generation),
      onTable: (generation, live) => this.#onTable(generation, live),
      onProven: (generation, askedMs) => this.#onProven(generation, askedMs),
      onDoubted: generation => {
        if (generation === this.#live) gates.doubt()
      },
      onHistory: generation => {
        if (generation === this.#live) this.#host.positions.waits.historyChanged()
      },
      onCompared: (mapping, compared) => audits.compared(mapping, compared),
      onMismatches: (mapping, mismatches) => audits.mismatched(mapping, mismatches),
      onFailed,
    }
  }

  /** Two generations at once must fit into the memory that one may have: else the old one goes first. */
  #makeRoom(): void {
    const { options, gates } = this.#host
    if (this.#live === null || this.#live.store.bytes * 2 <= options.memoryBytes) return
    options.logger.warn('There is no room to load beside what is held, so memory is emptied first.')
    const error = new NotReadyError()
    this.#live.store.fail(error)
    gates.refuse(error)
  }

  #onPosition(generation: Generation, position: Lsn, changed: boolean): void {
    if (generation !== this.#live) return
    if (changed) this.#host.feed.published(position)
    this.#host.positions.waits.moved()
  }

  #onTable(generation: Generation, live: LiveTable): void {
    const { tables, feed, entities, isGone } = this.#host
    if (generation !== this.#live || isGone()) return
    const number = tables.follow(live)
    if (number !== null) {
      feed.replaced(number, live)
      return
    }
    // From now on it is loaded with the others.
    entities.push(live.mapping.declaration)
    tables.add(live)
  }

  #onProven(generation: Generation, askedMs: number): void {
    const { gates, positions, isGone } = this.#host
    if (isGone()) return
    if (generation === this.#live) {
      gates.prove(askedMs)
      positions.waits.moved()
    } else this.#takeOver(generation, askedMs)
  }

  /** All tables change hands in one synchronous run: nobody sees some of the old and some of the new. */
  #takeOver(generation: Generation, provenMs: number): void {
    const { options, gates, feed, tables, positions, joining, onReady } = this.#host
    const old = this.#live
    const isFirst = old === null
    this.#live = generation
    if (old !== null && isOtherHistory(old, generation)) {
      options.logger.warn('The server has another history than the one that memory has shown so far.')
      positions.waits.historyChanged()
    }
    const undeclared = generation.tables.filter(live => tables.follow(live) === null)
    joining.loaded(undeclared, generation.out)
    gates.restart(provenMs)
    if (!isFirst) {
      const isSame = !isOtherHistory(old, generation)
      feed.reloaded(tables.byNumber(), generation.store.writing, isSame)
    }
    positions.waits.moved()
    options.logger.info(`${isFirst ? 'Loaded' : 'Loaded anew'}: ${generation.tables.length} tables.`)
    onReady()
  }
}
