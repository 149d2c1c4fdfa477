/** Holds the table in a Map of objects, and keeps it true with pg-logical-replication. */
import { LogicalReplicationService, type Pgoutput, PgoutputPlugin } from 'pg-logical-replication'
import pg from 'pg'
import type { Person } from '../support/database.js'
import { digestOf } from '../support/digest.js'
import { holdOrder, say, size, updateRows } from './meter.js'

const order = holdOrder()
const { url, publication } = order
const pool = new pg.Pool({ connectionString: url })
const slot = `map_${process.pid}`
await pool.query(`select pg_create_logical_replication_slot($1, 'pgoutput')`, [slot])
const byKey = new Map<number, Person>()
await fill()

const service = new LogicalReplicationService(
  { connectionString: url },
  { acknowledge: { auto: false, timeoutSeconds: 0 } },
)
const ended = new Promise<void>((resolve, reject) => {
  service.on('error', reject)
  service.on('data', (_lsn: string, message: Pgoutput.Message) => {
    if (message.tag === 'update') byKey.set((message.new as Person).id, message.new as Person)
    else if (message.tag === 'message') resolve()
  })
  const plugin = new PgoutputPlugin({ protoVersion: 1, publicationNames: [publication], messages: true })
  service.subscribe(plugin, slot).catch(reject)
})

const sizes = await size()
const flow = await updateRows(pool, order, async () => {
  await pool.query(`select pg_logical_emit_message(true, 'end', '')`)
  await ended
})
say({ ...sizes, countedBytes: 0, ...flow, digest: digestOf(id => byKey.get(id), byKey.size) })
process.exit()

/** In a function of its own, so that nothing holds on to the query's result. */
async function fill(): Promise<void> {
  const result = await pool.query<Person>('select * from people')
  for (const row of result.rows) byKey.set(row.id, row)
}
