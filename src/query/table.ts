import { KeyError, NotFoundError, OptionError } from '../errors.js'
import type { AskedQuery } from './asked.js'
import { answer, type ReadContext, type ReadSession, type TableSource } from './answer.js'
import { checkOptions, checkWait, READ_OPTIONS } from './check-read.js'
import { evict, fillByKey, fillQuery, prefetch } from './fill.js'
import { type LiveTable, lookUp } from './live.js'
import { LocalTable } from './local.js'
import { readFindMany } from './query.js'
import type { Explanation } from './query-types.js'
import type {
  ChangesOptions,
  CreateIndexOptions,
  FindUnique,
  Key,
  PrefetchOptions,
  ReadOptions,
  SessionTable,
  SnapshotTable,
  Table,
  TableChange,
  Watched,
} from './types.js'

const FIND_OPTIONS: ReadonlySet<string> = new Set(['where', 'consistency', ...READ_OPTIONS])
const PREFETCH_OPTIONS: ReadonlySet<string> = new Set(['signal'])
const INDEX_OPTIONS: ReadonlySet<string> = new Set(['signal', 'onProgress'])
const CHANGES_OPTIONS: ReadonlySet<string> = new Set(['where', 'since', 'signal'])

/** The asynchronous reads of a table as it is now: memory where that proves the answer, else PostgreSQL, as the options say. */
class AsyncReads<Row extends object> implements SessionTable<Row> {
  readonly #source: TableSource
  readonly #context: ReadContext

  constructor(source: TableSource, context: ReadContext) {
    this.#source = source
    this.#context = context
  }

  async findUnique(query: FindUnique<Row>): Promise<Row | null> {
    return this.#findUnique<null>(query)
  }

  /** `load` stands for asking PostgreSQL. */
  async findUniqueOr<T>(query: FindUnique<Row>, load: () => Promise<T>): Promise<Row | null | T> {
    return this.#findUnique(query, load)
  }

  #findUnique<T>(query: FindUnique<Row>, load?: () => Promise<T>): Promise<Row | null | T> {
    checkFind(this.#source.live, query, FIND_OPTIONS)
    checkConsistency(query.consistency)
    const { signal, consistency } = query
    // As it is now: whoever asks may use the object for the next question before this one is answered.
    const where = { ...query.where }
    return answer<Row, Row | null | T>(this.#context, this.#source, query, {
      memory: live => (lookUp(live, where, live.store.visible) ?? null) as Row | null,
      snapshot: table => table.findUnique({ where, ...(signal === undefined ? {} : { signal }) }),
      database: async live => {
        const { value, ...at } = await this.#context.database.findByKey(live, where, signal)
        return { value: value as Row | null, ...at }
      },
      ...(load === undefined ? {} : { load }),
      fill: async live => {
        const filled = await fillByKey(live, where, consistency === 'fresh', signal)
        return filled === undefined ? undefined : { value: filled.row as Row | null, lsn: filled.lsn }
      },
    })
  }

  async findUniqueOrThrow(query: FindUnique<Row>): Promise<Row> {
    const row = await this.findUnique(query)
    if (row === null) throw new NotFoundError(this.#source.live.mapping.name)
    return row
  }

  // `never`: what comes back has the type that the interface's overloads say.
  async findMany(query: object = {}): Promise<never[]> {
    const asked = this.#source.live.finder.ask('findMany', query, READ_OPTIONS)
    return this.#find(asked, query, table => table.findMany(ofSnapshot(query))) as Promise<never[]>
  }

  async findFirst(query: object = {}): Promise<null> {
    const asked = this.#source.live.finder.ask('findFirst', query, READ_OPTIONS)
    const [row] = await this.#find(asked, query, async table => {
      const found = await table.findFirst(ofSnapshot(query))
      return found === null ? [] : [found]
    })
    return (row ?? null) as unknown as null
  }

  #find(
    asked: AskedQuery,
    options: ReadOptions,
    snapshot: (table: SnapshotTable<Row>) => Promise<Row[]>,
  ): Promise<object[]> {
    return answer<Row, object[]>(this.#context, this.#source, options, {
      memory: live => live.finder.findAsked(asked, live.store.visible),
      snapshot,
      database: live => this.#context.database.findMany(live, asked.checked, options.signal),
      fill: async live => {
        const filled = await fillQuery(live, asked.checked, options.signal)
        return filled === undefined ? undefined : { value: filled.rows, lsn: filled.lsn }
      },
    })
  }

  async count(query: object = {}): Promise<number> {
    const asked = this.#source.live.finder.ask('count', query, READ_OPTIONS)
    const options: ReadOptions = query
    return answer<Row, number>(this.#context, this.#source, options, {
      memory: live => live.finder.countAsked(asked, live.store.visible),
      snapshot: table => table.count(ofSnapshot(query)),
      database: live => this.#context.database.count(live, asked.checked.where, options.signal),
    })
  }

  explain(query: object = {}): Explanation {
    const { mapping, finder, store } = this.#source.live
    return finder.explain(readFindMany(mapping, query), store.visible)
  }
}

