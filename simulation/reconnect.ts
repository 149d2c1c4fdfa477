/**
 * The stream is cut off, and the server crashes, while writers move money and a reader looks on: nothing may be lost, nothing may be there twice,
 * no look may show part of a transaction or go back, and reads go on meanwhile.
 */
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import {
  type Cache,
  type DurableSlotOptions,
  defineTable,
  type LoadProgress,
  NotReadyError,
  openCache,
  StaleError,
} from '../src/index.js'
import { createDatabase, type PostgresServer } from '../test/support/postgres.js'
import { percentiles, type Percentiles } from './percentiles.js'
import { Random } from './random.js'

export interface ReconnectOptions {
  /** Of the scenario's own, with fsync = on: it is crashed. */
  readonly server: Pick<PostgresServer, 'url' | 'stop' | 'start'>
  readonly seed: number
  readonly slot: { readonly temporary: true } | DurableSlotOptions
  /** How often the walsender is killed, and how often the server crashes. */
  readonly kills: number
  readonly crashes: number
  /** Whether a stream is left alone for so long before the next blow that the cache does not let the next load wait. Default false. */
  readonly rests?: boolean
}

export interface ReconnectResult {
  readonly kills: number
  readonly crashes: number
  readonly loads: number
  /** How long these took, from the first rows on. */
  readonly load: Percentiles
  /** Transactions whose writers were told that they had committed. */
  readonly commits: number
  /** Of those, how many the cache did not have at the end, and how many followers of `changes()` were told twice. */
  readonly lost: number
  readonly doubled: number
  /** Rows in which cache and database differed at the end. */
  readonly differing: number
  readonly reads: number
  /** Reads that were refused as stale or not ready. */
  readonly refused: number
  /** Looks that showed part of a transaction, or an older state than the look before. */
  readonly wrong: number
  /** From the server's accepting connections until memory was shown to be current. */
  readonly fresh: Percentiles
}

const ACCOUNTS = 20
const EACH = 100
const WRITERS = 3
/**
 * Between two transactions of a writer, so that some hundreds commit each second. A new walsender decodes from the slot's restart_lsn, which PostgreSQL moves
 * every 15 seconds: as fast as three writers can, that is tens of thousands of transactions, and what is measured is how long the server takes for them.
 */
const WRITER_PAUSE_MS = 2
const FRESH_PATIENCE_MS = 60_000
/**
 * A load that would come too soon after the one before has to wait, so that a server that fails all the time is not loaded from all the time: too soon is
 * before 20 times what that one took, or half a minute.
 */
const REST_LOADS = 25
const REST_MAX_MS = 31_000
/** Meanwhile little is written, or loads would take longer and longer. */
const WRITER_REST_MS = 100

interface Account {
  readonly id: number
  readonly balance: number
  readonly moves: number
}
interface Entry {
  readonly id: number
}

const accounts = defineTable<Account>({ name: 'accounts' })
const ledger = defineTable<Entry>({ name: 'ledger' })

const schema = `
  create table accounts (id int primary key, balance int not null, moves int not null);
  create table ledger (id int primary key);
  insert into accounts select g, ${EACH}, 0 from generate_series(1, ${ACCOUNTS}) g;`

const CUT = `select pg_terminate_backend(pid) from pg_stat_activity
  where backend_type = 'walsender' and datname = current_database()`

/** Makes a database on the server, and runs until everything has been killed as often as it is to be. */
export async function runReconnect(options: ReconnectOptions): Promise<ReconnectResult> {
  const { server, seed, slot, kills, crashes, rests = false } = options
  const random = new Random(seed)
  const url = await createDatabase(server)
  const pool = new pg.Pool({ connectionString: url })
  pool.on('error', () => undefined)
  try {
    await pool.query(schema)
    const loads = new Loads()
    await using cache = await openCache({
      pool,
      entities: [accounts, ledger],
      slot,
      onProgress: progress => loads.told(progress),
    })
    const writers = new Writers(url)
    // Ends before the cache does, also when something has gone wrong: it would be told of the cache's end, and nobody of what went wrong.
    await using reader = new Reader(cache)
    const follower = new Follower(cache)
    const freshMs: number[] = []
    try {
      for (const isCrash of shuffled(random, kills, crashes)) {
        if (rests) await writers.rest(Math.min(REST_LOADS * (freshMs.at(-1) ?? 0), REST_MAX_MS))
        await writers.someCommits(random.between(1, 30))
        if (isCrash) {
          await server.stop('immediate')
          await server.start()
        } else await pool.query(CUT)
        freshMs.push(await untilFresh(cache))
      }
    } finally {
      await writers.stop()
    }
    await cache.waitFor(await cache.token(), { timeoutMs: FRESH_PATIENCE_MS })
    await nextTurn()
    const { wrong, ...watched } = await reader.stop()
    const local = cache.table(ledger).local
    return {
      kills,
      crashes,
      loads: loads.timesMs.length,
      load: percentiles(loads.timesMs),
      commits: writers.committed.length,
      lost: writers.committed.filter(id => !local.has(id)).length + (await follower.missed(pool)),
      doubled: follower.doubled,
      differing: await differing(cache, pool),
      ...watched,
      wrong,
      fresh: percentiles(freshMs),
    }
  } finally {
    await pool.end()
  }
}

/** The crashes among the kills, in an order of chance. */
function shuffled(random: Random, kills: number, crashes: number): boolean[] {
  let killsLeft = kills
  let crashesLeft = crashes
  const order: boolean[] = []
  while (killsLeft + crashesLeft > 0) {
    const isCrash = random.between(1, killsLeft + crashesLeft) <= crashesLeft
    if (isCrash) crashesLeft--
    else killsLeft--
    order.push(isCrash)
  }
  return order
}

