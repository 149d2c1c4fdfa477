import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { DecoderName } from '../src/decode/index.js'
import {
  type Cache,
  CacheError,
  type DurableSlotOptions,
  defineTable,
  type KeyValue,
  type LocalReads,
  openCache,
  type Snapshot,
} from '../src/index.js'
import type { TableView, View } from './compare.js'
import { FeedReplica } from './feed-replica.js'
import { openPool } from './pool.js'
import { assumptionsFor } from './decoders.js'
import type { Subject, SubjectOptions } from './subject.js'
import type { Row, SimulatedTable } from './tables.js'

/** After the last fault: then it has to show what the database has. */
const CATCH_UP_MS = 60_000
const TRY_AGAIN_MS = 50
/** Longer than any simulation: snapshots are kept over many commits. */
const SNAPSHOT_MAX_AGE_MS = 3_600_000

export interface CacheSubjectOptions extends SubjectOptions {
  /** What it can't carry, the history is not to have. */
  readonly decoder: DecoderName
  readonly slot?: DurableSlotOptions
}

/** The cache as the subject, fed by the database's own change stream. */
export async function openCacheSubject(options: CacheSubjectOptions): Promise<Subject> {
  const { databaseUrl, tables, decoder, slot } = options
  const declared = new Map(tables.map(table => [table, declare(table)]))
  const pool = openPool(databaseUrl, 2)
  let cache: Cache
  try {
    cache = await openCache({
      pool,
      entities: [...declared.values()],
      decoder,
      ...assumptionsFor(decoder),
      ...(slot && { slot }),
      snapshotMaxAgeMs: SNAPSHOT_MAX_AGE_MS,
      // What is shown has to be right however slow the machine is; how old it is, other tests ask.
      onStale: { local: 'serve' },
    })
  } catch (error) {
    await pool.end()
    throw error
  }

  const viewOf = (source: Cache | Snapshot): View => {
    return table => tableView(table, source.table(declared.get(table)!).local)
  }
  // From before the first transaction on, so that what they tell is everything.
  const replicas = new Map(
    tables.map(table => {
      const cached = cache.table(declared.get(table)!)
      return [table, new FeedReplica(table, cached.changes(), () => cached.local)]
    }),
  )
  return {
    async catchUp() {
      await persist(async () => cache.waitFor(await cache.token(), { timeoutMs: CATCH_UP_MS }))
      // Readers of changes get what is visible before the event loop turns.
      await nextTurn()
      for (const replica of replicas.values()) replica.settle()
    },
    get moment() {
      const { state, lsn, reconnects } = cache.health()
      return `${state} ${lsn} ${reconnects}`
    },
    told: table => replicas.get(table)!,
    now: viewOf(cache),
    snapshot() {
      const snapshot = cache.snapshot()
      return { view: viewOf(snapshot), [Symbol.dispose]: () => snapshot.close() }
    },
    refuses: error => error instanceof CacheError,
    async [Symbol.asyncDispose]() {
      await cache.close()
      await pool.end()
    },
  }
}

/** Tries until it succeeds or has been refused for too long. */
async function persist(work: () => Promise<void>): Promise<void> {
  const deadline = performance.now() + CATCH_UP_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof CacheError) || performance.now() > deadline) throw error
      await sleep(TRY_AGAIN_MS)
    }
  }
}

function declare(table: SimulatedTable) {
  return defineTable<Record<string, unknown>>({ schema: table.schema, name: table.name })
}

function tableView(table: SimulatedTable, local: LocalReads<Record<string, unknown>>): TableView {
  const [only] = table.key
  return {
    size: local.size,
    // The two forms a key may have.
    get: (key: Row) => local.get(table.key.length === 1 ? (key[only!] as KeyValue) : key),
    rows: () => local,
  }
}
