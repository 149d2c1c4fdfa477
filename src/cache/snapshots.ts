import { CacheError, ClosedError, OptionError, SnapshotTooOldError } from '../errors.js'
import type { Lsn } from '../change/lsn.js'
import type { Runtime } from '../runtime.js'
import type { LiveTable } from '../query/live.js'
import { type BeyondMemory, Fills } from '../query/beyond-memory.js'
import { CacheSnapshotTable } from '../query/snapshot-table.js'
import type { Snapshot, SnapshotTable, TableDeclaration } from '../query/types.js'
import type { Snapshot as StoreSnapshot } from '../store/snapshot.js'
import type { Generation } from './generation.js'

/** What a snapshot reads. */
export interface Opening {
  readonly generation: Generation
  /** The token of its commit. */
  readonly position: string
  readonly state: StoreSnapshot
  /** Those of its generation as they were then. */
  readonly tables: readonly LiveTable[]
  readonly beyond: BeyondMemory
  /** Called when it is over. */
  readonly onEnd?: () => void
}

/** The open snapshots of one cache, each released when its time is up. */
export class SnapshotKeeper {
  readonly #runtime: Runtime
  readonly #maxAgeMs: number
  /** In the order of their opening, so that the first is the next to expire. */
  readonly #open = new Set<OpenSnapshot>()
  #cancelTimer: (() => void) | null = null

  constructor(runtime: Runtime, maxAgeMs: number) {
    this.#runtime = runtime
    this.#maxAgeMs = maxAgeMs
  }

  get size(): number {
    return this.#open.size
  }

  /** How long the oldest open snapshot has been open. */
  oldestAgeMs(): number {
    for (const snapshot of this.#open) return this.#runtime.clock.monotonicMs() - snapshot.openedMs
    return 0
  }

  /** The newest commit, whose token is `position`. */
  open(generation: Generation, position: string): Snapshot {
    const state = generation.store.snapshot()
    return this.hold({ generation, position, state, tables: generation.tables, beyond: new Fills(state) })
  }

  /** A state that is kept readable already: from now on the snapshot lets go of it. */
  hold(opening: Opening): Snapshot {
    const snapshot = new OpenSnapshot(opening, this.#runtime.clock.monotonicMs(), closed => {
      this.#open.delete(closed)
      opening.onEnd?.()
    })
    this.#open.add(snapshot)
    if (this.#cancelTimer === null) this.#watch(this.#maxAgeMs)
    return snapshot
  }

  #watch(delayMs: number): void {
    this.#cancelTimer = this.#runtime.timers.after(delayMs, () => {
      this.#cancelTimer = null
      this.#expire()
    })
  }

  #expire(): void {
    const now = this.#runtime.clock.monotonicMs()
    for (const snapshot of this.#open) {
      const left = snapshot.openedMs + this.#maxAgeMs - now
      if (left > 0) {
        this.#watch(left)
        return
      }
      snapshot.end(
        new SnapshotTooOldError(`it was open for longer than snapshotMaxAgeMs (${this.#maxAgeMs} ms).`),
      )
    }
  }

  /** Ends the oldest one of this generation; false if there is none. */
  endOldest(generation: Generation): boolean {
    for (const snapshot of this.#open)
      if (snapshot.generation === generation) {
        snapshot.end(
          new SnapshotTooOldError(
            'it, and those after it, held more old rows of a bounded table than there is room for.',
          ),
        )
        return true
      }
    return false
  }

  /** Ends all of them. */
  close(error: ClosedError): void {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    for (const snapshot of this.#open) snapshot.end(error)
  }
}

class OpenSnapshot implements Snapshot {
  readonly position: string
  readonly lsn: Lsn
  readonly openedMs: number
  readonly generation: Generation
  readonly #opening: Opening
  readonly #tables = new Map<object, SnapshotTable<never>>()
  readonly #onEnd: (snapshot: OpenSnapshot) => void
  #ended: CacheError | null = null

  constructor(opening: Opening, openedMs: number, onEnd: (snapshot: OpenSnapshot) => void) {
    this.#opening = opening
    this.generation = opening.generation
    this.position = opening.position
    this.lsn = opening.state.position
    this.openedMs = openedMs
    this.#onEnd = onEnd
  }

  table<Row extends object>(declaration: TableDeclaration<Row>): SnapshotTable<Row> {
    const known = this.#tables.get(declaration) as SnapshotTable<Row> | undefined
    if (known !== undefined) return known
    const { tables, state, beyond } = this.#opening
    const live = tables.find(({ mapping }) => mapping.declaration === declaration)
    if (live === undefined) throw notAnEntity()
    const table = new CacheSnapshotTable<Row>(live, state, beyond, () => {
      if (this.#ended !== null) throw this.#ended
    })
    this.#tables.set(declaration, table as unknown as SnapshotTable<never>)
    return table
  }

  close(): void {
    this.end(new SnapshotTooOldError('it was closed.'))
  }

  [Symbol.dispose](): void {
    this.close()
  }

  end(error: CacheError): void {
    if (this.#ended !== null) return
    this.#ended = error
    this.#opening.state.release()
    this.#onEnd(this)
  }
}

export function notAnEntity(): OptionError {
  return new OptionError('entities', 'this table is not among those that the cache was opened with.')
}
