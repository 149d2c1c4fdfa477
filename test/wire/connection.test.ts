import assert from 'node:assert/strict'
import net from 'node:net'
import pg from 'pg'
import { afterEach, describe, test } from 'vitest'
import { ConnectionError } from '../../src/errors.js'
import { type Connections, systemRuntime } from '../../src/runtime.js'
import { connectionsOf } from '../../src/wire/connection.js'
import { testDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const settings = { timeZone: 'Asia/Kolkata', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' }

function connectionsTo(config: pg.PoolConfig): Connections {
  const pool = new pg.Pool(config)
  ends.push(() => pool.end())
  return connectionsOf(pool, { settings, applicationName: 'walcache-test', timers: systemRuntime.timers })
}

/** A server of our own making, for what a real one does only when it is set up so. */
async function fakeServer(onConnection: (socket: net.Socket) => void): Promise<pg.PoolConfig> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise(resolve => server.close(resolve))
  })
  return {
    host: '127.0.0.1',
    port: (server.address() as net.AddressInfo).port,
    user: 'ada',
    database: 'shop',
  }
}

const failsWith = (failure: string) => (error: unknown) =>
  error instanceof ConnectionError && error.failure === failure

/** Sockets of this process that are still open: none may be left behind. */
const openSockets = () => process.getActiveResourcesInfo().filter(kind => kind === 'TCPSocketWrap').length

describe('a query connection', () => {
  test('gives every value as PostgreSQL’s text, whatever the role’s defaults are', async () => {
    shows('I31')
    const db = await testDatabase()
    await db.query(`alter database "${db.name}" set datestyle = 'German'`)
    await db.query(`alter database "${db.name}" set timezone = 'America/New_York'`)
    await db.query(`alter database "${db.name}" set bytea_output = 'escape'`)
    const connection = await connectionsTo({ connectionString: db.url }).query()
    const rows = await connection.query(
      `select 1::int8 as n, true as yes, null as nothing, $1::text as given, '\\x00ff'::bytea as bytes,
         timestamptz '2026-01-01 00:00+00' as at, 0.1::float8 + 0.2 as sum, array[1, null] as list`,
      ['gi\'ven "text"'],
    )
    assert.deepEqual(
      rows.map(row => ({ ...row })),
      [
        {
          n: '1',
          yes: 't',
          nothing: null,
          given: 'gi\'ven "text"',
          bytes: '\\x00ff',
          at: '2026-01-01 05:30:00+05:30',
          sum: '0.30000000000000004',
          list: '{1,NULL}',
        },
      ],
    )
    await connection.close()
  })

  test('is one whose end the server notices within half a minute, though nobody tells it', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).query()
    const [row] = await connection.query(
      `select current_setting('tcp_keepalives_idle')::int
            + current_setting('tcp_keepalives_interval')::int * current_setting('tcp_keepalives_count')::int as seconds`,
    )
    assert.deepEqual({ ...row }, { seconds: '30' })
    await connection.close()
  })

  test('an error of the server’s comes as it is, and the session goes on', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).query()
    await assert.rejects(connection.query('select * from nowhere'), { code: '42P01' })
    assert.equal((await connection.query('select 1 as one')).length, 1)
    await connection.close()
  })

  test('copies out messages that stay as they are, and can be asked again afterwards', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).query()
    const chunks: Uint8Array[] = []
    for await (const chunk of connection.copyOut(
      `copy (select g from generate_series(1, 100000) g) to stdout`,
    )) {
      chunks.push(chunk)
    }
    assert.ok(chunks.length < 10_000)
    const all = Buffer.concat(chunks)
    const lines: string[] = []
    for (let at = 0; at < all.length; at += 1 + all.readUInt32BE(at + 1))
      lines.push(all.toString('latin1', at + 5, at + 1 + all.readUInt32BE(at + 1)))
    assert.deepEqual(
      lines,
      Array.from({ length: 100_000 }, (_, index) => `${index + 1}\n`),
    )
    await assert.rejects(async () => {
      for await (const _ of connection.copyOut('copy (select 1 / 0) to stdout'));
    }, /division by zero/)
    assert.equal((await connection.query('select 1 as one')).length, 1)
    await connection.close()
  })

  test('a copy that is left early ends the session, on both sides', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).query()
    for await (const chunk of connection.copyOut(
      'copy (select g from generate_series(1, 10000000) g) to stdout',
    )) {
      assert.ok(chunk.length > 0)
      break
    }
    await assert.rejects(connection.query('select 1'), failsWith('lost'))
    await connection.close()
    const sessions = `select 1 from pg_stat_activity where application_name = 'walcache-test' and datname = $1`
    while ((await db.query(sessions, [db.name])).length > 0);
  })

  test('a session that the server ends is lost: its query fails, and so does the next', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).query()
    const running = assert.rejects(connection.query('select pg_sleep(60)'), failsWith('lost'))
    const asleep = `select pid from pg_stat_activity where datname = $1 and wait_event = 'PgSleep'`
    while ((await db.query(asleep, [db.name])).length === 0);
    await db.query(`select pg_terminate_backend(pid) from (${asleep}) a`, [db.name])
    await running
    await assert.rejects(connection.query('select 1'), failsWith('lost'))
    await connection.close()
  })

  test('a close during a query does not wait for it', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).query()
    const running = assert.rejects(connection.query('select pg_sleep(60)'), failsWith('lost'))
    await connection.close()
    await running
  })
})

