import { SnapshotTooOldError } from '../errors.js'
import type { FreshnessGate } from '../freshness/gate.js'
import type { ReadOptions, RequestScope, Snapshot } from './types.js'

/** What a request's scope needs of the cache. */
export interface ScopeContext {
  readonly gate: FreshnessGate
  readonly onUnknown: 'throw' | 'database'
  /** The newest commit, kept readable; null if PostgreSQL is to be asked instead. */
  readonly pin: (options: ReadOptions) => Promise<Snapshot | null>
  /** Whether the snapshot's commit is at or after the token. @throws {TokenError} */
  readonly covers: (snapshot: Snapshot, token: string) => Promise<boolean>
  /** A token at or after everything that PostgreSQL shows now. */
  readonly token: (signal?: AbortSignal) => Promise<string>
}

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

  private constructor(
    context: ScopeContext,
    options: ReadOptions,
    snapshot: Snapshot | null,
    provenMs: number,
  ) {
    this.#context = context
    this.#options = options
    this.#snapshot = snapshot
    this.#provenMs = provenMs
  }

  /** Begins at the newest commit that is at or after `options.after`, or at a snapshot of the caller's, if that is. */
  static async open(
    context: ScopeContext,
    options: ReadOptions,
    given: Snapshot | undefined,
  ): Promise<ReadScope> {
    const { after, ...policies } = options
    const isGiven = given !== undefined && (after === undefined || (await context.covers(given, after)))
    if (isGiven) return new ReadScope(context, policies, given, Number.NEGATIVE_INFINITY)
    const snapshot = await context.pin(options)
    const scope = new ReadScope(context, policies, snapshot, context.gate.provenMs)
    if (snapshot !== null) scope.#opened.push(snapshot)
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

  /** What a read with these options is to see; null if it is to ask PostgreSQL. Moves the scope forward if it must. */
  async at(options: ReadOptions): Promise<Snapshot | null> {
    options.signal?.throwIfAborted()
    const snapshot = this.#snapshot
    if (snapshot === null || (await this.#isEnough(snapshot, options))) return snapshot
    return this.#advance(options)
  }

  async #isEnough(snapshot: Snapshot, { after, maxStaleness }: ReadOptions): Promise<boolean> {
    if (after !== undefined && !(await this.#context.covers(snapshot, after))) return false
    if (maxStaleness !== undefined && this.#ageMs() > maxStaleness) return false
    return !this.#isBehindDatabase
  }

  #ageMs(): number {
    const { gate } = this.#context
    return gate.stalenessMs() + gate.provenMs - this.#provenMs
  }

  async #advance(options: ReadOptions): Promise<Snapshot | null> {
    const { gate, pin } = this.#context
    const after = await this.#tokenOfDatabase(options)
    const snapshot = await pin({ ...this.#options, ...options, ...(after === undefined ? {} : { after }) })
    if (snapshot !== null && this.#hasEnded) {
      snapshot.close()
      throw new SnapshotTooOldError('its request was over.')
    }
    if (snapshot !== null) this.#opened.push(snapshot)
    // Another read may have given memory up meanwhile.
    if (this.#snapshot !== null) this.#snapshot = snapshot
    this.#provenMs = gate.provenMs
    return this.#snapshot
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
