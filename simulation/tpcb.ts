/**
 * Money moves, and never is in two places: after TPC-B, several writers each add one amount to an account, a teller and
 * a branch, and note it in a history. In every snapshot the four sums are equal, or it shows part of a transaction.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type pg from 'pg'
import type { DecoderName } from '../src/decode/index.js'
import { type Cache, defineTable, openCache, type Snapshot } from '../src/index.js'
import { openPool } from './pool.js'
import { Random } from './random.js'

export interface TpcbOptions {
  readonly databaseUrl: string
  readonly seed: number
  /** How many snapshots to take, each of another commit. */
  readonly snapshots: number
  readonly decoder: DecoderName
}

export interface TpcbResult {
  readonly snapshots: number
  /** What the history held in the last one. */
  readonly transactions: number
  /** How many snapshots had sums that were not equal. */
  readonly disagreements: number
  readonly firstDisagreement: Sums | undefined
}

export interface Sums {
  readonly accounts: number
  readonly tellers: number
  readonly branches: number
  readonly history: number
}

const WRITERS = 8
const ROWS = { accounts: 400, tellers: 40, branches: 8 }

export const tpcbSchema = `
  create table accounts (id int primary key, balance int not null, filler text);
  create table tellers (id int primary key, balance int not null, filler text);
  create table branches (id int primary key, balance int not null, filler text);
  create table history (id int generated always as identity primary key, account int, teller int, branch int, delta int);
  insert into accounts select g, 0, repeat('a', 80) from generate_series(1, ${ROWS.accounts}) g;
  insert into tellers select g, 0, repeat('t', 80) from generate_series(1, ${ROWS.tellers}) g;
  insert into branches select g, 0, repeat('b', 80) from generate_series(1, ${ROWS.branches}) g;`

const tables = {
  accounts: defineTable<{ id: number; balance: number }>({ name: 'accounts' }),
  tellers: defineTable<{ id: number; balance: number }>({ name: 'tellers' }),
  branches: defineTable<{ id: number; balance: number }>({ name: 'branches' }),
  history: defineTable<{ id: number; delta: number }>({ name: 'history' }),
}

/** Creates the tables in an empty database, and runs until `snapshots` have been taken. */
export async function runTpcb({ databaseUrl, seed, snapshots, decoder }: TpcbOptions): Promise<TpcbResult> {
  const pool = openPool(databaseUrl, WRITERS)
  try {
    await pool.query(tpcbSchema)
    await using cache = await openCache({
      pool,
      entities: Object.values(tables),
      decoder,
    })
    const stop = new AbortController()
    const writers = Array.from({ length: WRITERS }, (_, writer) =>
      write(pool, new Random(seed).fork(writer + 1), stop.signal),
    )
    try {
      // A writer that fails ends the test; one that ends without failing only does so when told.
      return await Promise.race([watch(cache, snapshots, stop.signal), ...writers])
    } finally {
      stop.abort()
      await Promise.allSettled(writers)
    }
  } finally {
    await pool.end()
  }
}

async function write(pool: pg.Pool, random: Random, stop: AbortSignal): Promise<never> {
  const client = await pool.connect()
  try {
    while (!stop.aborted) {
      const account = random.between(1, ROWS.accounts)
      const teller = random.between(1, ROWS.tellers)
      const branch = random.between(1, ROWS.branches)
      const delta = random.between(-5000, 5000)
      await client.query('begin')
      await client.query('update accounts set balance = balance + $1 where id = $2', [delta, account])
      await client.query('update tellers set balance = balance + $1 where id = $2', [delta, teller])
      await client.query('update branches set balance = balance + $1 where id = $2', [delta, branch])
      await client.query('insert into history (account, teller, branch, delta) values ($1, $2, $3, $4)', [
        account,
        teller,
        branch,
        delta,
      ])
      await client.query('commit')
    }
    throw stop.reason
  } finally {
    client.release()
  }
}

async function watch(cache: Cache, snapshots: number, stop: AbortSignal): Promise<TpcbResult> {
  let taken = 0
  let disagreements = 0
  let firstDisagreement: Sums | undefined
  let position = cache.position
  while (taken < snapshots) {
    while (cache.position === position) {
      stop.throwIfAborted()
      await nextTurn()
    }
    using snapshot = cache.snapshot()
    position = snapshot.position
    taken++
    const sums = sumsOf(snapshot)
    if (Object.values(sums).every(sum => sum === sums.accounts)) continue
    disagreements++
    firstDisagreement ??= sums
  }
  return {
    snapshots: taken,
    transactions: cache.table(tables.history).local.size,
    disagreements,
    firstDisagreement,
  }
}

function sumsOf(snapshot: Snapshot): Sums {
  return {
    accounts: sum(snapshot.table(tables.accounts).local, row => row.balance),
    tellers: sum(snapshot.table(tables.tellers).local, row => row.balance),
    branches: sum(snapshot.table(tables.branches).local, row => row.balance),
    history: sum(snapshot.table(tables.history).local, row => row.delta),
  }
}

function sum<Row>(rows: Iterable<Row>, amount: (row: Row) => number): number {
  let total = 0
  for (const row of rows) total += amount(row)
  return total
}
