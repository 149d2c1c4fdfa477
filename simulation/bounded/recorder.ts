import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import pg from 'pg'
import type { Lsn } from '../../src/change/lsn.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import { silentLogger } from '../../src/observe.js'
import { systemRuntime } from '../../src/runtime.js'
import { openSlotSource } from '../../src/source/slot-source.js'
import type { ChangeSource } from '../../src/source/source.js'
import { connectionsOf } from '../../src/wire/connection.js'
import { openPool } from '../pool.js'
import { relationOf } from '../relation-of.js'
import { ItemHistory, type RecordedRelation } from './item-history.js'
import { type Item, itemsTable } from './schema.js'

const PUBLICATION = 'recorder'
const CHANGES_A_TURN = 1000

export interface RecorderOptions {
  readonly databaseUrl: string
  readonly decoder: DecoderName
}

/**
 * The history of every row, from a slot of its own: what any read of any commit must have shown. It shares nothing with the cache under test but
 * the protocol and the decoder, and goes on whatever is done to the table.
 */
export class Recorder implements AsyncDisposable {
  readonly history: ItemHistory
  readonly #pool: pg.Pool
  readonly #source: ChangeSource<RecordedRelation>
  readonly #stop = new AbortController()
  readonly #moved = new EventTarget()
  readonly #reading: Promise<void>

  /** Everything that is committed from now on will be recorded, on top of what there is. */
  static async open({ databaseUrl, decoder }: RecorderOptions): Promise<Recorder> {
    const pool = openPool(databaseUrl, 1)
    try {
      if (decoders[decoder].limits.publications)
        await pool.query(`create publication ${PUBLICATION} for table ${itemsTable.name}`)
      const makeDecoder = await decoders[decoder].load()
      const connections = connectionsOf(pool, {
        settings: { timeZone: 'UTC', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' },
        applicationName: 'walcache-simulation',
        timers: systemRuntime.timers,
      })
      const source = await openSlotSource(connections, systemRuntime, {
        decoder: makeDecoder<RecordedRelation>({
          publication: PUBLICATION,
          relations: [await relationOf(pool, itemsTable)],
        }),
        logger: silentLogger,
      })
      const rows = await rowsUnder(databaseUrl, source.start.snapshotName)
      return new Recorder(pool, source, new ItemHistory(rows, source.start.lsn))
    } catch (error) {
      await pool.end()
      throw error
    }
  }

  private constructor(pool: pg.Pool, source: ChangeSource<RecordedRelation>, history: ItemHistory) {
    this.#pool = pool
    this.#source = source
    this.history = history
    this.#reading = this.#read()
    // Whoever waits for a commit meets it.
    this.#reading.catch(() => undefined)
  }

  /** Resolves when the history is known up to this position. */
  async reached(position: Lsn): Promise<void> {
    while (this.history.position < position) await Promise.race([once(this.#moved, 'moved'), this.#reading])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#reading.catch(() => undefined)
    await this.#source.close()
    await this.#pool.end()
  }

  /** Ends only with an error, or with the recorder. */
  async #read(): Promise<void> {
    for await (const batch of this.#source.batches(this.#stop.signal)) {
      while (batch.deliver(this.history, CHANGES_A_TURN)) await nextTurn()
      this.#source.confirm(this.history.position)
      this.#moved.dispatchEvent(new Event('moved'))
    }
    throw new Error('The recorder was cut off: its history has a hole.')
  }
}

/** The rows at the slot's beginning. */
async function rowsUnder(connectionString: string, snapshotName: string): Promise<Item[]> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    await client.query('begin isolation level repeatable read read only')
    await client.query(`set transaction snapshot '${snapshotName}'`)
    const { rows } = await client.query<Item>('select id, code, grp, n, big from items')
    return rows
  } finally {
    await client.end()
  }
}

/** What was read, and between which commits (both included) the answer must have been true. */
export interface Claim {
  readonly read: string
  readonly answer: Item | readonly Item[] | null
  readonly from: Lsn
  readonly to: Lsn
  /** What the answer is as of one commit. */
  readonly truth: (history: ItemHistory, at: Lsn) => Item | readonly Item[] | null
  /** The keys that it may depend on. */
  readonly keys: (history: ItemHistory) => Iterable<number>
}

/** Whether the claim was true at one commit of its range. The history must have reached its end. */
export function isTrue(history: ItemHistory, { answer, from, to, truth, keys }: Claim): boolean {
  return history.turns(keys(history), from, to).some(at => isDeepStrictEqual(truth(history, at), answer))
}

/** A claim, and what would have been true. */
export interface WrongClaim extends Claim {
  readonly truths: readonly { readonly at: Lsn; readonly answer: Item | readonly Item[] | null }[]
}

/** What the claim's question is answered by, commit by commit. */
export function truthsOf(history: ItemHistory, { from, to, truth, keys }: Claim): WrongClaim['truths'] {
  return history.turns(keys(history), from, to).map(at => ({ at, answer: truth(history, at) }))
}
