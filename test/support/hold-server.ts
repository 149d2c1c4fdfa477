/** A program that starts a server, prints what it is as one line of JSON, and waits to be killed: for postgres.test.ts. */
import { dirname } from 'node:path'
import { startPostgres } from './postgres.js'

const server = await startPostgres({ major: 18 })
const args = { pid: server.pid, url: server.url, folder: dirname(server.dataDirectory) }
console.log(JSON.stringify(args))
setInterval(() => undefined, 60_000)
