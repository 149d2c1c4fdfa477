import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'
import {
  type Cache,
  defineTable,
  type FindMany,
  type LocalFindMany,
  type Whole,
  type LocalReads,
  NotLocalError,
  openCache,
  type Snapshot,
} from '../src/index.js'
import {
  type QueryColumn,
  queryColumnTypes,
  randomAlternatives,
  randomCondition,
  STORED_ONLY,
  type TwoConditions,
} from './query-columns.js'
import { Random } from './random.js'
import type { DecoderName } from '../src/decode/index.js'
import { assumptionsFor } from './decoders.js'

export interface QueriesReport {
  readonly queries: number
  /** Answered in memory. */
  readonly local: number
  readonly differences: number
  /** Queries that memory left to PostgreSQL, by its reason. */
  readonly notLocal: Readonly<Record<string, number>>
  /** Queries by the way in which memory found the rows. */
  readonly plans: Readonly<Record<string, number>>
  /** Queries that were also answered by PostgreSQL through the cache. */
  readonly fallThrough: number
  readonly tables: number
  readonly commits: number
  /** Indexes that were made while their table was read and written. */
  readonly indexesMade: number
}

export interface QueriesOptions {
  readonly databaseUrl: string
  readonly seed: number
  readonly queries: number
  readonly decoder: DecoderName
}

const QUERIES_PER_TABLE = 2_500
const QUERIES_PER_COMMIT = 50
const ROWS = 200
const VIEWS_MAX = 3
const CATCH_UP_MS = 20_000
const ZONES = ['UTC', 'America/New_York', 'Asia/Kolkata', 'Europe/London']

type Row = Record<string, unknown>

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
    const world = await World.open(options, random.fork(left), ++tally.tables)
    try {
      await world.run(Math.min(left, QUERIES_PER_TABLE), tally)
    } finally {
      await world[Symbol.asyncDispose]()
    }
  }
  const { first, ...report } = tally.result()
  return { report, firstDifference: first }
}

class Tally {
  queries = 0
  local = 0
  differences = 0
  fallThrough = 0
  tables = 0
  commits = 0
  indexesMade = 0
  first: string | undefined
  readonly notLocal: Record<string, number> = {}
  readonly plans: Record<string, number> = {}

  count(counts: Record<string, number>, name: string): void {
    counts[name] = (counts[name] ?? 0) + 1
  }

  result() {
    const { queries, local, differences, notLocal, plans, fallThrough, tables, commits, indexesMade } = this
    const counts = { queries, local, differences, notLocal, plans, fallThrough, tables, commits, indexesMade }
    return { ...counts, first: this.first }
  }
}

/** PostgreSQL as of one commit. */
class Oracle {
  readonly #client: pg.Client
  /** Settles when the client is free. */
  #free: Promise<unknown> = Promise.resolve()

  private constructor(client: pg.Client) {
    this.#client = client
  }

  static async open(config: pg.ClientConfig, table: string): Promise<Oracle> {
    const client = new pg.Client(config)
    await client.connect()
    await client.query(`begin isolation level repeatable read read only; select from ${table}`)
    return new Oracle(client)
  }

  /** One query after the other, in the order in which they were asked. */
  ask(sql: string, parameters: unknown[]): Promise<readonly Row[]> {
    const answered = this.#free.then(async () => (await this.#client.query<Row>(sql, parameters)).rows)
    this.#free = answered.catch(() => 'told to whoever asked')
    return answered
  }

  close(): Promise<void> {
    return this.#client.end()
  }
}

/** One commit, seen by PostgreSQL and by memory. */
interface View {
  readonly oracle: Oracle
  readonly snapshot: Snapshot
  readonly local: LocalReads<Row>
}

class World implements AsyncDisposable {
  readonly #random: Random
  readonly #columns: readonly QueryColumn[]
  readonly #config: pg.ClientConfig
  readonly #pool: pg.Pool
  readonly #writer: pg.Client
  readonly #cache: Cache
  readonly #name: string
  readonly #table
  readonly #views: View[] = []
  /** The columns of each index whose values memory compares. */
  readonly #indexes: QueryColumn[][] = []
  /** The properties of those that are made while the table is read and written. */
  readonly #undeclared: string[][] = []
  #nextId = 1

  private constructor(
    random: Random,
    columns: readonly QueryColumn[],
    config: pg.ClientConfig,
    pool: pg.Pool,
    writer: pg.Client,
    cache: Cache,
    name: string,
    table: ReturnType<typeof defineTable<Row>>,
  ) {
    this.#random = random
    this.#columns = columns
    this.#config = config
    this.#pool = pool
    this.#writer = writer
    this.#cache = cache
    this.#name = name
    this.#table = table
  }

