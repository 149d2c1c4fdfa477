import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  TokenError,
  WaitTimeoutError,
} from '../../src/index.js'
import { databaseOn, type OwnDatabase, poolOf } from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

interface Row {
  readonly id: number
  readonly n: number
}

const rows = defineTable<Row>({ name: 'rows' })

// Of its own, and quiet: what lies unflushed, and where a record ends, must not depend on others.
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({
    settings: { wal_writer_delay: '10s', wal_writer_flush_after: 0, autovacuum: 'off' },
  })
})
afterAll(() => server[Symbol.asyncDispose]())

async function rowsDatabase(): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query('create table rows (id int primary key, n int); insert into rows values (1, 0)')
  return db
}

const open = (db: OwnDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> =>
  openCache({ pool: poolOf(db.url), entities: [rows], ...options })

describe('a token', () => {
  test('from one cache lets another, and either, show what was written before', async () => {
    const db = await rowsDatabase()
    await using here = await open(db)
    await using there = await open(db)
    for (let n = 1; n <= 50; n++) {
      await db.query('update rows set n = $1', [n])
      const token = await here.token()
      expect(token).toMatch(/^[0-9a-z.]{1,64}$/)
      await there.waitFor(token)
      expect(there.table(rows).local.get(1)?.n).toBe(n)
      // What has been seen here has not yet, or has, been seen there.
      await here.waitFor(there.position)
      expect(here.table(rows).local.get(1)?.n).toBe(n)
      expect(
        (await here.table(rows).findUnique({ where: { id: 1 }, after: token, onStale: 'throw' }))?.n,
      ).toBe(n)
    }
  })

  test('of an idle server is reached at once, over and over', async () => {
    const db = await rowsDatabase()
    await using cache = await open(db)
    for (let i = 0; i < 50; i++) await cache.waitFor(await cache.token(), { timeoutMs: 2_000 })
  })

  test('is waited for by a thousand readers at once', async () => {
    const db = await rowsDatabase()
    await using cache = await open(db)
    const tokens = await Promise.all(Array.from({ length: 1_000 }, () => cache.token()))
    await db.query('update rows set n = 7')
    tokens.push(await cache.token())
    await Promise.all(tokens.map(token => cache.waitFor(token)))
    expect(cache.table(rows).local.get(1)?.n).toBe(7)
    expect(cache.health().waiting).toBe(0)
  })
})

describe('what the server has not flushed is asked for', () => {
  test('a commit that did not wait for its flush', async () => {
    const db = await rowsDatabase()
    await using cache = await open(db)
    await db.query('set synchronous_commit = off')
    for (let n = 1; n <= 20; n++) {
      await db.query('update rows set n = $1', [n])
      await cache.waitFor(await cache.token(), { timeoutMs: 3_000 })
      expect(cache.table(rows).local.get(1)?.n).toBe(n)
    }
  })

  test('the records of a transaction that is still open', async () => {
    shows('I25')
    const db = await rowsDatabase()
    await using cache = await open(db)
    const writer = await db.connect()
    await writer.query('begin')
    for (let n = 1; n <= 10; n++) {
      await db.query('update rows set n = $1 where id = 1', [n])
      await writer.query('insert into rows values ($1, 0)', [n + 100])
      await cache.waitFor(await cache.token(), { timeoutMs: 3_000 })
      expect(cache.table(rows).local.get(1)?.n).toBe(n)
      expect(cache.table(rows).local.size).toBe(1)
    }
    await writer.query('commit')
    await cache.waitFor(await cache.token())
    expect(cache.table(rows).local.size).toBe(11)
  })

  test('many who wait one after the other are all served', async () => {
    const db = await rowsDatabase()
    await using cache = await open(db)
    await db.query('set synchronous_commit = off')
    const waits: Promise<void>[] = []
    for (let n = 1; n <= 40; n++) {
      await db.query('update rows set n = $1', [n])
      waits.push(cache.waitFor(await cache.token(), { timeoutMs: 3_000 }))
      await new Promise(resolve => setTimeout(resolve, 3))
    }
    await Promise.all(waits)
    expect(cache.table(rows).local.get(1)?.n).toBe(40)
  })
})

test('a position behind a page’s header is no further than the page before it', async () => {
  shows('I25')
  const db = await rowsDatabase()
  await using cache = await open(db)
  const insertLsn = async (): Promise<bigint> => {
    const [row] = await db.query<{ at: string }>(`select (pg_current_wal_insert_lsn() - '0/0')::text as at`)
    return BigInt(row!.at)
  }
  const PAGE = 8192n
  const HEADER = 24n
  // A message and its commit, of which only the length of the text is ours to choose.
  const write = (bytes: bigint): Promise<unknown> =>
    db.query(`select pg_logical_emit_message(true, 'x', repeat('x', $1))`, [String(bytes)])
  let at = await insertLsn()
  for (let attempt = 0; attempt < 200 && at % PAGE !== HEADER; attempt++) {
    const before = at
    await write(1_000n)
    at = await insertLsn()
    // A page's header is not the message's own.
    const besides = at - before - 1_000n - (at / PAGE === before / PAGE ? 0n : HEADER)
    const room = PAGE - (at % PAGE)
    if (room > besides + 100n && room < PAGE - besides) await write(room - besides)
    at = await insertLsn()
  }
  expect(at % PAGE).toBe(HEADER)
  // Nothing is written any more: what the stream says now is all it will say.
  const pageEnd = at - HEADER
  await expect
    .poll(() => cache.health().lsn)
    .toBe(`${(pageEnd >> 32n).toString(16)}/${(pageEnd & 0xffff_ffffn).toString(16)}`.toUpperCase())
  const token = await cache.token()
  await cache.waitFor(token, { timeoutMs: 1 })
  expect(token).toBe(cache.position)
})

describe('a token that can’t be met', () => {
  test('is waited for no longer than allowed', async () => {
    const db = await rowsDatabase()
    await using cache = await open(db, { maxStaleness: 60_000 })
    const [walsender] = await db.query<{ pid: number }>(
      'select active_pid as pid from pg_replication_slots where database = $1',
      [db.name],
    )
    process.kill(walsender!.pid, 'SIGSTOP')
    try {
      await db.query('update rows set n = 5')
      const token = await cache.token()
      await expect(cache.waitFor(token, { timeoutMs: 50 })).rejects.toBeInstanceOf(WaitTimeoutError)
      const reason = new Error('The request was cancelled.')
      await expect(cache.waitFor(token, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
        name: 'TimeoutError',
      })
      await expect(cache.waitFor(token, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      expect(cache.health().waiting).toBe(0)
      expect(cache.table(rows).local.get(1)?.n).toBe(0)
      const read = { where: { id: 1 }, after: token, timeoutMs: 20 }
      const table = cache.table(rows)
      expect((await table.findUnique(read))?.n).toBe(5)
      await expect(table.findUnique({ ...read, onTimeout: 'throw' })).rejects.toBeInstanceOf(WaitTimeoutError)
      // That memory may be old is no leave to be before the reader's own write: that has to be said.
      await expect(table.findUnique({ ...read, onStale: 'serve' })).rejects.toBeInstanceOf(WaitTimeoutError)
      expect((await table.findUnique({ ...read, onTimeout: 'serve' }))?.n).toBe(0)
      process.kill(walsender!.pid, 'SIGCONT')
      await cache.waitFor(token)
      expect(cache.table(rows).local.get(1)?.n).toBe(5)
    } finally {
      process.kill(walsender!.pid, 'SIGCONT')
    }
  })

  test('is refused if it is none, another cluster’s, another timeline’s, or beyond what the server has written', async () => {
    const db = await rowsDatabase()
    await using cache = await open(db)
    const token = await cache.token()
    const [version, cluster, timeline] = token.split('.')
    await using elsewhere = await startPostgres()
    const other = poolOf(elsewhere.url)
    await other.query('create table rows (id int primary key, n int)')
    await using foreign = await openCache({ pool: other, entities: [rows] })
    for (const refused of [
      '',
      'token',
      token.slice(0, -1) + '!',
      `${token}.1`,
      ` ${token}`,
      token.toUpperCase() === token ? `${token}~` : token.toUpperCase(),
      '1.'.repeat(1_000),
      'x'.repeat(10_000_000),
      `2.${cluster}.${timeline}.1`,
      `${version}.${cluster}.${timeline}.zzzzzzzzzzzzz`,
      `${version}.${cluster}.2.1`,
      undefined,
      null,
      17,
      { toString: () => token },
      await foreign.token(),
      // Within what a position can be, and far beyond where this server is.
      `${version}.${cluster}.${timeline}.zzzzzzzzzz`,
    ] as string[]) {
      await expect(cache.waitFor(refused)).rejects.toBeInstanceOf(TokenError)
      const read = cache.table(rows).findUnique({ where: { id: 1 }, after: refused ?? '' })
      await expect(read).rejects.toBeInstanceOf(TokenError)
    }
    expect(cache.health().waiting).toBe(0)
  })
})