describe.each(['query', 'replication'] as const)('a %s connection', kind => {
  test('names its session, and is gone on both sides when closed', async () => {
    const db = await testDatabase()
    const mine = `select 1 from pg_stat_activity where application_name = 'walcache-test' and datname = $1`
    await db.query(mine, [db.name])
    const before = openSockets()
    const connection = await connectionsTo({ connectionString: db.url })[kind]()
    assert.equal((await db.query(mine, [db.name])).length, 1)
    await connection.close()
    await connection.close()
    while ((await db.query(mine, [db.name])).length > 0);
    assert.equal(openSockets(), before)
  })

  test('tells an unknown database', async () => {
    const db = await testDatabase()
    const connections = connectionsTo({ connectionString: `${db.url}_unknown` })
    await assert.rejects(connections[kind](), failsWith('database'))
  })

  test('tells an address where nobody listens, and a name that has none', async () => {
    await assert.rejects(connectionsTo({ host: '127.0.0.1', port: 1 })[kind](), failsWith('refused'))
    await assert.rejects(connectionsTo({ host: 'walcache.invalid' })[kind](), failsWith('host'))
  })

  test('tells a server without TLS, when TLS is asked for', async () => {
    const db = await testDatabase()
    const connections = connectionsTo({ connectionString: db.url, ssl: { rejectUnauthorized: false } })
    await assert.rejects(connections[kind](), failsWith('tls'))
  })

  test('tells a missing password, and leaves no socket behind', async () => {
    const ended = deferred()
    const config = await fakeServer(socket => {
      socket.on('close', ended.resolve)
      // AuthenticationSASL, with the one mechanism that pg knows.
      const mechanisms = Buffer.from('SCRAM-SHA-256\0\0')
      const head = Buffer.from([0x52, 0, 0, 0, 8 + mechanisms.length, 0, 0, 0, 10])
      socket.once('data', () => {
        socket.write(Buffer.concat([head, mechanisms]))
        socket.once('data', bytes => {
          const nonce = /r=([^,]+)/.exec(bytes.toString())?.[1] ?? ''
          const first = Buffer.from(`r=${nonce}server,s=c2FsdA==,i=4096`)
          socket.write(Buffer.concat([Buffer.from([0x52, 0, 0, 0, 8 + first.length, 0, 0, 0, 11]), first]))
        })
      })
    })
    await assert.rejects(connectionsTo(config)[kind](), failsWith('authentication'))
    await ended.promise
  })

  test('gives up on a server that never answers', async () => {
    const ended = deferred()
    const config = await fakeServer(socket => socket.on('close', ended.resolve).resume())
    await assert.rejects(connectionsTo({ ...config, connectionTimeoutMillis: 50 })[kind](), failsWith('host'))
    await ended.promise
  })

  test('an abort while it connects rejects with its reason and leaves no socket', async () => {
    const ended = deferred()
    const abort = new AbortController()
    const config = await fakeServer(socket => {
      socket.on('close', ended.resolve).resume()
      abort.abort(new Error('enough'))
    })
    await assert.rejects(connectionsTo(config)[kind](abort.signal), /enough/)
    await ended.promise
    await assert.rejects(connectionsTo(config)[kind](AbortSignal.abort(new Error('before'))), /before/)
  })

  test('asks a password function', async () => {
    const db = await testDatabase()
    const { hostname, port, username, pathname } = new URL(db.url)
    const config = { host: hostname, port: Number(port), user: username, database: pathname.slice(1) }
    const connection = await connectionsTo({ ...config, password: () => Promise.resolve('unused') })[kind]()
    await connection.close()
  })
})

describe('a replication connection', () => {
  test('tells a role that may not replicate, and what to do', async () => {
    shows('C23')
    const db = await testDatabase()
    const role = `plain_${db.name}`
    await db.query(`create role ${role} login`)
    ends.push(() => db.query(`drop role ${role}`))
    const url = new URL(db.url)
    url.username = role
    await assert.rejects(connectionsTo({ connectionString: url.href }).replication(), (error: unknown) => {
      return (
        failsWith('replication-right')(error) &&
        (error as Error).message.includes(`ALTER ROLE "${role}" REPLICATION;`)
      )
    })
  })

  test('a refused start leaves it usable', async () => {
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).replication()
    const handlers = { onData: () => undefined, onKeepalive: () => undefined }
    await assert.rejects(connection.start('START_REPLICATION SLOT "none" LOGICAL 0/0', handlers), {
      code: '42704',
    })
    const [system] = await connection.query('IDENTIFY_SYSTEM')
    assert.equal(system?.['dbname'], db.name)
    await connection.close()
    assert.equal(await connection.closed, undefined)
  })

  test('a loss is told once, with its first reason', async () => {
    shows('C1')
    const db = await testDatabase()
    const connection = await connectionsTo({ connectionString: db.url }).replication()
    const [row] = await connection.query('select pg_backend_pid() as pid')
    await db.query('select pg_terminate_backend($1)', [row!['pid']])
    const reason = await connection.closed
    assert.ok(failsWith('lost')(reason))
    assert.match(reason!.message, /57P01/)
    await connection.close()
  })

  test('has its own address, if it is given one', async () => {
    const db = await testDatabase()
    const pool = new pg.Pool({ host: '127.0.0.1', port: 1 })
    ends.push(() => pool.end())
    const { timers } = systemRuntime
    const connections = connectionsOf(pool, {
      settings,
      applicationName: 'walcache-test',
      timers,
      replication: db.url,
    })
    const connection = await connections.replication()
    await connection.close()
    await assert.rejects(connections.query(), failsWith('refused'))
  })
})

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void
  const promise = new Promise<void>(done => {
    resolve = done
  })
  return { promise, resolve }
}
