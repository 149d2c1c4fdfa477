import { type Cache, type Snapshot, type SnapshotTable, type Table } from '../../src/index.js'
import type { Random } from '../random.js'
import type { Scheduler } from './scheduler.js'
import { bank, cash, propertiesOf, type Row, type TableSpec } from './schema.js'
import { type Declarations, isRefusal, MismatchError, type Oracle, placeOf } from './oracle.js'

export interface ReaderContext {
  readonly cache: Cache
  readonly scheduler: Scheduler
  readonly random: Random
  readonly oracle: Oracle
  readonly tables: readonly TableSpec[]
  readonly declarations: Declarations
  readonly maxStalenessMs: number
  /** What the balanced tables come to. */
  readonly balance: number
  /** Whether there need not be room for everything. */
  readonly isMemoryShort: boolean
  /** Between two reads. */
  readonly pauseMs: number
  readonly onFailure: (error: Error) => void
}

const KINDS = { get: 30, table: 8, snapshot: 6, bounded: 30, token: 4 }
const PATIENCE_MAX = 1_000
/** While nothing has come, the same state is looked at less and less. */
const IDLE_PATIENCE_MAX = 32
/** Of the keys that are read, so many were changed last. */
const RECENT = 0.5
/** A list of all keys is good for so many reads. */
const KEYS_USES = 32
/** How long a snapshot is held, at most. */
const HELD_MS = 300

/** Reads all the time, in every way, and has each answer checked. */
export class Reader {
  readonly #context: ReaderContext
  #isStopped = false
  #isLooking = false
  /** Whoever is refused comes back later. */
  #patience = 1
  /** Reads that the cache refused, by their error's code. */
  readonly refused: Record<string, number> = {}
  answered = 0
  /** Reads that are under way. */
  #pending = 0
  #seen = ''
  #cancel: () => void = () => undefined
  readonly #keys = new Map<TableSpec, { readonly list: readonly string[]; uses: number }>()

  constructor(context: ReaderContext) {
    this.#context = context
    this.#later()
  }

  stop(): void {
    this.#isStopped = true
  }

  get isIdle(): boolean {
    return this.#pending === 0
  }

