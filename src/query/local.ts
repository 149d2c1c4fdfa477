import type { LRUCache } from 'lru-cache'
import { SnapshotTooOldError } from '../errors.js'
import type { FreshnessGate } from '../freshness/gate.js'
import type { RowFactory } from '../mapping/values.js'
import { NONE } from '../store/address.js'
import type { Snapshot } from '../store/snapshot.js'
import type { DecodedKey } from '../store/table.js'
import { onlyAPart } from './coverage.js'
import { exists, hand, type LiveTable, lookUp } from './live.js'
import type { Key, LocalReads } from './types.js'

/** Reads of the newest commit, also within `cache.run`. */
export class LocalTable<Row extends object> implements LocalReads<Row> {
  readonly #gate: FreshnessGate
  #live: LiveTable
  // What a hit needs, one step nearer than through `#live`.
  #decoded: LRUCache<DecodedKey, object>
  #rows: RowFactory
  #reads: { hits: number }

  constructor(live: LiveTable, gate: FreshnessGate) {
    this.#gate = gate
    this.#live = live
    this.#decoded = live.table.decoded
    this.#rows = live.rows
    this.#reads = live.table.reads
  }

  /** Reads another generation from now on. */
  follow(live: LiveTable): void {
    this.#live = live
    this.#decoded = live.table.decoded
    this.#rows = live.rows
    this.#reads = live.table.reads
  }

  // Hot: once per read. Guarded by benchmarks/read.ts. A row that is kept decoded is the newest version, and a table that can't
  // be read keeps none, so a hit needs no further look. What is not a plain hit is elsewhere: small as this is, V8 compiles it together with
  // all of lru-cache's `get`, which a larger one would have to call.
  get(key: Key<Row>): Row | undefined {
    if (!this.#gate.fresh) this.#gate.pass()
    // Nothing is kept under an object, which a Map would have to give a hash to.
    const decoded = typeof key === 'object' ? undefined : this.#decoded.get(key as DecodedKey)
    if (decoded === undefined || !this.#rows.shared) return this.#getRest(key, decoded)
    this.#reads.hits++
    return decoded as Row
  }

  /** The row of a hit that can't be shared, or of a key that is not kept decoded. */
  #getRest(key: Key<Row>, decoded: object | undefined): Row | undefined {
    if (decoded === undefined) return lookUp(this.#live, key, this.#live.store.visible) as Row | undefined
    this.#reads.hits++
    return this.#rows.read(decoded) as Row
  }

  getMany(keys: readonly Key<Row>[]): (Row | undefined)[] {
    return keys.map(key => this.get(key))
  }

  has(key: Key<Row>): boolean {
    if (!this.#gate.fresh) this.#gate.pass()
    return exists(this.#live, key, this.#live.store.visible)
  }

  get size(): number {
    if (!this.#gate.fresh) this.#gate.pass()
    return sizeOf(this.#live)
  }

  // `never`: what comes back has the type that the interface's overloads say.
  findMany(query: object = {}): never[] {
    if (!this.#gate.fresh) this.#gate.pass()
    const live = this.#live
    return live.finder.findMany(query, live.store.visible) as never[]
  }

  findFirst(query: object = {}): null {
    if (!this.#gate.fresh) this.#gate.pass()
    const live = this.#live
    return live.finder.findFirst(query, live.store.visible) as null
  }

  count(query: object = {}): number {
    if (!this.#gate.fresh) this.#gate.pass()
    const live = this.#live
    return live.finder.count(query, live.store.visible)
  }

  *[Symbol.iterator](): IterableIterator<Row> {
    if (!this.#gate.fresh) this.#gate.pass()
    const live = this.#live
    const { visible } = live.store
    yield* rowsAt<Row>(live, visible, () => {
      if (live.store.visible !== visible || this.#live !== live)
        throw new SnapshotTooOldError(
          'another commit became visible during the iteration, which had no snapshot to hold on to.',
        )
    })
  }
}

/** Reads of the commit that a snapshot has pinned. */
export class SnapshotLocalTable<Row extends object> implements LocalReads<Row> {
  readonly #live: LiveTable
  readonly #snapshot: Snapshot
  readonly #check: () => void

  /** `check` throws if the snapshot can't be read any more. */
  constructor(live: LiveTable, snapshot: Snapshot, check: () => void) {
    this.#live = live
    this.#snapshot = snapshot
    this.#check = check
  }

  // Hot: once per read. Until the next commit the newest versions are what the snapshot sees, and so is what is kept decoded.
  get(key: Key<Row>): Row | undefined {
    this.#check()
    const live = this.#live
    const { seq } = this.#snapshot
    if (live.store.visible === seq) {
      const decoded = live.table.decoded.get(key as DecodedKey)
      if (decoded !== undefined) return hand(live, decoded) as Row
    }
    return lookUp(live, key, seq) as Row | undefined
  }

  getMany(keys: readonly Key<Row>[]): (Row | undefined)[] {
    return keys.map(key => this.get(key))
  }

  has(key: Key<Row>): boolean {
    this.#check()
    return exists(this.#live, key, this.#snapshot.seq)
  }

  get size(): number {
    this.#check()
    return sizeOf(this.#live, this.#snapshot.seq)
  }

  findMany(query: object = {}): never[] {
    this.#check()
    return this.#live.finder.findMany(query, this.#snapshot.seq) as never[]
  }

  findFirst(query: object = {}): null {
    this.#check()
    return this.#live.finder.findFirst(query, this.#snapshot.seq) as null
  }

  count(query: object = {}): number {
    this.#check()
    return this.#live.finder.count(query, this.#snapshot.seq)
  }

  [Symbol.iterator](): IterableIterator<Row> {
    return rowsAt<Row>(this.#live, this.#snapshot.seq, this.#check)
  }
}

function sizeOf(live: LiveTable, at = live.store.visible): number {
  const { table } = live
  refusePartial(live)
  return table.sizeAt(at)
}

/** @throws {NotLocalError} if memory holds only a part of the table. @throws whatever the table failed with. */
function refusePartial({ table, mapping }: LiveTable): void {
  if (table.failed !== null) throw table.failed
  if (table.residency !== null) throw onlyAPart(mapping.name)
}

/** All rows as of commit `at`. A scan decodes for itself: it must not drive out what keyed reads have decoded. */
function* rowsAt<Row>(live: LiveTable, at: number, check: () => void): IterableIterator<Row> {
  const { table } = live
  refusePartial(live)
  for (let row = 0; ; row++) {
    check()
    if (table.failed !== null) throw table.failed
    if (row >= table.rowEnd) return
    const record = table.recordAt(row, at)
    if (record !== NONE) yield hand(live, table.decode(record)) as Row
  }
}
