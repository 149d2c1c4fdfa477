/** Has the server send the table, and drops it. */
import type { Socket } from 'node:net'
import pg from 'pg'
import type { LoadResult } from '../load.js'
import { startLoad } from './meter.js'

/** The last message of an answer: ReadyForQuery, outside of a transaction. */
const READY = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])

const client = new pg.Client({ connectionString: process.argv[2] })
// Its socket is cut at the end, which it would report.
client.on('error', () => undefined)
await client.connect()
const { connection } = client as unknown as { connection: { stream: Socket; query(sql: string): void } }
connection.stream.removeAllListeners('data')

const stop = startLoad()
await new Promise<void>(resolve => {
  let tail = Buffer.alloc(0)
  connection.stream.on('data', (chunk: Buffer) => {
    tail = Buffer.concat([tail, chunk.subarray(-READY.length)]).subarray(-READY.length)
    if (tail.equals(READY)) resolve()
  })
  connection.query('copy people to stdout')
})
const result: LoadResult = stop()
console.log(JSON.stringify(result))
process.exit()