  #later(): void {
    const { scheduler, random, pauseMs } = this.#context
    this.#cancel = scheduler.after((random.below(1000) / 1000) * pauseMs * this.#patience, () => {
      if (this.#isStopped) return
      this.#later()
      this.#read()
    })
  }

  /** Something has arrived: what it changed is looked at soon. */
  arrived(): void {
    if (this.#isStopped || this.#isLooking) return
    this.#isLooking = true
    this.#context.scheduler.after(0, () => {
      this.#isLooking = false
      if (!this.#isStopped) this.#read()
    })
  }

  /** A new state is looked at from all sides; one that was seen before less and less. */
  #saw(): void {
    const { position } = this.#context.cache
    if (position === this.#seen) {
      this.#patience = Math.max(this.#patience, Math.min(this.#patience * 2, IDLE_PATIENCE_MAX))
      return
    }
    this.#seen = position
    if (this.#patience === 1) return
    this.#patience = 1
    this.#cancel()
    this.#later()
  }

  #read(): void {
    const { random, tables } = this.#context
    const kind = random.weighted(KINDS)
    const whole = tables.filter(({ maxRows }) => maxRows === null)
    const bounded = tables.filter(({ maxRows }) => maxRows !== null)
    switch (kind) {
      case 'get':
        this.#try(() => this.#get(random.pick(whole)))
        return
      case 'table':
        this.#try(() => this.#table(random.pick(whole)))
        return
      case 'snapshot':
        this.#try(() => this.#snapshot(whole, bounded))
        return
      case 'bounded':
        if (bounded.length > 0) this.#begin(() => this.#bounded(random.pick(bounded)))
        return
      case 'token':
        this.#begin(() => this.#token(random.pick(whole)))
    }
  }

  #try(read: () => void): void {
    try {
      read()
      this.answered++
    } catch (error) {
      this.#refusedOrWrong(error)
      return
    }
    this.#saw()
  }

  #begin(read: () => Promise<void>): void {
    this.#pending++
    read()
      .then(() => {
        this.answered++
      })
      .catch((error: unknown) => this.#refusedOrWrong(error))
      .finally(() => {
        this.#pending--
      })
  }

  #refusedOrWrong(error: unknown): void {
    this.#patience = Math.min(this.#patience * 2, PATIENCE_MAX)
    if (isRefusal(error)) this.refused[error.code] = (this.refused[error.code] ?? 0) + 1
    else this.#context.onFailure(error instanceof Error ? error : new Error(String(error)))
  }

  /** Of each table that is not held whole, all that may go. */
  evictAll(): number {
    const { tables } = this.#context
    return tables.reduce((sum, spec) => sum + (spec.maxRows === null ? 0 : this.evict(spec)), 0)
  }

  /** How many keys memory was asked to forget; none once the reader has stopped, since the cache may be closed by then. */
  evict(spec: TableSpec): number {
    if (this.#isStopped) return 0
    const { cache, oracle } = this.#context
    const table = this.#of(cache, spec)
    const keys = oracle.truth(placeOf(cache.position))?.keys(spec) ?? []
    let count = 0
    for (const key of keys) {
      count++
      this.#try(() => table.evict(propertiesOf(spec, key)))
    }
    return count
  }

  /** Whether what the table shows can be held against what was true; if not, only its age counts. */
  #isComparable(spec: TableSpec): boolean {
    return !this.#context.oracle.doubts.has(spec)
  }

  #get(spec: TableSpec): void {
    const { cache, oracle, scheduler, maxStalenessMs } = this.#context
    const key = this.#someKey(spec)
    const found = this.#of(cache, spec).local.get(propertiesOf(spec, key))
    const place = oracle.place(cache)
    if (this.#isComparable(spec)) oracle.checkRow(spec, key, found, place)
    oracle.checkDoubt(spec, scheduler.nowMs, maxStalenessMs)
    oracle.checkAge(place, scheduler.nowMs, maxStalenessMs)
  }

  #table(spec: TableSpec): void {
    const { cache, oracle, scheduler, maxStalenessMs } = this.#context
    const place = oracle.place(cache)
    if (this.#isComparable(spec)) oracle.checkTable(spec, cache, place)
    else this.#of(cache, spec).local.get(propertiesOf(spec, this.#someKey(spec)))
    oracle.checkDoubt(spec, scheduler.nowMs, maxStalenessMs)
    if (this.#isBalanced()) this.#checkBalance(cache)
  }

  /** Whether the sum is known, of tables that are not in doubt. */
  #isBalanced(): boolean {
    return this.#isComparable(cash) && this.#isComparable(bank)
  }

  #checkBalance(from: Cache | Snapshot): void {
    const { oracle, tables, balance } = this.#context
    if (tables.includes(cash)) oracle.checkBalance([cash, bank], from, balance)
  }

  /** The same state at once, and whenever it is looked at again. */
  #snapshot(whole: readonly TableSpec[], bounded: readonly TableSpec[]): void {
    const { cache, random, scheduler, oracle } = this.#context
    const snapshot = cache.snapshot()
    const place = placeOf(snapshot.position)
    const comparable = whole.filter(spec => this.#isComparable(spec))
    const isBalanced = this.#isBalanced()
    const look = (): void => {
      for (const spec of comparable) oracle.checkTable(spec, snapshot, place)
      if (isBalanced) this.#checkBalance(snapshot)
    }
    try {
      look()
    } catch (error) {
      snapshot.close()
      throw error
    }
    for (const spec of bounded)
      this.#begin(async () => {
        const key = this.#someKey(spec)
        const wasComparable = this.#isComparable(spec)
        const found = await this.#of(snapshot, spec).findUnique({ where: propertiesOf(spec, key) })
        if (wasComparable && this.#isComparable(spec)) oracle.checkRow(spec, key, found, place)
      })
    this.#pending++
    scheduler.after(random.below(HELD_MS), () => {
      this.#pending--
      this.#try(look)
      snapshot.close()
    })
  }

  /** In the way that waits for a commit: so the answer is that of a visible one. */
  async #bounded(spec: TableSpec): Promise<void> {
    const { cache, oracle, random } = this.#context
    const table = this.#of(cache, spec)
    const from = oracle.place(cache)
    const key = this.#someKey(spec)
    if (random.chance(0.05)) {
      table.evict(propertiesOf(spec, key))
      return
    }
    const wasDoubtful = oracle.doubts.has(spec)
    const wasHeld = this.#isHeld(spec)
    const found = await table.findUnique({
      where: propertiesOf(spec, key),
      onUnknown: 'throw',
      onStale: 'serve',
    })
    if (wasDoubtful || oracle.doubts.has(spec)) return
    // While nothing is held that could be served, it is PostgreSQL's own answer.
    const mayBeServers = this.#context.isMemoryShort || !wasHeld || !this.#isHeld(spec)
    oracle.checkBetween(spec, key, found, from, mayBeServers ? oracle.newestCommit : oracle.place(cache))
  }

  /** Whether memory has anything of the table: not while it is read anew by itself, or has no room. */
  #isHeld({ name }: TableSpec): boolean {
    return this.#context.cache.health().tables.find(each => each.name === `public.${name}`)?.failed === null
  }

  /** A token of now: whatever is read with it shows everything that was acknowledged before. */
  async #token(spec: TableSpec): Promise<void> {
    const { cache, oracle, scheduler } = this.#context
    const askedMs = scheduler.nowMs
    const token = await cache.token()
    const key = this.#someKey(spec)
    await cache.waitFor(token, { timeoutMs: 500 })
    const found = this.#of(cache, spec).local.get(propertiesOf(spec, key))
    const place = oracle.place(cache)
    const { timeline, lsn } = placeOf(token)
    if (place.timeline === timeline && place.lsn < lsn)
      throw new MismatchError(`waitFor has resolved at ${place.lsn}, before its token's ${lsn}.`)
    if (this.#isComparable(spec)) oracle.checkRow(spec, key, found, place)
    oracle.checkAge(place, askedMs, 0)
  }

  #of(from: Cache, spec: TableSpec): Table<Row>
  #of(from: Cache | Snapshot, spec: TableSpec): SnapshotTable<Row>
  #of(from: Cache | Snapshot, spec: TableSpec): SnapshotTable<Row> {
    return from.table(this.#context.declarations.get(spec)!)
  }

  /** Mostly of a row that is there, or was; often of one that has just changed. */
  #someKey(spec: TableSpec): string {
    const { random, oracle } = this.#context
    const recent = oracle.recentKeys(spec)
    if (recent.length > 0 && random.chance(RECENT)) return random.pick(recent)
    const keys = this.#allKeys(spec)
    if (keys.length > 0 && random.chance(0.95)) return random.pick(keys)
    return spec.key.map(at => (spec.columns[at]!.type === 'text' ? 'nobody' : '999999')).join('\u001f')
  }

  #allKeys(spec: TableSpec): readonly string[] {
    const known = this.#keys.get(spec)
    if (known !== undefined && known.uses++ < KEYS_USES) return known.list
    const { oracle, cache } = this.#context
    const list = oracle.truth(placeOf(cache.position))?.keys(spec) ?? []
    this.#keys.set(spec, { list, uses: 0 })
    return list
  }
}
