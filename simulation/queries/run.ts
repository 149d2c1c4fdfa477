import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'
import {
  type Cache,
  defineTable,
  type FindMany,
  NotLocalError,
  openCache,
  type Whole,
} from '../../src/index.js'
import type { DecoderName } from '../../src/decode/index.js'
import { assumptionsFor } from '../decoders.js'
import { Random } from '../random.js'
import type { QueryColumn } from './columns.js'
import { closeView, Oracle, type View } from './postgres-view.js'
import { QueriedTable, randomColumns, SLUG } from './queried-table.js'
import { type Answer, type RandomQuery, randomQuery, type Row } from './random-query.js'
import { type QueriesReport, Tally } from './tally.js'

export interface QueriesOptions {
  readonly databaseUrl: string
  readonly seed: number
  readonly queries: number
  readonly decoder: DecoderName
}

const QUERIES_PER_TABLE = 2_500
const QUERIES_PER_COMMIT = 50
const VIEWS_MAX = 3
const CATCH_UP_MS = 20_000
const ZONES = ['UTC', 'America/New_York', 'Asia/Kolkata', 'Europe/London']

/** Random tables, data and queries, while commits are applied and snapshots are open: each local answer beside PostgreSQL's at the same commit. */
export async function runQueries(
  options: QueriesOptions,
): Promise<{ readonly report: QueriesReport; readonly firstDifference: string | undefined }> {
  const random = new Random(options.seed)
  const tally = new Tally()
  const setup = new pg.Client({ connectionString: options.databaseUrl })
  await setup.connect()
  try {
    await setup.query(`create extension if not exists citext;
      create type query_mood as enum ('sad', 'ok', 'happy');
      alter type query_mood add value 'so-so' before 'ok';
      create collation query_folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
  } finally {
    await setup.end()
  }
  for (let left = options.queries; left > 0; left -= QUERIES_PER_TABLE) {
    await using world = await World.open(options, random.fork(left), ++tally.tables)
    await world.run(Math.min(left, QUERIES_PER_TABLE), tally)
  }
  return { report: tally.report(), firstDifference: tally.first }
}

/** Which columns an index has, and whether it is declared or made while the table is read and written. */
interface RandomIndex {
  readonly properties: string[]
  readonly isDeclared: boolean
}

function randomIndexes(random: Random, columns: readonly QueryColumn[]): readonly RandomIndex[] {
  const names = columns.map(column => column.name)
  const lists = Array.from({ length: random.between(2, 5) }, () => random.sample(names, random.between(1, 3)))
  if (random.chance(0.7)) lists.push([SLUG])
  return lists.map((properties, at) => ({ properties, isDeclared: at === 0 || random.chance(0.5) }))
}

/** A table, a cache that has it, and the commits at which both are asked. */
class World implements AsyncDisposable {
  readonly #random: Random
  readonly #config: pg.ClientConfig
  readonly #pool: pg.Pool
  readonly #written: QueriedTable
  readonly #cache: Cache
  readonly #table
  readonly #views: View[] = []
  /** The columns of each index whose values memory compares. */
  readonly #indexes: readonly (readonly QueryColumn[])[]
  /** The properties of those that are made while the table is read and written. */
  readonly #undeclared: string[][]

  private constructor(
    random: Random,
    config: pg.ClientConfig,
    pool: pg.Pool,
    written: QueriedTable,
    cache: Cache,
    table: ReturnType<typeof defineTable<Row>>,
    indexes: readonly RandomIndex[],
  ) {
    const { columns } = written
    const isComparable = (property: string): boolean =>
      columns.find(column => column.name === property)!.type.local
    const compared = indexes.filter(({ properties }) => properties.every(isComparable))
    this.#random = random
    this.#config = config
    this.#pool = pool
    this.#written = written
    this.#cache = cache
    this.#table = table
    this.#indexes = compared.map(({ properties }) => columns.filter(({ name }) => properties.includes(name)))
    this.#undeclared = compared.filter(({ isDeclared }) => !isDeclared).map(({ properties }) => properties)
  }

  static async open(
    { databaseUrl, decoder }: QueriesOptions,
    random: Random,
    number: number,
  ): Promise<World> {
    const columns = randomColumns(random)
    const name = `queried_${number}`
    const config = { connectionString: databaseUrl, options: `-c timezone=${random.pick(ZONES)}` }
    const written = await QueriedTable.create(config, name, columns)
    const pool = new pg.Pool({ ...config, max: 2 })
    pool.on('error', () => undefined)
    const indexes = randomIndexes(random, columns)
    const declared = indexes.filter(({ isDeclared }) => isDeclared)
    const table = defineTable<Row>({ name, indexes: declared.map(({ properties }) => properties) })
    await written.fill(random)
    const cache = await openCache({
      pool,
      entities: [table],
      decoder,
      snapshotMaxAgeMs: 3_600_000,
      onStale: { local: 'serve' },
      ...assumptionsFor(decoder),
    })
    return new World(random, config, pool, written, cache, table, indexes)
  }

  async run(queries: number, tally: Tally): Promise<void> {
    const making: Promise<void>[] = []
    for (let left = queries; left > 0; left -= QUERIES_PER_COMMIT) {
      if (this.#random.chance(0.05)) await this.#replaceAll()
      await this.#commit()
      tally.commits++
      await this.#catchUp()
      if (this.#random.chance(0.3)) await this.#lookAway()
      await this.#look()
      const count = Math.min(left, QUERIES_PER_COMMIT)
      // Half of the queries see the newest commit, and half come while the next one is being applied.
      await this.#askSome(tally, count / 2, true)
      const writing = this.#commit()
      if (this.#undeclared.length > 0 && this.#random.chance(0.5)) {
        const made = this.#cache.table(this.#table).createIndex(this.#undeclared.pop()!)
        // Its failure is told in the end.
        made.catch(() => undefined)
        making.push(made)
        tally.indexesMade++
      }
      await this.#askSome(tally, count / 2, false)
      await writing
      tally.commits++
    }
    await Promise.all(making)
  }

  #commit(): Promise<void> {
    return this.#written.commit(this.#random.fork(this.#random.uint32()))
  }

  async #catchUp(): Promise<void> {
    await this.#cache.waitFor(await this.#cache.token(), { timeoutMs: CATCH_UP_MS })
  }

  async #look(): Promise<void> {
    if (this.#views.length === VIEWS_MAX) {
      const [gone] = this.#views.splice(this.#random.below(VIEWS_MAX), 1)
      await closeView(gone!)
    }
    const oracle = await Oracle.open(this.#config, this.#written.name)
    const snapshot = this.#cache.snapshot()
    this.#views.push({ oracle, snapshot, local: snapshot.table(this.#table).local })
  }

  /** Nobody sees an older state any more: then rows have one version each, and are found in shorter ways. */
  async #lookAway(): Promise<void> {
    for (const view of this.#views.splice(0)) await closeView(view)
  }

  /** PostgreSQL's own readers would be waited for, so they go; memory's snapshot stays. */
  async #replaceAll(): Promise<void> {
    using before = this.#cache.snapshot()
    const { size } = before.table(this.#table).local
    await this.#lookAway()
    await this.#written.replaceAll(this.#random)
    await this.#catchUp()
    const still = before.table(this.#table).local.findMany().length
    if (still !== size) throw new Error(`A snapshot of ${size} rows has ${still} after a TRUNCATE.`)
  }

  /** Asks so many queries without waiting for one before the next is sent: the way to the server and back would take most of the time. */
  async #askSome(tally: Tally, count: number, newest: boolean): Promise<void> {
    const asked: Promise<void>[] = []
    for (let i = 0; i < count; i++) asked.push(this.#ask(tally, newest))
    await Promise.all(asked)
  }

  /** What is up to chance is drawn before the first wait, so that a seed says all. */
  async #ask(tally: Tally, newest: boolean): Promise<void> {
    const view = newest ? this.#views.at(-1)! : this.#random.pick(this.#views)
    const { name, columns } = this.#written
    const query = randomQuery(this.#random, { name, columns, indexes: this.#indexes })
    const table = this.#cache.table(this.#table)
    const local = newest && this.#random.chance(0.5) ? table.local : view.local
    const alsoFallsThrough = this.#random.chance(0.1)
    tally.queries++
    const expected = await view.oracle.ask(query.sql, query.parameters)
    let isLocal = false
    try {
      this.#compare(tally, query, expected, query.ask(local), 'memory')
      isLocal = true
      tally.local++
      // Now it is one of a shape that memory has met, and others of that shape have been asked.
      this.#compare(tally, query, expected, query.ask(local), 'memory, asked again')
      if (newest) tally.count(tally.plans, table.explain(query.query).plan ?? 'none')
    } catch (error) {
      if (!(error instanceof NotLocalError))
        throw new Error(`${query.sql}: ${String(error)}`, { cause: error })
      tally.count(tally.notLocal, error.reason)
    }
    if (!newest || (isLocal && !alsoFallsThrough)) return
    tally.fallThrough++
    const asked: FindMany<Row> & Whole = { ...query.query, maxStaleness: 0, onStale: 'database' }
    const fallen: Answer = query.counts ? await table.count(asked) : await table.findMany(asked)
    this.#compare(tally, query, expected, fallen, 'PostgreSQL')
  }

  #compare(tally: Tally, query: RandomQuery, expected: readonly Row[], answered: Answer, by: string): void {
    const wanted: Answer = query.counts ? Number(expected[0]!['count']) : expected
    const same = isDeepStrictEqual(plain(wanted, query.sorted), plain(answered, query.sorted))
    if (same) return
    tally.differences++
    tally.first ??= `${by}, ${this.#describe()}\n${query.sql}\n${text(query.parameters)}\n${text(query.query)}\nexpected ${text(wanted)}\ngot ${text(answered)}`
  }

  #describe(): string {
    return this.#written.columns.map(({ name, type }) => `${name} ${type.sql}`).join(', ')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lookAway()
    await this.#cache.close()
    await this.#written[Symbol.asyncDispose]()
    await this.#pool.end()
  }
}

/** Plain rows; in the order of their ids where the query asks for none. */
function plain(answer: Answer, sorted: boolean): unknown {
  if (typeof answer === 'number') return answer
  // Dates beyond JavaScript's range are invalid, and no invalid Date equals another.
  const shown = (value: unknown): unknown =>
    value instanceof Date && Number.isNaN(value.getTime()) ? 'Invalid Date' : value
  const rows = answer.map(row =>
    Object.fromEntries(Object.entries(row).map(([name, value]) => [name, shown(value)])),
  )
  return sorted ? rows : rows.sort((a, b) => Number((a as Row)['id']) - Number((b as Row)['id']))
}

function text(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? `${each}n` : each))
}
