/** Drains a slot from a raw socket: how fast the server sends, and what it costs to receive and drop it. */
import type { Socket } from 'node:net'
import pg from 'pg'
import { PgoutputDecoder } from '../../src/decode/pgoutput.js'
import { drainOrder, say, startMeter } from './meter.js'

/** The end message's content; it is the last thing of any size in the stream. */
const END = 'the end of the benchmark'
const TAIL_BYTES = 1024

const { url, slot, publication } = drainOrder()
const client = new pg.Client({ connectionString: url, replication: 'database' } as pg.ClientConfig)
await client.connect()
const { connection } = client as unknown as { connection: { stream: Socket; query(sql: string): void } }
connection.stream.removeAllListeners('data')

const stop = startMeter()
await new Promise<void>(resolve => {
  let tail = Buffer.alloc(0)
  connection.stream.on('data', (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk.subarray(-TAIL_BYTES)]).subarray(-2 * TAIL_BYTES)
    if (tail.includes(END)) resolve()
  })
  const options = new PgoutputDecoder({ publication, relations: [] }).startOptions()
  connection.query(`START_REPLICATION SLOT "${slot}" LOGICAL 0/0 (${options})`)
})
say(stop())
process.exit()
