/** Drains a slot as a cache does: its source, its decoder, its applier, its store. Only the slot is not one of its own. */
import pg from 'pg'
import { Applier } from '../../src/apply/applier.js'
import { liveTable } from '../../src/cache/live-table.js'
import { APPLICATION_NAME, resolveOptions } from '../../src/cache/options.js'
import { callerSession, prepare } from '../../src/cache/setup.js'
import { parseLsn } from '../../src/change/lsn.js'
import { PgoutputDecoder } from '../../src/decode/pgoutput.js'
import type { BoundRelation } from '../../src/apply/binding.js'
import { silentLogger } from '../../src/observe.js'
import { lookUp } from '../../src/query/live.js'
import { type Connections, type ReplicationConnection, systemRuntime } from '../../src/runtime.js'
import { openSlotSource } from '../../src/source/slot-source.js'
import { Store } from '../../src/store/store.js'
import { connectionsOf } from '../../src/wire/connection.js'
import { SessionPool } from '../../src/wire/session-pool.js'
import { people, type Person } from '../support/database.js'
import { digestOf } from '../support/digest.js'
import { drainOrder, say, startMeter } from './meter.js'

const { url, slot, publication, end } = drainOrder()
const runtime = systemRuntime
const logger = silentLogger
const pool = new pg.Pool({ connectionString: url })
const options = resolveOptions({ pool, entities: [people], publication })
const { signal } = new AbortController()
const settings = await callerSession(pool, signal)
const connections = connectionsOf(pool, {
  settings,
  applicationName: APPLICATION_NAME,
  timers: runtime.timers,
})
const { mappings } = await prepare(options, settings, new SessionPool(connections, 2), signal)

const store = new Store({
  limitBytes: options.memoryBytes,
  tableLimitBytes: options.memoryBytes,
  hashSeed: 1,
})
const live = liveTable(store, mappings[0]!)
const applier = new Applier({
  store,
  tables: [live],
  runtime,
  sliceMs: options.sliceMs,
  logger,
  onPosition: () => undefined,
  onAborted: () => undefined,
})
const decoder = new PgoutputDecoder<BoundRelation>({ publication, relations: [] })
const source = await openSlotSource(streamingFrom(slot), runtime, { decoder, logger })

const stop = startMeter()
const last = parseLsn(end)
for await (const batch of source.batches(signal)) {
  await applier.apply(batch)
  source.confirm(store.position)
  if (store.position > last) break
}
const result = stop()
const get = (id: number) => lookUp(live, id, store.visible) as Person | undefined
say({ ...result, digest: digestOf(get, live.table.sizeAt(store.visible)) })
process.exit()

/** Connections whose stream is that of another slot than asked for, from where that one was confirmed. */
function streamingFrom(other: string): Connections {
  return {
    query: connections.query,
    replication: async abort => {
      const connection = await connections.replication(abort)
      const redirected: ReplicationConnection = {
        pid: connection.pid,
        get received() {
          return connection.received
        },
        query: sql => connection.query(sql),
        start: (sql, handlers) =>
          connection.start(sql.replace(/SLOT "\w+" LOGICAL \S+/, `SLOT "${other}" LOGICAL 0/0`), handlers),
        sendStatus: status => connection.sendStatus(status),
        pause: () => connection.pause(),
        resume: () => connection.resume(),
        closed: connection.closed,
        close: () => connection.close(),
      }
      return redirected
    },
  }
}
