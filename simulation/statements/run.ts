import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { inspect, isDeepStrictEqual } from 'node:util'
import type pg from 'pg'
import type { DecoderName } from '../../src/decode/index.js'
import { type Cache, CacheError, openCache, type Snapshot } from '../../src/index.js'
import { assumptionsFor, notCarriedBy } from '../decoders.js'
import { openPool } from '../pool.js'
import { Random } from '../random.js'
import { productionsFor } from './grammar.js'
import {
  customers,
  type Declaration,
  declarationOf,
  EACH,
  keyOf,
  lines,
  orders,
  PURSES,
  purses,
  type Row,
  SCHEMA,
  type StatementTable,
  TABLES,
  tree,
} from './schema.js'
import { StatementSession } from './session.js'
import { Told } from './told.js'

export interface StatementsOptions {
  /** An empty database. */
  readonly databaseUrl: string
  readonly seed: number
  /** Transactions that are attempted. */
  readonly steps: number
  readonly decoder: DecoderName
}

export interface StatementsResult {
  readonly commits: number
  readonly statements: number
  /** Rows compared with SELECT, at barriers, in memory, in a snapshot and as the changes tell them. */
  readonly comparisons: number
  readonly barriers: number
  /** Snapshots in which all invariants were looked at, while commits came; those that were refused, by the error's code. */
  readonly snapshots: number
  readonly refusedSnapshots: Readonly<Record<string, number>>
  readonly told: number
  readonly gaps: number
  /** Of committed transactions, by what they consist of. */
  readonly productions: Readonly<Record<string, number>>
  /** Statements that the server refused, by SQLSTATE. */
  readonly refused: Readonly<Record<string, number>>
  readonly mismatch: string | undefined
}

const SESSIONS = 4
/** Transactions of each session between two barriers. */
const ROUND = 12
const CATCH_UP_MS = 60_000
const LOOK_AGAIN_MS = 5
const SNAPSHOT_EVERY_TURNS = 3
/** Keys of a bounded table that are asked for and not there. */
const ABSENT = 10

/** Several sessions carry out statements of a grammar; what memory shows and tells is compared with SELECT, and with what holds after each commit. */
export async function runStatements(options: StatementsOptions): Promise<StatementsResult> {
  const pool = openPool(options.databaseUrl, 3)
  try {
    await pool.query(SCHEMA)
    const declarations = new Map(TABLES.map(each => [each, declarationOf(each)] as const))
    await using cache = await openCache({
      pool,
      entities: [...declarations.values()],
      decoder: options.decoder,
      ...assumptionsFor(options.decoder),
      // How old it is, other scenarios ask.
      maxStaleness: 1_000,
      onStale: { local: 'serve' },
    })
    return await new Run(options, pool, cache, declarations).run()
  } finally {
    await pool.end()
  }
}

class Run {
  readonly #options: StatementsOptions
  readonly #pool: pg.Pool
  readonly #cache: Cache
  readonly #declarations: ReadonlyMap<StatementTable, Declaration>
  readonly #told = new Map<StatementTable, Told>()
  readonly #done: Record<string, number> = {}
  readonly #refused: Record<string, number> = {}
  #mismatch: string | undefined
  #comparisons = 0
  #barriers = 0
  #snapshots = 0
  readonly #refusedSnapshots: Record<string, number> = {}

  constructor(
    options: StatementsOptions,
    pool: pg.Pool,
    cache: Cache,
    declarations: ReadonlyMap<StatementTable, Declaration>,
  ) {
    this.#options = options
    this.#pool = pool
    this.#cache = cache
    this.#declarations = declarations
    for (const table of TABLES)
      if (table.maxRows === null) {
        const { local } = this.#of(table)
        this.#told.set(table, new Told(table, this.#of(table).changes(), () => local))
      }
  }

