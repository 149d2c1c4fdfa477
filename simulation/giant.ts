/** One transaction of very many rows: a reader sees all of it or nothing, and the event loop goes on turning. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DecoderName } from '../src/decode/index.js'
import { type Cache, defineTable, openCache } from '../src/index.js'
import { openPool } from './pool.js'

export interface GiantOptions {
  readonly databaseUrl: string
  readonly rows: number
  readonly decoder: DecoderName
}

export interface GiantResult {
  readonly rows: number
  /** How many turns of the event loop read the table while the transactions arrived. */
  readonly reads: number
  /** How many of them saw part of a transaction. */
  readonly partialReads: number
  /** The longest time between two turns, in milliseconds. */
  readonly maxDelayMs: number
}

type GiantRow = { id: number; version: number; name: string }

const giant = defineTable<GiantRow>({ name: 'giant' })

/** Creates the table in an empty database, then inserts and updates all rows, each in one transaction. */
export async function runGiant({ databaseUrl, rows, decoder }: GiantOptions): Promise<GiantResult> {
  const pool = openPool(databaseUrl, 2)
  try {
    await pool.query('create table giant (id int primary key, version int not null, name text not null)')
    await using cache = await openCache({
      pool,
      entities: [giant],
      decoder,
      // While it is on its way nothing newer can arrive, so memory may grow old on a slow machine.
      onStale: { local: 'serve' },
    })
    const reader = new Reader(cache, rows)
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    await reader.during(
      pool.query(`insert into giant select g, 1, 'row ' || g from generate_series(1, $1::int) g`, [rows]),
      'inserted',
    )
    await reader.during(pool.query('update giant set version = 2'), 'updated')
    delay.disable()
    return {
      rows,
      reads: reader.reads,
      partialReads: reader.partialReads,
      maxDelayMs: Math.round(delay.max / 1e4) / 100,
    }
  } finally {
    await pool.end()
  }
}

type Shown = 'empty' | 'inserted' | 'updated' | 'partial'

/** Reads the table once in each turn of the event loop. */
class Reader {
  reads = 0
  partialReads = 0

  constructor(
    readonly cache: Cache,
    readonly rows: number,
  ) {}

  /** Reads until the transaction is visible. */
  async during(transaction: Promise<unknown>, until: Shown): Promise<void> {
    let failed: { error: unknown } | undefined
    transaction.catch((error: unknown) => {
      failed = { error }
    })
    for (let shown = this.#look(); shown !== until; shown = this.#look()) {
      this.reads++
      if (shown === 'partial') this.partialReads++
      if (failed !== undefined) throw failed.error
      await nextTurn()
    }
    await transaction
  }

  #look(): Shown {
    const { local } = this.cache.table(giant)
    const versions = [1, Math.ceil(this.rows / 2), this.rows].map(id => local.get(id)?.version)
    if (versions.some(version => version !== versions[0])) return 'partial'
    if (local.size === 0 && versions[0] === undefined) return 'empty'
    if (local.size !== this.rows) return 'partial'
    if (versions[0] === 1) return 'inserted'
    return versions[0] === 2 ? 'updated' : 'partial'
  }
}
