import type { ChangeBatch, ChangeSink, TupleView } from '../change/change.js'
import type { Lsn } from '../change/lsn.js'
import type { Relation } from '../change/relation.js'
import { MemoryLimitError } from '../errors.js'
import type { Logger } from '../observe.js'
import type { Runtime } from '../runtime.js'
import type { Store } from '../store/store.js'
import { type AppliedTable, type BoundRelation, bindRelation } from './binding.js'
import type { CommitLog } from './commit-log.js'

/** Changes applied between two looks at the clock. */
const CHANGES_PER_LOOK = 256
/** Rows tidied up for each such run: more than can become due, so that nothing piles up. */
const TIDIED_PER_LOOK = 2 * CHANGES_PER_LOOK

/** How many of the newest transactions are asked for after a restart of the server: it may have lost all that came after some point. */
const XIDS_KEPT = 8

export interface ApplierOptions {
  readonly store: Store
  readonly tables: readonly AppliedTable[]
  readonly runtime: Runtime
  /** The longest turn of the event loop, in milliseconds. */
  readonly sliceMs: number
  readonly logger: Logger
  /** Where the changes of bounded tables are kept for a while, whether they were applied or not. */
  readonly log?: CommitLog
  /** A commit has become visible, or (with `changed` false) the position has moved without one. */
  readonly onPosition: (position: Lsn, changed: boolean, commitTimeMs: number) => void
  /** A commit has come that changes none of the tables. */
  readonly onSilentCommit?: () => void
  /** The transaction in progress was taken back. */
  readonly onAborted: () => void
}

/**
 * The only writer: applies transactions to the store in slices, unseen, and makes each visible at its commit.
 *
 * A table that outgrows its memory is given up and the rest goes on; anything else that goes wrong ends the stream.
 */
export class Applier implements ChangeSink<BoundRelation> {
  readonly #options: ApplierOptions
  readonly #store: Store
  readonly #log: CommitLog | null
  readonly #byOid: ReadonlyMap<number, AppliedTable>
  /** The number of the transaction in progress, 0 until it has changed something. */
  #seq = 0
  /** The id of the transaction in progress. */
  #xid = 0
  readonly #newest: number[] = []
  #tidying = false
  #stopped = false

  constructor(options: ApplierOptions) {
    this.#options = options
    this.#store = options.store
    this.#log = options.log ?? null
    this.#byOid = new Map(options.tables.map(table => [table.mapping.oid, table]))
    this.#store.onReleased(() => this.#tidyInBackground())
  }

  /**
   * Applies all of `batch`, in turns of at most about `sliceMs`.
   *
   * @throws {DivergedError} if it contradicts the store. @throws {DecodeError} from the batch.
   */
  async apply(batch: ChangeBatch<BoundRelation>): Promise<void> {
    const { clock, timers } = this.#options.runtime
    let sliceEnds = clock.monotonicMs() + this.#options.sliceMs
    let tidy = false
    while (batch.deliver(this, CHANGES_PER_LOOK)) {
      tidy = this.#store.maintain(TIDIED_PER_LOOK)
      if (clock.monotonicMs() < sliceEnds) continue
      await timers.yield()
      sliceEnds = clock.monotonicMs() + this.#options.sliceMs
    }
    tidy = this.#store.maintain(TIDIED_PER_LOOK)
    if (tidy) this.#tidyInBackground()
  }

  /** Takes back the transaction in progress, in slices: its stream was cut off and will send it again from its beginning. */
  async cutOff(): Promise<void> {
    this.#seq = 0
    this.#log?.abort()
    while (this.#store.abort(CHANGES_PER_LOOK)) await this.#options.runtime.timers.yield()
    this.#options.onAborted()
  }

  /** Ends the tidying that goes on between batches; the next stream resumes it. */
  stop(): void {
    this.#stopped = true
  }

  /** A stream begins, or goes on where the last one was cut off. */
  start(): void {
    this.#stopped = false
    this.#tidyInBackground()
  }

  /** The ids, of 32 bits, of the newest transactions that were made visible; a few. */
  get newestXids(): readonly number[] {
    return this.#newest
  }

  #tidyInBackground(): void {
    if (this.#tidying || this.#stopped) return
    this.#tidying = true
    void this.#tidyInSlices().finally(() => {
      this.#tidying = false
    })
  }

  async #tidyInSlices(): Promise<void> {
    const { clock, timers } = this.#options.runtime
    do {
      await timers.yield()
      const sliceEnds = clock.monotonicMs() + this.#options.sliceMs
      while (this.#store.maintain(TIDIED_PER_LOOK)) if (clock.monotonicMs() >= sliceEnds) break
    } while (!this.#stopped && this.#store.maintain(TIDIED_PER_LOOK))
  }

  begin(xid: number): void {
    this.#seq = 0
    this.#xid = xid
    this.#log?.begin(xid)
  }

  relation(relation: Relation): BoundRelation | null {
    const applied = this.#byOid.get(relation.oid)
    if (applied === undefined) return null
    return bindRelation(relation, applied)
  }

  // Hot: once per change. Guarded by benchmarks/apply.ts.
  insert(bound: BoundRelation, row: TupleView): void {
    const { table } = bound
    if (table.failed !== null) return
    try {
      table.insert(row, bound.order, this.#begun())
      this.#log?.put(table, null, false, row, bound.order)
    } catch (error) {
      this.#giveUp(bound, error)
    }
  }

  update(bound: BoundRelation, old: TupleView | null, oldIsFull: boolean, row: TupleView): void {
    const { table } = bound
    if (table.failed !== null) return
    try {
      table.update(old, oldIsFull, row, bound.order, this.#begun())
      this.#log?.put(table, old, oldIsFull, row, bound.order)
    } catch (error) {
      this.#giveUp(bound, error)
    }
  }

  delete(bound: BoundRelation, old: TupleView, oldIsFull: boolean): void {
    const { table } = bound
    if (table.failed !== null) return
    try {
      table.remove(old, bound.order, this.#begun(), oldIsFull)
      this.#log?.remove(table, old, bound.order)
    } catch (error) {
      this.#giveUp(bound, error)
    }
  }

  truncate(bounds: readonly BoundRelation[]): void {
    for (const { table } of bounds) {
      if (table.failed !== null) continue
      table.truncate(this.#begun())
      this.#log?.truncate(table)
    }
  }

  message(): void {
    // Messages change no row.
  }

  commit(endLsn: Lsn, commitTimeMs: number): void {
    if (this.#seq === 0) {
      this.#log?.abort()
      this.progress(endLsn)
      this.#options.onSilentCommit?.()
      return
    }
    this.#seq = 0
    if (endLsn <= this.#store.position) {
      // Delivered once more, as after a server crash that moved the slot back.
      this.#log?.abort()
      while (this.#store.abort(CHANGES_PER_LOOK));
      this.#options.onAborted()
      return
    }
    this.#store.publish(endLsn, this.#xid)
    if (this.#newest.length === XIDS_KEPT) this.#newest.shift()
    this.#newest.push(this.#xid)
    this.#log?.commit(endLsn)
    this.#options.onPosition(endLsn, true, commitTimeMs)
  }

  progress(lsn: Lsn): void {
    if (lsn <= this.#store.position) return
    this.#store.advance(lsn)
    this.#options.onPosition(lsn, false, 0)
  }

  #begun(): number {
    if (this.#seq === 0) this.#seq = this.#store.begin()
    return this.#seq
  }

  #giveUp({ table }: BoundRelation, error: unknown): void {
    if (!(error instanceof MemoryLimitError)) throw error
    table.fail(error)
    this.#options.logger.error(error.message)
  }
}
