import assert from 'node:assert/strict'
import net from 'node:net'
import pg from 'pg'
import { describe, test } from 'vitest'
import { ConnectionError, type ConnectionFailure } from '../../src/errors.js'
import { type Runtime, systemRuntime } from '../../src/runtime.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { testDatabase } from '../support/servers.js'
import { afterTest, openSource, Reader } from './reading.js'
import { shows } from '../support/shows.js'

const isTransient = (error: unknown, failure: ConnectionFailure): boolean =>
  error instanceof ConnectionError && error.failure === failure && error.transient
const isLost = (error: unknown): boolean => isTransient(error, 'lost')
const setup = 'create table users (id int primary key, name text); create publication p for table users'

describe('a server that is shut down', () => {
  async function ownServer(
    major: 14 | 18,
  ): Promise<{ server: PostgresServer; client: pg.Client; log: () => string }> {
    let log = ''
    const server = await startPostgres({ major, log: text => (log += text) })
    afterTest(() => server[Symbol.asyncDispose]())
    const client = new pg.Client({ connectionString: server.url })
    client.on('error', () => undefined)
    await client.connect()
    await client.query(setup)
    return { server, client, log: () => log }
  }

  test.each([14, 18] as const)(
    'does so cleanly, though a source of PostgreSQL %i is connected',
    async major => {
      const { server, client, log } = await ownServer(major)
      const reader = new Reader(await openSource(server.url))
      await client.query(`insert into users values (1, 'a')`)
      await reader.commits(1)
      const reading = assert.rejects(
        reader.until(() => false),
        isLost,
      )
      await server.stop('fast')
      assertCleanShutdown(log())
      await reading
    },
  )

  test('waits for changes that are applied only then, and no longer', async () => {
    const { server, client, log } = await ownServer(18)
    const reader = new Reader(await openSource(server.url))
    await client.query(`insert into users values (1, 'a')`)
    await reader.commits(1)
    await client.query(`insert into users values (2, 'b')`)
    const stopping = server.stop('fast')
    while (!/received fast shutdown request/.test(log())) await new Promise(resolve => setImmediate(resolve))
    const changes = await reader.commits(1)
    assert.deepEqual(changes, [{ kind: 'insert', table: 'users', row: { id: '2', name: 'b' } }])
    await assert.rejects(
      reader.until(() => false),
      isLost,
    )
    await stopping
    assertCleanShutdown(log())
  })
})

test('a reader that pauses for longer than wal_sender_timeout keeps its connection', async () => {
  shows('C8')
  const db = await testDatabase()
  await db.query(`${setup}; alter database "${db.name}" set wal_sender_timeout = '900ms'`)
  const reader = new Reader(await openSource(db.url))
  await db.query(`insert into users values (0, 'first')`)
  await reader.commits(1)
  await db.query(`insert into users select g, repeat('x', 1000) from generate_series(1, 40000) g`)
  // Nothing is read meanwhile: the queue is full, the socket is paused, and the server waits for both.
  const waited = `select 1 from pg_stat_replication r join pg_stat_activity a using (pid)
    where a.datname = current_database() and r.reply_time > a.query_start + interval '3 s'`
  while ((await db.query(waited)).length === 0);
  assert.equal((await reader.commits(1)).length, 40_000)
})

test('a peer that vanishes without a word is noticed', async () => {
  shows('C5')
  const db = await testDatabase()
  await db.query(setup)
  const proxy = await freezingProxy(new URL(db.url))
  const url = new URL(db.url)
  url.port = String(proxy.port)
  const reader = new Reader(await openSource(url.href, { runtime: hastened(20) }))
  await db.query(`insert into users values (1, 'a')`)
  await reader.commits(1)
  proxy.freeze()
  await assert.rejects(
    reader.until(() => false),
    error => isTransient(error, 'silent'),
  )
})

/** Stopped without force: `stop` loses patience after five seconds. */
function assertCleanShutdown(log: string): void {
  assert.match(log, /database system is shut down/)
  assert.doesNotMatch(log, /immediate shutdown/)
}

/** The system's runtime with all delays shortened. */
function hastened(factor: number): Runtime {
  const { clock, timers } = systemRuntime
  return {
    ...systemRuntime,
    clock: { ...clock, monotonicMs: () => clock.monotonicMs() * factor },
    timers: { ...timers, after: (delayMs, callback) => timers.after(delayMs / factor, callback) },
  }
}

/** Passes connections on, until it is frozen: then it says nothing any more, not even that it ends. */
async function freezingProxy(target: URL): Promise<{ port: number; freeze(): void }> {
  const sockets: net.Socket[] = []
  const server = net.createServer({ allowHalfOpen: true }, client => {
    const upstream = net.connect(Number(target.port), target.hostname)
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
    client.pipe(upstream)
    upstream.pipe(client)
    sockets.push(client, upstream)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  let isFrozen = false
  server.on('connection', socket => {
    if (isFrozen) socket.pause()
  })
  afterTest(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return {
    port: (server.address() as net.AddressInfo).port,
    freeze() {
      isFrozen = true
      for (const socket of sockets) socket.unpipe().pause()
    },
  }
}