  static async open(
    { databaseUrl, decoder }: QueriesOptions,
    random: Random,
    number: number,
  ): Promise<World> {
    const types = random.sample(
      queryColumnTypes.filter(({ local }) => local),
      random.between(3, 6),
    )
    if (random.chance(0.5)) types.push(random.pick(queryColumnTypes.filter(({ local }) => !local)))
    const columns = [{ name: 'id', type: ID }, ...types.map((type, i) => ({ name: `c${i}`, type }))]
    const name = `queried_${number}`
    const zone = random.pick(ZONES)
    const config = { connectionString: databaseUrl, options: `-c timezone=${zone}` }
    const writer = new pg.Client(config)
    await writer.connect()
    const list = columns.slice(1).map(column => `"${column.name}" ${column.type.sql}`)
    await writer.query(`create table ${name} (id integer primary key, ${list.join(', ')})`)
    const pool = new pg.Pool({ ...config, max: 2 })
    pool.on('error', () => undefined)
    const names = columns.map(column => column.name)
    const indexes = Array.from({ length: random.between(2, 5) }, () =>
      random.sample(names, random.between(1, 3)),
    )
    const [first, ...others] = indexes
    const declared = [first!, ...others.filter(() => random.chance(0.5))]
    const table = defineTable<Row>({ name, indexes: declared })
    const world = { columns, config, pool, writer, name, table }
    await fill(world, random)
    const cache = await openCache({
      pool,
      entities: [table],
      decoder,
      snapshotMaxAgeMs: 3_600_000,
      onStale: { local: 'serve' },
      ...assumptionsFor(decoder),
    })
    const made = new World(random, columns, config, pool, writer, cache, name, table)
    made.#nextId = ROWS + 1
    const isComparable = (property: string): boolean =>
      columns.find(column => column.name === property)!.type.local
    const compared = indexes.filter(properties => properties.every(isComparable))
    made.#undeclared.push(...compared.filter(properties => !declared.includes(properties)))
    made.#indexes.push(
      ...compared.map(properties => columns.filter(column => properties.includes(column.name))),
    )
    return made
  }

  async run(queries: number, tally: Tally): Promise<void> {
    const making: Promise<void>[] = []
    for (let left = queries; left > 0; left -= QUERIES_PER_COMMIT) {
      if (this.#random.chance(0.05)) await this.#truncate()
      await this.#commit()
      tally.commits++
      await this.#cache.waitFor(await this.#cache.token(), { timeoutMs: CATCH_UP_MS })
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

  async #look(): Promise<void> {
    if (this.#views.length === VIEWS_MAX) {
      const [gone] = this.#views.splice(this.#random.below(VIEWS_MAX), 1)
      await closeView(gone!)
    }
    const oracle = await Oracle.open(this.#config, this.#name)
    const snapshot = this.#cache.snapshot()
    this.#views.push({ oracle, snapshot, local: snapshot.table(this.#table).local })
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
    const query = this.#randomQuery()
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
    return this.#columns.map(({ name, type }) => `${name} ${type.sql}`).join(', ')
  }

  #randomQuery(): RandomQuery {
    const random = this.#random
    const condition = this.#randomWhere()
    const parameters: unknown[] = []
    const where = `where ${condition.sql(parameters)}`
    if (random.chance(0.2))
      return {
        sql: `select count(*) from ${this.#name} ${where}`,
        parameters,
        query: { where: condition.where },
        counts: true,
        sorted: true,
        ask: local => local.count({ where: condition.where }),
      }
    const sorted = random.chance(0.7)
    const { orderBy, orderSql } = this.#randomOrder()
    const limits =
      sorted && random.chance(0.6) ? { skip: random.below(5), take: random.below(12) } : undefined
    const selected = random.chance(0.2) ? ['id', random.pick(this.#columns.slice(1)).name] : undefined
    // Selecting columns by chance is beyond what the types say.
    const query = {
      where: condition.where,
      ...(sorted && { orderBy }),
      ...limits,
      ...(selected && { select: Object.fromEntries(selected.map(name => [name, true])) }),
    } as object as LocalFindMany<Row> & Whole
    const sql = [
      `select ${selected?.map(name => `"${name}"`).join(', ') ?? '*'} from ${this.#name} ${where}`,
      sorted ? orderSql : '',
      limits === undefined ? '' : `limit ${limits.take} offset ${limits.skip}`,
    ].join(' ')
    return {
      sql,
      parameters,
      query,
      counts: false,
      sorted,
      ask: local => local.findMany(query),
    }
  }

  /** Now and then conditions that indexes serve: those of all columns at random rarely are. */
  #randomWhere(): TwoConditions {
    const random = this.#random
    if (this.#indexes.length > 0 && random.chance(0.2)) return randomAlternatives(random, this.#indexes)
    return randomCondition(random, this.#columns)
  }

  #randomOrder(): { orderBy: object[]; orderSql: string } {
    const random = this.#random
    const sortable = this.#columns.slice(1).filter(({ type }) => !type.equalityOnly)
    const names = [...random.sample(sortable, random.below(3)).map(({ name }) => name), 'id']
    const orders = names.map(name => {
      const sort = random.pick(['asc', 'desc'] as const)
      const nulls = random.chance(0.15) ? random.pick(['first', 'last'] as const) : undefined
      return {
        orderBy: { [name]: nulls === undefined ? sort : { sort, nulls } },
        sql: `"${name}" ${sort}${nulls === undefined ? '' : ` nulls ${nulls}`}`,
      }
    })
    return {
      orderBy: orders.map(order => order.orderBy),
      orderSql: `order by ${orders.map(({ sql }) => sql).join(', ')}`,
    }
  }

  async #commit(): Promise<void> {
    const random = this.#random.fork(this.#random.uint32())
    await this.#writer.query('begin')
    for (let i = random.between(1, 12); i > 0; i--) await this.#change(random)
    await this.#writer.query(random.chance(0.1) ? 'rollback' : 'commit')
  }

  /** PostgreSQL's own readers would be waited for, so they go; memory's snapshot stays. */
  async #truncate(): Promise<void> {
    using before = this.#cache.snapshot()
    const { size } = before.table(this.#table).local
    for (const view of this.#views.splice(0)) await closeView(view)
    await this.#writer.query(`begin; truncate ${this.#name}`)
    await insert(this.#writer, this.#name, this.#columns, this.#nextId, this.#random, ROWS)
    this.#nextId += ROWS
    await this.#writer.query('commit')
    await this.#cache.waitFor(await this.#cache.token(), { timeoutMs: CATCH_UP_MS })
    const still = before.table(this.#table).local.findMany().length
    if (still !== size) throw new Error(`A snapshot of ${size} rows has ${still} after a TRUNCATE.`)
  }

  async #change(random: Random): Promise<void> {
    const kind = random.weighted({ insert: 4, update: 6, delete: 3, move: 1 })
    const id = `(select id from ${this.#name} offset ${random.below(ROWS)} limit 1)`
    const column = random.pick(this.#columns.slice(1))
    switch (kind) {
      case 'insert':
        await insert(this.#writer, this.#name, this.#columns, this.#nextId++, random)
        break
      case 'update':
        await this.#writer.query(`update ${this.#name} set "${column.name}" = $1 where id = ${id}`, [
          randomValue(column, random),
        ])
        break
      case 'delete':
        await this.#writer.query(`delete from ${this.#name} where id = ${id}`)
        break
      case 'move':
        await this.#writer.query(`update ${this.#name} set id = $1 where id = ${id}`, [this.#nextId++])
        break
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const view of this.#views) await closeView(view)
    await this.#cache.close()
    await this.#writer.query(`drop table ${this.#name}`)
    await this.#writer.end()
    await this.#pool.end()
  }
}

type Answer = number | readonly Row[]

interface RandomQuery {
  readonly sql: string
  readonly parameters: unknown[]
  readonly query: LocalFindMany<Row> & Whole
  readonly counts: boolean
  readonly sorted: boolean
  readonly ask: (local: LocalReads<Row>) => Answer
}

const ID = { sql: 'integer', values: [1, 2, 5, 50, 100, 150, 199, 230, 260], local: true }

async function closeView({ oracle, snapshot }: View): Promise<void> {
  snapshot.close()
  await oracle.close()
}

async function fill(
  { writer, name, columns }: { writer: pg.Client; name: string; columns: readonly QueryColumn[] },
  random: Random,
): Promise<void> {
  await insert(writer, name, columns, 1, random, ROWS)
}

/** Rows of these ids and as many as follow, in one statement: hundreds of ways to the server and back would take longer than all queries. */
async function insert(
  writer: pg.Client,
  name: string,
  columns: readonly QueryColumn[],
  firstId: number,
  random: Random,
  rows = 1,
): Promise<void> {
  const values: unknown[] = []
  const lists = Array.from({ length: rows }, (_, row) => {
    const one = [firstId + row, ...columns.slice(1).map(column => randomValue(column, random))]
    return `(${one.map(value => `$${values.push(value)}`).join(', ')})`
  })
  await writer.query(`insert into ${name} values ${lists.join(', ')}`, values)
}

function randomValue({ type }: QueryColumn, random: Random): unknown {
  if (random.chance(0.15)) return null
  const odd = STORED_ONLY[type.sql]
  return odd !== undefined && random.chance(0.1) ? random.pick(odd) : random.pick(type.values)
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
