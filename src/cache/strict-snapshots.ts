import type { Lsn } from '../change/lsn.js'
import { SnapshotNotAlignedError, StrictSnapshotLimitError } from '../errors.js'
import { checkWait } from '../query/check-read.js'
import type {
  Snapshot,
  SnapshotTable,
  StrictSnapshot,
  TableDeclaration,
  WaitOptions,
} from '../query/types.js'
import { pause, type Runtime, within } from '../runtime.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { AlignedState } from './alignment.js'
import { Deferred } from './deferred.js'
import type { Generation } from './generation.js'
import { HeldReads } from './held-reads.js'
import { HeldTransaction } from './held-transaction.js'
import { asCacheError } from './lifecycle.js'
import type { Positions } from './positions.js'
import type { Looks } from './setup.js'
import type { SnapshotKeeper } from './snapshots.js'

const TIMEOUT_MS = 5_000
/** Between two transactions that are begun; twice as long each time. */
const RETRY_MS = 1
const RETRY_MAX_MS = 100

export interface StrictSnapshotsContext {
  readonly runtime: Runtime
  /** How many may be open. */
  readonly max: number
  readonly keeper: SnapshotKeeper
  readonly positions: Positions
  readonly closing: AbortSignal
  readonly sessions: () => SessionPool
  /** The generation that is read. @throws {NotReadyError} @throws {ClosedError} */
  readonly readable: () => Generation
}

/** Opens snapshots beside which a transaction shows the same commit, and counts them. */
export class StrictSnapshots {
  readonly #context: StrictSnapshotsContext
  /** Those that are open, or being opened. */
  #open = 0
  readonly #ending = new Set<Promise<void>>()

  constructor(context: StrictSnapshotsContext) {
    this.#context = context
  }

  /** @see Cache.strictSnapshot */
  async open({ timeoutMs = TIMEOUT_MS, signal }: WaitOptions): Promise<StrictSnapshot> {
    const { runtime, max, closing } = this.#context
    checkWait({ timeoutMs, signal })
    if (this.#open >= max) throw new StrictSnapshotLimitError(this.#open)
    this.#open++
    const late = (): Error => new SnapshotNotAlignedError(timeoutMs)
    const either = signal === undefined ? closing : AbortSignal.any([signal, closing])
    try {
      return await within(runtime.timers, timeoutMs, either, late, limited => this.#begin(limited))
    } catch (error) {
      this.#open--
      signal?.throwIfAborted()
      throw asCacheError(error)
    }
  }

  async #begin(signal: AbortSignal): Promise<StrictSnapshot> {
    const session = await this.#context.positions.connect(signal)
    // What waits for an answer rejects when its session ends.
    const end = (): void => void session.close()
    signal.addEventListener('abort', end, { once: true })
    try {
      return await this.#align(new HeldTransaction(session), signal)
    } catch (error) {
      await session.close()
      signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', end)
    }
  }

  async #align(transaction: HeldTransaction, signal: AbortSignal): Promise<StrictSnapshot> {
    const { runtime, readable, positions } = this.#context
    for (let waitMs = RETRY_MS; ; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
      const generation = readable()
      let looks: Looks | null = null
      const aligned = await generation.alignment.stateSeen(async () => {
        const begun = await transaction.begin(positions.pages, session => generation.look(session))
        looks = begun.looks
        return begun.seen
      }, signal)
      if (aligned !== null && !signal.aborted) return this.#hold(transaction, generation, aligned, looks!)
      aligned?.state.release()
      await pause(runtime.timers, waitMs, signal)
      signal.throwIfAborted()
    }
  }

  #hold(
    transaction: HeldTransaction,
    generation: Generation,
    { state, tables }: AlignedState,
    looks: Looks,
  ): StrictSnapshot {
    const { keeper, positions, sessions } = this.#context
    const ended = new Deferred()
    const snapshot = keeper.hold({
      generation,
      position: positions.codec.encode(generation.incarnation, state.position),
      state,
      tables,
      beyond: new HeldReads({
        transaction,
        pages: () => positions.pages,
        looks,
        lookNow: () => sessions().run(session => generation.look(session)),
      }),
      onEnd: () => void this.#end(transaction).then(ended.resolve, ended.reject),
    })
    return new OpenStrictSnapshot(snapshot, ended.promise)
  }

  #end(transaction: HeldTransaction): Promise<void> {
    const ending = transaction.close().finally(() => {
      this.#open--
      this.#ending.delete(ending)
    })
    this.#ending.add(ending)
    return ending
  }

  /** Resolves when no session of those that have ended is left. */
  async closed(): Promise<void> {
    await Promise.all(this.#ending)
  }
}

class OpenStrictSnapshot implements StrictSnapshot {
  readonly position: string
  readonly lsn: Lsn
  readonly #snapshot: Snapshot
  readonly #ended: Promise<void>

  constructor(snapshot: Snapshot, ended: Promise<void>) {
    this.#snapshot = snapshot
    this.#ended = ended
    this.position = snapshot.position
    this.lsn = snapshot.lsn
  }

  table<Row extends object>(declaration: TableDeclaration<Row>): SnapshotTable<Row> {
    return this.#snapshot.table(declaration)
  }

  close(): Promise<void> {
    this.#snapshot.close()
    return this.#ended
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
