import {
  ClosedError,
  KeyError,
  MemoryLimitError,
  NotFoundError,
  NotLocalError,
  NotReadyError,
  OptionError,
  StaleError,
  WaitTimeoutError,
} from '../errors.js'
import type { FreshnessGate } from '../freshness/gate.js'
import type { Snapshot as StoreSnapshot } from '../store/snapshot.js'
import type { DatabaseReader } from './database.js'
import { type LiveTable, lookUp } from './live.js'
import { LocalTable, SnapshotLocalTable } from './local.js'
import type {
  ChangesOptions,
  FindInSnapshot,
  FindUnique,
  LocalReads,
  ReadOptions,
  SnapshotTable,
  Table,
  TableChange,
} from './types.js'

/** What the tables of one cache share. */
export interface ReadContext {
  readonly gate: FreshnessGate
  readonly database: DatabaseReader
  readonly maxStalenessMs: number
  readonly onStale: 'throw' | 'database' | 'serve'
  readonly onUnknown: 'throw' | 'database'
  /** Resolves when the token's position is visible. */
  readonly waitFor: (token: string, signal?: AbortSignal) => Promise<void>
  /** Has the server asked for its position now; resolves when that is visible, or can't be shown soon. */
  readonly prove: (signal?: AbortSignal) => Promise<void>
  /** Why no read may be answered any more, or null. */
  readonly closed: () => ClosedError | null
}

const FIND_OPTIONS: ReadonlySet<string> = new Set([
  'where',
  'maxStaleness',
  'onStale',
  'onUnknown',
  'after',
  'signal',
])
/** A snapshot is as old as it is, and memory has its answers. */
const SNAPSHOT_FIND_OPTIONS: ReadonlySet<string> = new Set(['where', 'signal'])
const CHANGES_OPTIONS: ReadonlySet<string> = new Set(['signal'])

/** A table as it is now: memory where that proves the answer, else PostgreSQL, as the options say. */
export class CacheTable<Row extends object> implements Table<Row> {
  readonly local: LocalTable<Row>
  #live: LiveTable
  readonly #context: ReadContext
  readonly #changes: (options: ChangesOptions) => AsyncIterableIterator<TableChange<Row>>

  constructor(
    live: LiveTable,
    context: ReadContext,
    changes: (options: ChangesOptions) => AsyncIterableIterator<TableChange<Row>>,
  ) {
    this.local = new LocalTable<Row>(live, context.gate)
    this.#live = live
    this.#context = context
    this.#changes = changes
  }

  /** The generation that is read. */
  get live(): LiveTable {
    return this.#live
  }

  /** Reads another generation from now on. */
  follow(live: LiveTable): void {
    this.#live = live
    this.local.follow(live)
  }

  async findUnique(query: FindUnique<Row>): Promise<Row | null> {
    checkFind(this.#live, query, FIND_OPTIONS)
    const { closed, waitFor } = this.#context
    const gone = closed()
    if (gone !== null) throw gone
    if (query.after !== undefined) {
      try {
        await waitFor(query.after, query.signal)
      } catch (error) {
        // PostgreSQL itself is past every token.
        if (!isNotReached(error) || (query.onStale ?? this.#context.onStale) !== 'database') throw error
        return this.#fromDatabase(query)
      }
    }
    if (!(await this.#isFresh(query))) return this.#fromDatabase(query)
    const live = this.#live
    try {
      return (lookUp(live, query.where, live.store.visible) ?? null) as Row | null
    } catch (error) {
      if (!isUnknown(error) || (query.onUnknown ?? this.#context.onUnknown) === 'throw') throw error
      return this.#fromDatabase(query)
    }
  }

  async findUniqueOrThrow(query: FindUnique<Row>): Promise<Row> {
    const row = await this.findUnique(query)
    if (row === null) throw new NotFoundError(this.#live.mapping.name)
    return row
  }

  changes(options: ChangesOptions = {}): AsyncIterableIterator<TableChange<Row>> {
    checkOptions('changes', options, CHANGES_OPTIONS)
    return this.#changes(options)
  }

  /** Whether memory may answer; false if PostgreSQL is to. @throws {StaleError} */
  async #isFresh(query: ReadOptions): Promise<boolean> {
    const { gate, maxStalenessMs, prove } = this.#context
    const bound = query.maxStaleness ?? maxStalenessMs
    if (gate.stalenessMs() <= bound) return true
    // A bound that is tighter than the probes' interval is met by asking now; the first proof may be one that had begun before.
    const attempts = bound > 0 && bound < maxStalenessMs ? 2 : 0
    for (let left = attempts; left > 0 && gate.stalenessMs() <= maxStalenessMs; left--) {
      await prove(query.signal)
      if (gate.stalenessMs() <= bound) return true
    }
    const policy = query.onStale ?? this.#context.onStale
    if (policy === 'throw') throw new StaleError(gate.stalenessMs(), bound)
    return policy === 'serve' && this.#live.table.failed === null
  }

  #fromDatabase({ where, signal }: FindUnique<Row>): Promise<Row | null> {
    return this.#context.database.findByKey(this.#live, where, signal) as Promise<Row | null>
  }
}

/** A table as of the commit that a snapshot has pinned. All tables are whole, so memory has every answer. */
export class CacheSnapshotTable<Row extends object> implements SnapshotTable<Row> {
  readonly local: LocalReads<Row>
  readonly #live: LiveTable

  constructor(live: LiveTable, snapshot: StoreSnapshot, check: () => void) {
    this.local = new SnapshotLocalTable<Row>(live, snapshot, check)
    this.#live = live
  }

  async findUnique(query: FindInSnapshot<Row>): Promise<Row | null> {
    checkFind(this.#live, query, SNAPSHOT_FIND_OPTIONS)
    query.signal?.throwIfAborted()
    return this.local.get(query.where) ?? null
  }

  async findUniqueOrThrow(query: FindInSnapshot<Row>): Promise<Row> {
    const row = await this.findUnique(query)
    if (row === null) throw new NotFoundError(this.#live.mapping.name)
    return row
  }
}

function checkFind({ mapping }: LiveTable, query: unknown, known: ReadonlySet<string>): void {
  const { where } = checkOptions('findUnique', query, known) as { where?: unknown }
  if (typeof where !== 'object' || where === null)
    throw new KeyError(mapping.name, 'findUnique wants it in "where".')
}

/** Refuses an option that would have no effect. */
function checkOptions(method: string, options: unknown, known: ReadonlySet<string>): object {
  if (typeof options !== 'object' || options === null)
    throw new OptionError(method, 'it takes one object of options.')
  for (const option of Object.keys(options))
    if (!known.has(option)) throw new OptionError(option, `there is no such option of ${method} here.`)
  return options
}

/** Errors that say that memory has not come as far as a token. */
function isNotReached(error: unknown): boolean {
  return error instanceof NotReadyError || error instanceof WaitTimeoutError
}

/** Errors that say that memory can't answer, not that the question is wrong. */
function isUnknown(error: unknown): boolean {
  return error instanceof NotLocalError || error instanceof MemoryLimitError || error instanceof NotReadyError
}