  #of(table: StatementTable) {
    return this.#cache.table(this.#declarations.get(table)!)
  }

  async run(): Promise<StatementsResult> {
    const { seed, steps } = this.#options
    const sessions = await this.#sessions(new Random(seed))
    try {
      let left = steps
      while (left > 0 && this.#mismatch === undefined) {
        const round = Math.min(left, SESSIONS * ROUND)
        left -= round
        await this.#round(sessions, Math.ceil(round / SESSIONS))
        await this.#barrier()
      }
    } finally {
      for (const session of sessions) await session[Symbol.asyncDispose]()
    }
    const sum = (of: (session: StatementSession) => number): number =>
      sessions.reduce((total, session) => total + of(session), 0)
    const told = [...this.#told.values()]
    return {
      commits: sum(({ commits }) => commits),
      statements: sum(({ statements }) => statements),
      comparisons: this.#comparisons,
      barriers: this.#barriers,
      snapshots: this.#snapshots,
      refusedSnapshots: this.#refusedSnapshots,
      told: told.reduce((total, { commits }) => total + commits, 0),
      gaps: told.reduce((total, { gaps }) => total + gaps, 0),
      productions: this.#done,
      refused: this.#refused,
      mismatch: this.#mismatch,
    }
  }

  async #sessions(random: Random): Promise<StatementSession[]> {
    const { databaseUrl, decoder } = this.#options
    const { rows } = await this.#pool.query<{ version: string }>(
      `select current_setting('server_version_num') as version`,
    )
    const productions = productionsFor({
      version: Number(rows[0]!.version),
      truncates: !notCarriedBy(decoder).includes('TRUNCATE'),
    })
    const counts = { done: this.#done, refused: this.#refused }
    return Promise.all(
      Array.from({ length: SESSIONS }, (_, number) =>
        StatementSession.open({
          databaseUrl,
          number,
          random: random.fork(number + 1),
          productions,
          ...counts,
        }),
      ),
    )
  }

  /** All sessions write at once, and somebody looks on. */
  async #round(sessions: readonly StatementSession[], transactions: number): Promise<void> {
    const over = new AbortController()
    const looking = this.#look(over.signal)
    const working = Promise.all(
      sessions.map(async session => {
        for (let i = 0; i < transactions; i++) await session.transaction()
      }),
    )
    try {
      await working
    } finally {
      over.abort()
      await looking
    }
  }

  async #look(until: AbortSignal): Promise<void> {
    let newest = 0n
    for (let turn = 0; !until.aborted; turn++) {
      await nextTurn()
      if (turn % SNAPSHOT_EVERY_TURNS !== 0) continue
      try {
        using snapshot = this.#cache.snapshot()
        if (snapshot.lsn === newest) continue
        if (snapshot.lsn < newest) this.#mismatch ??= 'A snapshot is older than the one before.'
        newest = snapshot.lsn
        this.#checkInvariants(snapshot)
        this.#snapshots++
      } catch (error) {
        if (!(error instanceof CacheError)) throw error
        this.#refusedSnapshots[error.code] = (this.#refusedSnapshots[error.code] ?? 0) + 1
        await sleep(LOOK_AGAIN_MS)
      }
    }
  }

  /** What holds after each commit. */
  #checkInvariants(snapshot: Snapshot): void {
    const rowsOf = (table: StatementTable): Row[] => [...snapshot.table(this.#declarations.get(table)!).local]
    const wrong = (what: string): void => {
      this.#mismatch ??= `In a snapshot at ${snapshot.lsn}: ${what}`
    }
    const held = rowsOf(purses)
    const sum = held.reduce((total, { balance }) => total + Number(balance), 0)
    if (sum !== PURSES * EACH) wrong(`the purses hold ${sum} instead of ${PURSES * EACH}.`)
    const people = new Set(rowsOf(customers).map(({ id }) => id))
    const totals = new Map(rowsOf(orders).map(order => [order['id'], order]))
    for (const { id, customer } of totals.values())
      if (!people.has(customer)) wrong(`order ${String(id)} is of a customer who is not there.`)
    for (const { id, owner } of held)
      if (owner !== null && !people.has(owner)) wrong(`purse ${String(id)} is owned by nobody who is there.`)
    const cents = new Map<unknown, number>()
    for (const { ord, amount, price } of rowsOf(lines)) {
      if (!totals.has(ord)) wrong(`a line is of order ${String(ord)}, which is not there.`)
      cents.set(ord, (cents.get(ord) ?? 0) + Number(amount) * Math.round(Number(price) * 100))
    }
    for (const { id, total } of totals.values())
      if (Math.round(Number(total) * 100) !== (cents.get(id) ?? 0))
        wrong(
          `order ${String(id)} has the total ${String(total)}, and its lines make ${cents.get(id) ?? 0} cents.`,
        )
    const nodes = rowsOf(tree)
    const ids = new Set(nodes.map(({ id }) => id))
    for (const { id, parent } of nodes)
      if (parent !== null && !ids.has(parent)) wrong(`node ${String(id)} has a parent that is not there.`)
  }

  /** Nobody writes, and everything has to agree. */
  async #barrier(): Promise<void> {
    const { rows: open } = await this.#pool.query<{ gid: string }>('select gid from pg_prepared_xacts')
    for (const { gid } of open) await this.#pool.query(`rollback prepared '${gid}'`)
    await this.#catchUp()
    this.#barriers++
    using snapshot = this.#cache.snapshot()
    for (const table of TABLES) {
      const columns = table.columns.map(name => `"${name}"`).join(', ')
      const { rows } = await this.#pool.query<Row>(`select ${columns} from ${table.name}`)
      const expected = new Map(rows.map(row => [keyOf(table, row), { ...row }]))
      if (table.maxRows !== null) await this.#compareBounded(table, expected)
      else {
        this.#compare(table, expected, this.#of(table).local, 'memory')
        this.#compare(table, expected, snapshot.table(this.#declarations.get(table)!).local, 'a snapshot')
        const told = this.#told.get(table)!
        this.#mismatch ??= told.problem
        this.#compare(table, expected, told.rows.values(), 'what the changes tell')
      }
    }
  }

  /** Resolves when all that was committed before is visible and told, and what was altered in silence has been read anew. */
  async #catchUp(): Promise<void> {
    const beganMs = performance.now()
    await this.#cache.waitFor(await this.#cache.token(), { timeoutMs: CATCH_UP_MS })
    // A proof that was asked for since then has found nothing altered.
    const isProven = (): boolean =>
      this.#cache.staleness() < performance.now() - beganMs &&
      this.#cache.health().tables.every(({ failed }) => failed === null)
    while (!isProven()) {
      if (performance.now() - beganMs > CATCH_UP_MS) throw new Error('Memory does not become fresh.')
      await sleep(LOOK_AGAIN_MS)
    }
    await nextTurn()
  }

  #compare(
    { name, ...table }: StatementTable,
    expected: ReadonlyMap<string, Row>,
    shown: Iterable<Row>,
    where: string,
  ): void {
    let count = 0
    for (const row of shown) {
      count++
      this.#comparisons++
      const key = keyOf({ name, ...table }, row)
      if (isDeepStrictEqual({ ...row }, expected.get(key))) continue
      this.#mismatch ??= `${name} ${key} in ${where}: ${inspect(row)} instead of ${inspect(expected.get(key))}`
    }
    if (count !== expected.size)
      this.#mismatch ??= `${name} in ${where} has ${count} rows instead of ${expected.size}.`
  }

  async #compareBounded(table: StatementTable, expected: ReadonlyMap<string, Row>): Promise<void> {
    const bounded = this.#of(table)
    const [only] = table.key
    const absent = Array.from({ length: ABSENT }, (_, i) => ({ [only!]: 1_000_000_000 + i }))
    const keys = [...[...expected.values()].map(row => ({ [only!]: row[only!] })), ...absent]
    for (const where of keys) {
      this.#comparisons++
      const found = await bounded.findUnique({ where })
      const row = expected.get(String(where[only!])) ?? null
      if (isDeepStrictEqual(found === null ? null : { ...found }, row)) continue
      this.#mismatch ??= `${table.name} ${inspect(where)}: ${inspect(found)} instead of ${inspect(row)}`
    }
  }
}
