import { NotFoundError } from '../errors.js'
import type { Snapshot as StoreSnapshot } from '../store/snapshot.js'
import type { BeyondMemory } from './beyond-memory.js'
import type { LiveTable } from './live.js'
import { SnapshotLocalTable } from './local.js'
import { readCount } from './query.js'
import { checkFind } from './table.js'
import type { FindInSnapshot, SnapshotTable } from './types.js'

/** A snapshot is as old as it is. */
const FIND_OPTIONS: ReadonlySet<string> = new Set(['where', 'signal'])
/** What a query may have beside its own parts. */
const ASIDE: ReadonlySet<string> = new Set(['signal'])

/** A table as of the commit that a snapshot has pinned. Of a whole table memory has most answers. */
export class CacheSnapshotTable<Row extends object> implements SnapshotTable<Row> {
  readonly local: SnapshotLocalTable<Row>
  readonly #live: LiveTable
  readonly #snapshot: StoreSnapshot
  readonly #beyond: BeyondMemory
  readonly #check: () => void

  /** `check` throws if the snapshot can't be read any more. */
  constructor(live: LiveTable, snapshot: StoreSnapshot, beyond: BeyondMemory, check: () => void) {
    this.local = new SnapshotLocalTable<Row>(live, snapshot, check)
    this.#live = live
    this.#snapshot = snapshot
    this.#beyond = beyond
    this.#check = check
  }

  async findUnique(query: FindInSnapshot<Row>): Promise<Row | null> {
    checkFind(this.#live, query, FIND_OPTIONS)
    const { signal } = query
    const where = { ...query.where }
    signal?.throwIfAborted()
    const memory = (): object | null => this.local.get(where) ?? null
    return (await this.#ask(memory, () => this.#beyond.findUnique(this.#live, where, signal))) as Row | null
  }

  async findUniqueOrThrow(query: FindInSnapshot<Row>): Promise<Row> {
    const row = await this.findUnique(query)
    if (row === null) throw new NotFoundError(this.#live.mapping.name)
    return row
  }

  // `never`: what comes back has the type that the interface's overloads say.
  async findMany(query: object = {}): Promise<never[]> {
    return (await this.#find('findMany', query)) as never[]
  }

  async findFirst(query: object = {}): Promise<null> {
    const [row] = await this.#find('findFirst', query)
    return (row ?? null) as unknown as null
  }

  #find(kind: 'findMany' | 'findFirst', query: { readonly signal?: AbortSignal }): Promise<object[]> {
    query.signal?.throwIfAborted()
    const live = this.#live
    const asked = live.finder.ask(kind, query, ASIDE)
    this.#check()
    const memory = (): object[] => live.finder.findAsked(asked, this.#snapshot.seq)
    return this.#ask(memory, () => this.#beyond.findMany(live, asked.checked, query.signal))
  }

  async count(query: object = {}): Promise<number> {
    const { signal } = query as { readonly signal?: AbortSignal }
    const given = checkSignal(query)
    const beyond = this.#beyond
    const memory = (): number => this.local.count(given)
    if (beyond.count === undefined) return memory()
    const where = readCount(this.#live.mapping, given)
    return this.#ask(memory, () => beyond.count!(this.#live, where, signal))
  }

  async #ask<T>(memory: () => T, beyond: () => Promise<T>): Promise<T> {
    try {
      return memory()
    } catch (error) {
      if (!this.#beyond.answers(error)) throw error
      const answer = await beyond().finally(() => {
        // It may be over by now, and then the versions that it saw are gone.
        this.#check()
      })
      return answer
    }
  }
}

/** The query without what the read takes beside it. Throws the signal's reason if that has aborted. */
function checkSignal({ signal, ...query }: { readonly signal?: AbortSignal }): object {
  signal?.throwIfAborted()
  return query
}
