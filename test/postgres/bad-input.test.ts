import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type CacheError,
  ConnectionError,
  defineTable,
  openCache,
  type OpenCacheOptions,
  OptionError,
  PublicationError,
  SetupError,
} from '../../src/index.js'
import {
  countingRuntime,
  leakIn,
  openSockets,
  poolOf,
  recordingLogger,
  until,
  untilNothingIsLeft,
} from '../support/cache.js'
import { createDatabase, type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

const PASSWORD = 'opensesame-7341'
const WRONG_PASSWORD = 'letmein-9927'
const SECRETS = [PASSWORD, WRONG_PASSWORD]

const users = defineTable<{ id: number; name: string }>({ name: 'users' })

let server: PostgresServer
let url: string
let admin: pg.Client

beforeAll(async () => {
  server = await startPostgres({ settings: { max_replication_slots: 1, max_wal_senders: 1 } })
  url = await createDatabase(server, 'shop')
  admin = new pg.Client({ connectionString: url })
  await admin.connect()
  await admin.query(`
    create table users (id int primary key, name text);
    insert into users values (1, 'Ada');
    create view grown_ups as select * from users;
    create role guarded login replication superuser password '${PASSWORD}';
    create role reader login password '${PASSWORD}';
    grant select on users to reader`)
  // Everybody else is let in without being asked.
  const hba = join(server.dataDirectory, 'pg_hba.conf')
  writeFileSync(hba, `host all guarded all scram-sha-256\n${readFileSync(hba, 'utf8')}`)
  await admin.query('select pg_reload_conf()')
})

beforeEach(() => admin.query('drop publication if exists walcache'))

afterAll(async () => {
  await admin.end()
  await server[Symbol.asyncDispose]()
})

/** What `openCache` rejects with; nothing of it may be left, and nothing secret told. */
async function refusal(
  options: Omit<OpenCacheOptions, 'entities'> & Partial<OpenCacheOptions>,
): Promise<CacheError> {
  const logger = recordingLogger()
  const runtime = options.runtime ?? countingRuntime()
  const sockets = openSockets()
  const error = await openCache({ entities: [users], logger, runtime, ...options }).then(
    async cache => {
      await cache.close()
      throw new Error('It opened.')
    },
    (reason: unknown) => reason as CacheError,
  )
  await options.pool.end()
  expect(leakIn(error, SECRETS)).toBeUndefined()
  expect(logger.lines.filter(line => SECRETS.some(secret => line.includes(secret)))).toEqual([])
  expect((runtime as { timersPending?: number }).timersPending).toBe(0)
  await until(() => openSockets() <= sockets, 'our sockets are closed')
  await untilNothingIsLeft({ query: async sql => (await admin.query(sql)).rows })
  return error
}

const asRole = (role: string, password: string): string => {
  const given = new URL(url)
  given.username = role
  given.password = password
  return given.href
}

function expectConnectionError(error: CacheError, failure: string, advice: RegExp): void {
  expect(error).toBeInstanceOf(ConnectionError)
  expect(error.code).toBe('CACHE_CONNECTION')
  expect((error as ConnectionError).failure).toBe(failure)
  expect(error.message).toMatch(advice)
}

function expectProblem(error: CacheError, kind: string, advice: RegExp): void {
  expect(error).toBeInstanceOf(SetupError)
  expect((error as SetupError).problems.map(problem => problem.kind)).toEqual([kind])
  expect(error.message).toMatch(advice)
}

describe('a connection that the server or the network refuses', () => {
  test('a wrong password is named, and tried once', async () => {
    shows('C25')
    const error = await refusal({ pool: poolOf(asRole('guarded', WRONG_PASSWORD)) })
    expectConnectionError(error, 'authentication', /28P01.*password is wrong/)
    expect(error.transient).toBe(false)
    expect(server.logTail.match(/password authentication failed for user "guarded"/g)).toHaveLength(1)
  })

  test('a wrong password of the replication connection alone is named', async () => {
    const error = await refusal({ pool: poolOf(url), replication: asRole('guarded', WRONG_PASSWORD) })
    expectConnectionError(error, 'authentication', /replication connection.*28P01.*password is wrong/)
  })

  test('a missing password is named', async () => {
    shows('C25')
    // As the replication connection's: the caller's own pg would leave the socket to time out.
    const error = await refusal({ pool: poolOf(url), replication: asRole('guarded', '') })
    expectConnectionError(error, 'authentication', /asks for a password/)
  })

  test('an unknown database is named', async () => {
    shows('C27')
    const pool = poolOf(new URL('/nowhere', url).href)
    expectConnectionError(await refusal({ pool }), 'database', /3D000.*no such database/)
  })

  test('TLS that the server does not offer is named', async () => {
    shows('C26')
    const pool = poolOf(asRole('guarded', PASSWORD), { ssl: true })
    expectConnectionError(await refusal({ pool }), 'tls', /offers no TLS/)
  })

  test('a host at which nobody listens is tried again for a bounded time, and named', async () => {
    const pool = poolOf(asRole('guarded', PASSWORD).replace(`:${server.port}/`, ':1/'))
    const error = await refusal({ pool, runtime: countingRuntime(10) })
    expectConnectionError(error, 'refused', /nobody listens/)
  })

  test('a host without an address is named', async () => {
    shows('C27')
    const pool = poolOf(asRole('guarded', PASSWORD).replace('127.0.0.1', 'nowhere.invalid'))
    expectConnectionError(await refusal({ pool }), 'host', /no address/)
  })

  test('a replication URL that is none is refused without being shown', async () => {
    const error = await refusal({
      pool: poolOf(url),
      replication: `postgres://guarded:${PASSWORD}@host:port:5/x`,
    })
    expect(error).toBeInstanceOf(OptionError)
    expect(error.message).toMatch(/"replication"/)
  })

  test('a URL of the pool that is none is named without being shown', async () => {
    const error = await refusal({ pool: poolOf(`postgres://guarded:${PASSWORD}@host:port:5/x`) })
    expectConnectionError(error, 'host', /URL is malformed/)
  })

  test('a pool that has been ended is named', async () => {
    const pool = poolOf(url)
    await pool.end()
    const error = await openCache({ pool, entities: [users] }).catch(
      (reason: unknown) => reason as CacheError,
    )
    expect(error).toBeInstanceOf(OptionError)
    expect((error as CacheError).message).toMatch(/"pool".*ended/)
  })
})

describe('a role without the rights', () => {
  test('a role that may not replicate is told who lets it, and how', async () => {
    shows('C23')
    await admin.query('create publication ours for table users')
    const error = await refusal({ pool: poolOf(asRole('reader', PASSWORD)), publication: 'ours' })
    await admin.query('drop publication ours')
    expectConnectionError(error, 'replication-right', /ALTER ROLE "reader" REPLICATION/)
  })

  test('a role that may not create the publication gets the SQL for who may', async () => {
    const error = await refusal({ pool: poolOf(asRole('reader', PASSWORD)) })
    expect(error).toBeInstanceOf(PublicationError)
    expect((error as PublicationError).sql).toMatch(
      /^CREATE PUBLICATION "walcache" FOR TABLE "public"."users"/,
    )
    expect((await admin.query('select from pg_publication')).rowCount).toBe(0)
  })

  test('a publication that is not there is never made in the caller’s name', async () => {
    shows('C20')
    const error = await refusal({ pool: poolOf(url), publication: 'theirs' })
    expect(error).toBeInstanceOf(PublicationError)
    expect((await admin.query('select from pg_publication')).rowCount).toBe(0)
  })
})

describe('tables that can’t be kept', () => {
  test('all of them are named in one error, and nothing is published', async () => {
    const error = await refusal({
      pool: poolOf(url),
      entities: [defineTable({ name: 'user' }), defineTable({ name: 'grown_ups' }), users],
    })
    expect(error).toBeInstanceOf(SetupError)
    expect((error as SetupError).problems.map(({ kind, table }) => [kind, table])).toEqual([
      ['missing-table', 'public.user'],
      ['table-kind', 'public.grown_ups'],
    ])
    expect(error.message).toMatch(/users/)
    expect((await admin.query('select from pg_publication')).rowCount).toBe(0)
  })
})

describe('a server without room or without the settings', () => {
  test('slots that are used up are named', async () => {
    shows('C18')
    await admin.query(`select pg_create_physical_replication_slot('theirs')`)
    const error = await refusal({ pool: poolOf(url) })
    await admin.query(`select pg_drop_replication_slot('theirs')`)
    expectProblem(error, 'no-free-slot', /max_replication_slots/)
  })

  test('senders that are used up are named', async () => {
    shows('C19')
    const sender = new pg.Client({ connectionString: url, replication: 'database' } as pg.ClientConfig)
    await sender.connect()
    const error = await refusal({ pool: poolOf(url) })
    await sender.end()
    expectProblem(error, 'no-free-sender', /max_wal_senders/)
  })

  test('connections that are used up are tried again for a bounded time, and named', async () => {
    await admin.query(
      `alter role reader replication; alter role reader connection limit 2; create publication ours for table users`,
    )
    const error = await refusal({
      pool: poolOf(asRole('reader', PASSWORD), { max: 1 }),
      publication: 'ours',
      runtime: countingRuntime(10),
    })
    await admin.query(
      'drop publication ours; alter role reader noreplication; alter role reader connection limit -1',
    )
    expectConnectionError(error, 'senders', /53300.*max_connections/)
  })

  test('wal_level below logical is named', async () => {
    shows('C24')
    await using replica = await startPostgres({ settings: { wal_level: 'replica' } })
    const pool = poolOf(replica.url)
    await pool.query('create table users (id int primary key, name text)')
    const error = await refusal({ pool })
    expectProblem(error, 'wal-level', /ALTER SYSTEM SET wal_level = 'logical'/)
  })
})