/** How long it takes until memory is shown to have everything that was committed before the call. */
async function untilFresh(cache: Cache): Promise<number> {
  const sinceMs = performance.now()
  for (;;) {
    const afterMs = performance.now() - sinceMs
    const { state, stalenessMs } = cache.health()
    if (state === 'live' && stalenessMs < afterMs) return afterMs
    if (state === 'failed' || afterMs > FRESH_PATIENCE_MS)
      throw new Error(`The cache is ${state}, and not fresh after ${Math.round(afterMs)} ms.`)
    await sleep(1)
  }
}

async function differing(cache: Cache, pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<Account>('select * from accounts')
  const { rows: entries } = await pool.query<Entry>('select * from ledger')
  const local = cache.table(accounts).local
  const wrong = rows.filter(({ id, balance, moves }) => {
    const row = local.get(id)
    return row?.balance !== balance || row.moves !== moves
  })
  const { size } = cache.table(ledger).local
  return wrong.length + Math.abs(size - entries.length) + Math.abs(local.size - rows.length)
}

/** How long loads take. */
class Loads {
  readonly timesMs: number[] = []
  #beganMs: number | null = null

  told({ tables, tablesDone }: LoadProgress): void {
    this.#beganMs ??= performance.now()
    if (tables !== tablesDone) return
    this.timesMs.push(performance.now() - this.#beganMs)
    this.#beganMs = null
  }
}

/** Each moves money from one account to another, counts that in both, and notes it in the ledger: one transaction after another. */
class Writers {
  /** The ledger's entries whose commit was acknowledged. */
  readonly committed: number[] = []
  readonly #pool: pg.Pool
  readonly #workers: Promise<void>[]
  #next = 1
  #going = true
  #pauseMs = WRITER_PAUSE_MS

  constructor(url: string) {
    this.#pool = new pg.Pool({ connectionString: url, max: WRITERS })
    this.#pool.on('error', () => undefined)
    this.#workers = Array.from({ length: WRITERS }, () => this.#work())
  }

  async someCommits(count: number): Promise<void> {
    const enough = this.committed.length + count
    while (this.committed.length < enough) await sleep(1)
  }

  async rest(forMs: number): Promise<void> {
    this.#pauseMs = WRITER_REST_MS
    await sleep(forMs)
    this.#pauseMs = WRITER_PAUSE_MS
  }

  async stop(): Promise<void> {
    this.#going = false
    await Promise.all(this.#workers)
    await this.#pool.end()
  }

  async #work(): Promise<void> {
    while (this.#going) {
      const id = this.#next++
      const from = (id % ACCOUNTS) + 1
      const to = ((id * 7 + 3) % ACCOUNTS) + 1
      try {
        // In the order of their ids, so that two writers don't wait for each other.
        await this.#pool.query(
          `with locked as (select id from accounts where id in ($1, $2) order by id for update),
             moved as (update accounts set moves = moves + 1, balance = balance + case id when $1 then -1 else 1 end
                        where id in (select id from locked) and $1::int <> $2::int)
           insert into ledger values ($3)`,
          [from, to, id],
        )
        this.committed.push(id)
        await sleep(this.#pauseMs)
      } catch {
        // The server is down, or was: what became of the transaction is not known.
        await sleep(10)
      }
    }
  }
}

/** Looks all the time; every look has to show one commit's state, and none an older one than the look before. */
class Reader implements AsyncDisposable {
  readonly #watching: Promise<void>
  readonly #seen = new Map<number, number>()
  #going = true
  #reads = 0
  #refused = 0
  #wrong = 0

  constructor(cache: Cache) {
    this.#watching = (async () => {
      while (this.#going) {
        this.#look(cache)
        await nextTurn()
      }
    })()
  }

  #look(cache: Cache): void {
    try {
      const { local } = cache.table(accounts)
      let sum = 0
      let wentBack = false
      for (let id = 1; id <= ACCOUNTS; id++) {
        const { balance, moves } = local.get(id)!
        sum += balance
        wentBack ||= moves < (this.#seen.get(id) ?? 0)
        this.#seen.set(id, moves)
      }
      if (wentBack || sum !== ACCOUNTS * EACH) this.#wrong++
      this.#reads++
    } catch (error) {
      if (!(error instanceof StaleError || error instanceof NotReadyError)) throw error
      this.#refused++
    }
  }

  async stop(): Promise<{ reads: number; refused: number; wrong: number }> {
    this.#going = false
    await this.#watching
    return { reads: this.#reads, refused: this.#refused, wrong: this.#wrong }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** Follows the ledger's changes: each entry is told once. After a gap nothing can be said of what came before it. */
class Follower {
  doubled = 0
  readonly #told = new Set<number>()
  #hasGap = false

  constructor(cache: Cache) {
    void this.#follow(cache)
  }

  async #follow(cache: Cache): Promise<void> {
    for await (const change of cache.table(ledger).changes()) {
      if (change.kind === 'gap') this.#hasGap = true
      if (change.kind !== 'insert' || change.new == null) continue
      if (this.#told.has(change.new.id)) this.doubled++
      this.#told.add(change.new.id)
    }
  }

  /** How many entries of the ledger it was not told of, though it was told of no gap. */
  async missed(pool: pg.Pool): Promise<number> {
    if (this.#hasGap) return 0
    const { rows } = await pool.query<Entry>('select id from ledger')
    // What the last load made different may be being looked for still: a turn of that is short, and so is the look at how far it has come.
    const untilMs = performance.now() + FRESH_PATIENCE_MS
    while (this.#told.size < rows.length && performance.now() < untilMs) await nextTurn()
    return rows.filter(({ id }) => !this.#told.has(id)).length
  }
}
