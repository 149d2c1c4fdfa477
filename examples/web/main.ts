/**
 * Two web servers on one database: `npm run example`. Ends with Ctrl-C.
 *
 * This process listens for both and hands each connection to the server's own process. If one of those ends, it is started again, and
 * whoever connects meanwhile waits: `kill` one, and the pages that are open go on.
 */
import pg from 'pg'
import { startPostgres } from '../../test/support/postgres.js'
import { seed } from './seed.js'
import { WebServer } from './web-server.js'

/** Two of one team, who follow the same documents. */
const USERS = [1, 11]

console.log('Starting PostgreSQL ...')
const postgres = await startPostgres({ major: 18 })
const servers: WebServer[] = []
let isStopping = false
process.once('SIGINT', () => void stop())
process.once('SIGTERM', () => void stop())

try {
  console.log('Writing 1,000 users and 20,000 documents ...')
  await withPool(postgres.url, seed)
  for (const name of ['Server A', 'Server B']) servers.push(await WebServer.start(name, postgres.url))
  for (const [index, { name, url, pid }] of servers.entries())
    console.log(`${name}: ${url}/?as=${USERS[index]} (process ${pid})`)
  console.log('Open both beside each other; Ctrl-C ends.')
} catch (error) {
  console.error(error)
  process.exitCode = 1
  await stop()
}

async function stop(): Promise<void> {
  if (isStopping) return
  isStopping = true
  await Promise.all(servers.map(server => server.close()))
  await postgres[Symbol.asyncDispose]()
}

async function withPool(url: string, work: (pool: pg.Pool) => Promise<void>): Promise<void> {
  const pool = new pg.Pool({ connectionString: url })
  try {
    await work(pool)
  } finally {
    await pool.end()
  }
}