/** What the cache does for its tables: it goes on after the call. */
export interface TableFollowers<Row> {
  readonly changes: (options: ChangesOptions<Row>) => AsyncIterableIterator<TableChange<Row>>
  readonly watch: (query: object, signal: AbortSignal | undefined) => AsyncIterableIterator<Watched<Row>>
  readonly createIndex: (properties: readonly string[], options: CreateIndexOptions) => Promise<void>
}

/** A table as it is now. */
export class CacheTable<Row extends object> extends AsyncReads<Row> implements Table<Row> {
  readonly local: LocalTable<Row>
  readonly #source: { live: LiveTable }
  readonly #context: ReadContext
  readonly #followers: TableFollowers<Row>

  constructor(live: LiveTable, context: ReadContext, followers: TableFollowers<Row>) {
    const source = { live }
    super(source, context)
    this.local = new LocalTable<Row>(live, context.gate)
    this.#source = source
    this.#context = context
    this.#followers = followers
  }

  /** The generation that is read. */
  get live(): LiveTable {
    return this.#source.live
  }

  /** Reads another generation from now on. */
  follow(live: LiveTable): void {
    this.#source.live = live
    this.local.follow(live)
  }

  /** The table as one session reads it. */
  within(session: ReadSession): SessionTable<Row> {
    return new AsyncReads<Row>(this.#source, { ...this.#context, session })
  }

  async prefetch(keys: Iterable<Key<Row>>, options: PrefetchOptions = {}): Promise<void> {
    const { signal } = checkOptions('prefetch', options, PREFETCH_OPTIONS) as PrefetchOptions
    checkWait({ signal })
    await prefetch(this.live, keys, signal)
  }

  async createIndex(properties: readonly string[], options: CreateIndexOptions = {}): Promise<void> {
    checkOptions('createIndex', options, INDEX_OPTIONS)
    await this.#followers.createIndex(properties, options)
  }

  evict(key: Key<Row>): boolean {
    return evict(this.live, key)
  }

  changes(options: ChangesOptions<Row> = {}): AsyncIterableIterator<TableChange<Row>> {
    checkOptions('changes', options, CHANGES_OPTIONS)
    return this.#followers.changes(options)
  }

  // `never`: what comes back has the type that the interface's overloads say.
  watch(query: object = {}): AsyncIterableIterator<never> {
    const { signal, ...question } = query as { readonly signal?: AbortSignal }
    const { gate } = this.#context
    if (!gate.fresh) gate.pass()
    return this.#followers.watch(question, signal) as AsyncIterableIterator<never>
  }
}

/** The query without what a snapshot, which is as old as it is, does not take. */
function ofSnapshot(query: object): object {
  const names = Object.entries(query).filter(([name]) => name === 'signal' || !READ_OPTIONS.has(name))
  return Object.fromEntries(names)
}

export function checkFind({ mapping }: LiveTable, query: unknown, known: ReadonlySet<string>): void {
  const { where } = checkOptions('findUnique', query, known) as { where?: unknown }
  if (typeof where !== 'object' || where === null)
    throw new KeyError(mapping.name, 'findUnique wants it in "where".')
}

function checkConsistency(consistency: unknown): void {
  if (consistency !== undefined && consistency !== 'consistent' && consistency !== 'fresh')
    throw new OptionError('consistency', "give 'consistent' or 'fresh'.")
}
