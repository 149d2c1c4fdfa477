import { SnapshotTooOldError } from '../errors.js'
import type { FreshnessGate } from '../freshness/gate.js'
import type { ReadOptions, RequestScope, Snapshot } from './types.js'

/** What a request's scope needs of the cache. */
export interface ScopeContext {
  readonly gate: FreshnessGate
  readonly onUnknown: 'throw' | 'database'
  /** The newest commit, kept readable; null if PostgreSQL is to be asked instead. */
  readonly pin: (options: ReadOptions) => Promise<Pinned | null>
  /** Whether the snapshot's commit is at or after the token. @throws {TokenError} */
  readonly covers: (snapshot: Snapshot, token: string) => Promise<boolean>
  /** A token at or after everything that PostgreSQL shows now. */
  readonly token: (signal?: AbortSignal) => Promise<string>
}

/** A commit that is kept readable, and how old it can be. */
export interface Pinned {
  readonly snapshot: Snapshot
  /** Everything that was committed before is in it (monotonic). */
  readonly provenMs: number
}

/** What a table says of its reads, where the request says nothing else. */
export type TableBound = Pick<ReadOptions, 'maxStaleness' | 'onStale'>

const NO_BOUND: TableBound = {}

/**
 * The commit that one request reads. It only moves forward, and only if it must: for a read that asks for a later commit or a tighter bound, and
 * once PostgreSQL itself was read, which shows its newest state. Where memory can't follow, the request reads PostgreSQL from then on.
 */
export class ReadScope implements RequestScope {
  readonly #context: ScopeContext
  /** The request's policies. */
  readonly #options: ReadOptions
  /** Those that it has to close: a read under way may still need one that it has moved on from. */
  readonly #opened: Snapshot[] = []
  #snapshot: Snapshot | null
  /** Everything that was committed before is in the snapshot (monotonic). */
  #provenMs: number
  #isBehindDatabase = false
  #hasEnded = false

  private constructor(context: ScopeContext, options: ReadOptions, pinned: Pinned | null) {
    this.#context = context
    this.#options = options
    this.#snapshot = pinned?.snapshot ?? null
    this.#provenMs = pinned?.provenMs ?? Number.NEGATIVE_INFINITY
  }

  /** Begins at the newest commit that is at or after `options.after`, or at a snapshot of the caller's, if that is. */
  static async open(
    context: ScopeContext,
    options: ReadOptions,
    given: Snapshot | undefined,
  ): Promise<ReadScope> {
    const { after, ...policies } = options
    const isGiven = given !== undefined && (after === undefined || (await context.covers(given, after)))
    if (isGiven)
      return new ReadScope(context, policies, { snapshot: given, provenMs: Number.NEGATIVE_INFINITY })
    const pinned = await context.pin(options)
    const scope = new ReadScope(context, policies, pinned)
    if (pinned !== null) scope.#opened.push(pinned.snapshot)
    return scope
  }

  get snapshot(): Snapshot | null {
    return this.#snapshot
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  databaseWasRead(): void {
    this.#isBehindDatabase = true
  }

  onUnknown(options: ReadOptions): 'throw' | 'database' {
    return options.onUnknown ?? this.#options.onUnknown ?? this.#context.onUnknown
  }

  /** A token at or after everything that the request has been shown. */
  async token(signal?: AbortSignal): Promise<string> {
    const snapshot = this.#snapshot
    return snapshot === null || this.#isBehindDatabase ? this.#context.token(signal) : snapshot.position
  }

  /**
   * What a read with these options is to see; null if it is to ask PostgreSQL. Moves the scope forward if it must. A table with a bound that is
   * tighter than the cache's keeps it here, too.
   */
  async at(options: ReadOptions, table: TableBound): Promise<Snapshot | null> {
    options.signal?.throwIfAborted()
    const { maxStaleness = this.#context.gate.maxStalenessMs } = table
    const isTighter = maxStaleness < this.#context.gate.maxStalenessMs
    const isSaid = options.maxStaleness !== undefined || this.#options.maxStaleness !== undefined
    const bound = isTighter && !isSaid ? table : NO_BOUND
    const snapshot = this.#snapshot
    if (snapshot === null || (await this.#isEnough(snapshot, { ...bound, ...options }))) return snapshot
    return this.#advance({ ...bound, ...this.#options, ...options })
  }

  async #isEnough(snapshot: Snapshot, { after, maxStaleness }: ReadOptions): Promise<boolean> {
    if (after !== undefined && !(await this.#context.covers(snapshot, after))) return false
    if (maxStaleness !== undefined && this.#context.gate.ageMs(this.#provenMs) > maxStaleness) return false
    return !this.#isBehindDatabase
  }

  async #advance(options: ReadOptions): Promise<Snapshot | null> {
    const after = await this.#tokenOfDatabase(options)
    const pinned = await this.#context.pin({ ...options, ...(after === undefined ? {} : { after }) })
    if (pinned !== null && this.#hasEnded) {
      pinned.snapshot.close()
      throw new SnapshotTooOldError('its request was over.')
    }
    if (pinned !== null) this.#opened.push(pinned.snapshot)
    const current = this.#snapshot
    // Another read may have given memory up meanwhile, or gone on further than this one.
    if (current === null || (pinned !== null && this.#isBefore(pinned, current))) return current
    this.#snapshot = pinned?.snapshot ?? null
    if (pinned !== null) this.#provenMs = pinned.provenMs
    return this.#snapshot
  }

  /** Of another history, which may begin at a lower position, more is proven. */
  #isBefore({ snapshot, provenMs }: Pinned, current: Snapshot): boolean {
    return snapshot.lsn < current.lsn && provenMs <= this.#provenMs
  }

  async #tokenOfDatabase({ signal }: ReadOptions): Promise<string | undefined> {
    if (!this.#isBehindDatabase) return undefined
    // Reset first: what is read meanwhile may be newer than this token.
    this.#isBehindDatabase = false
    try {
      return await this.#context.token(signal)
    } catch (error) {
      this.#isBehindDatabase = true
      throw error
    }
  }

  /** Lets go of what it has kept. */
  end(): void {
    this.#hasEnded = true
    for (const snapshot of this.#opened.splice(0)) snapshot.close()
  }
}
