/** Drains a slot with pg-logical-replication and its own decoder into a Map of rows. */
import { LogicalReplicationService, type Pgoutput, PgoutputPlugin } from 'pg-logical-replication'
import type { Person } from '../support/database.js'
import { digestOf } from '../support/digest.js'
import { drainOrder, say, startMeter } from './meter.js'

const { url, slot, publication } = drainOrder()
const rows = new Map<number, Person>()

const service = new LogicalReplicationService(
  { connectionString: url },
  { acknowledge: { auto: false, timeoutSeconds: 0 } },
)
const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [publication], messages: true })
const stop = startMeter()
await new Promise<void>((resolve, reject) => {
  service.on('error', reject)
  service.on('data', (_lsn: string, message: Pgoutput.Message) => {
    const { tag } = message
    if (tag === 'insert' || tag === 'update') rows.set((message.new as Person).id, message.new as Person)
    else if (tag === 'delete') rows.delete((message.key as Person).id)
    else if (tag === 'message') resolve()
  })
  service.subscribe(plugin, slot).catch(reject)
})
const result = stop()
say({ ...result, digest: digestOf(id => rows.get(id), rows.size) })
process.exit()
