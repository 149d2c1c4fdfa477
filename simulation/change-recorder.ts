import { setImmediate as nextTurn } from 'node:timers/promises'
import pg from 'pg'
import type { DecoderLimits } from '../src/change/limits.js'
import { parseLsn } from '../src/change/lsn.js'
import { type DecoderName, decoders } from '../src/decode/index.js'
import { silentLogger } from '../src/observe.js'
import { systemRuntime } from '../src/runtime.js'
import { openSlotSource } from '../src/source/slot-source.js'
import type { ChangeSource } from '../src/source/source.js'
import { connectionsOf } from '../src/wire/connection.js'
import { ChangeHash, type HashedTable } from './change-hash.js'
import { openPool } from './pool.js'
import { relationOf } from './relation-of.js'
import { qualifiedName } from './sql.js'
import type { SimulatedTable } from './tables.js'

const PUBLICATION = 'simulation'
const CHANGES_A_TURN = 1000

export interface RecorderOptions {
  readonly databaseUrl: string
  readonly tables: readonly SimulatedTable[]
  readonly decoder: DecoderName
}

export interface RecordedChanges {
  /** `ChangeHash`, of all changes since the recorder was opened. */
  readonly hash: string
  readonly count: number
}

/** Hashes the standard changes of the tables, from a slot of its own: what the decoder says, whatever the cache makes of it. */
export class ChangeRecorder implements AsyncDisposable {
  readonly #pool: pg.Pool
  readonly #source: ChangeSource<HashedTable>
  readonly #hash: ChangeHash
  readonly #stop = new AbortController()
  readonly #reading: Promise<void>
  /** Called when the hash has come further. */
  #moved: () => void = () => undefined

  private constructor(pool: pg.Pool, source: ChangeSource<HashedTable>, hash: ChangeHash) {
    this.#pool = pool
    this.#source = source
    this.#hash = hash
    this.#reading = this.#read()
    // Whoever waits for changes meets it.
    this.#reading.catch(() => undefined)
  }

  /** Everything that is committed from now on will be recorded. */
  static async open({ databaseUrl, tables, decoder }: RecorderOptions): Promise<ChangeRecorder> {
    const pool = openPool(databaseUrl, 1)
    try {
      const limits: DecoderLimits = decoders[decoder].limits
      if (limits.publications)
        await pool.query(
          `create publication ${PUBLICATION} for table ${tables.map(qualifiedName).join(', ')}`,
        )
      const relations = await Promise.all(tables.map(table => relationOf(pool, table)))
      const makeDecoder = await decoders[decoder].load()
      const connections = connectionsOf(pool, {
        settings: { timeZone: 'UTC', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' },
        applicationName: 'walcache-simulation',
        timers: systemRuntime.timers,
      })
      const hash = new ChangeHash(tables)
      const source = await openSlotSource(connections, systemRuntime, {
        decoder: makeDecoder<HashedTable>({ publication: PUBLICATION, relations }),
        logger: silentLogger,
      })
      return new ChangeRecorder(pool, source, hash)
    } catch (error) {
      await pool.end()
      throw error
    }
  }

  /** What was committed up to now. Ends the recording. */
  async finish(): Promise<RecordedChanges> {
    const { rows } = await this.#pool.query<{ lsn: string }>('select pg_current_wal_flush_lsn() as lsn')
    const end = parseLsn(rows[0]!.lsn)
    const arrived = new Promise<void>(resolve => {
      this.#moved = () => {
        if (this.#hash.position >= end) resolve()
      }
      this.#moved()
    })
    await Promise.race([arrived, this.#reading])
    return { hash: this.#hash.digest(), count: this.#hash.changes }
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
      while (batch.deliver(this.#hash, CHANGES_A_TURN)) await nextTurn()
      this.#source.confirm(this.#hash.position)
      this.#moved()
    }
    throw new Error('The stream of the standard changes has ended.')
  }
}
