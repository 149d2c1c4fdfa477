/** A primary is lost and its standby promoted: the cache goes on with that one, and with nothing that it does not have. */
import { expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  StaleError,
  TokenLostError,
} from '../../src/index.js'
import {
  caughtUp,
  databaseOn,
  type OwnDatabase,
  poolOf,
  recordingLogger,
  until,
  untilNothingIsLeft,
} from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'
import { startProxy } from '../support/tcp-proxy.js'
import pg from 'pg'

const rows = defineTable<{ id: number; note: string }>({ name: 'rows' })
const SLOT = 'walcache_failover_test'
const PATIENCE_MS = 60_000

/** A primary, and a standby that follows it; with these settings of the primary's. */
async function pair(
  major: 14 | 17 | 18,
  settings: Record<string, string> = {},
): Promise<{ primary: PostgresServer; standby: PostgresServer }> {
  const primary = await startPostgres({ major, settings })
  onTestFinished(() => primary[Symbol.asyncDispose]())
  const client = new pg.Client({ connectionString: primary.url })
  await client.connect()
  await client.query(`select pg_create_physical_replication_slot('standby', true)`)
  await client.end()
  await primary.stop()
  const standby = await startPostgres({
    major,
    standbyOf: primary,
    settings: { primary_slot_name: 'standby', ...(major >= 17 && { sync_replication_slots: 'on' }) },
  })
  onTestFinished(() => standby[Symbol.asyncDispose]())
  await primary.start()
  return { primary, standby }
}

const on = (server: PostgresServer, url: string): string => {
  const there = new URL(url)
  there.port = String(server.port)
  return there.href
}

async function promote(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query('select pg_promote()')
    await until(
      async () =>
        !(await client.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')).rows[0]!.standby,
      'it is a primary',
      PATIENCE_MS,
    )
  } finally {
    await client.end()
  }
}

/** Whether the standby gives a row; what it does not have yet it may not even know. */
async function hasRow(url: string, sql: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return (await client.query(sql)).rows.length === 1
  } catch (error) {
    // No such database, no such table.
    if (['3D000', '42P01'].includes((error as pg.DatabaseError).code ?? '')) return false
    throw error
  } finally {
    await client.end()
  }
}

/** Resolves when the standby has the slot, to stay. */
async function slotIsCopied(db: Pick<OwnDatabase, 'query'>, there: string): Promise<void> {
  const copied = `select from pg_replication_slots where slot_name = '${SLOT}' and failover and synced and not temporary`
  const isCopied = async (): Promise<boolean> => {
    // A copy is taken over once the standby has come as far as what the slot needs, which is told now and then.
    await db.query('select pg_log_standby_snapshot()')
    return hasRow(there, copied)
  }
  await until(isCopied, 'the standby has the slot', PATIENCE_MS)
}

test.each<[string, 14 | 18, Partial<OpenCacheOptions>]>([
  ['a temporary slot', 14, {}],
  ['a slot that the standby has as well', 18, { slot: { durable: true, name: SLOT } }],
])(
  'over %s, the new primary is loaded anew, and never gone on with from ahead of it (PostgreSQL %i)',
  async (_slot, major, options) => {
    shows('C28', 'I19')
    const { primary, standby } = await pair(major)
    const db = await databaseOn(primary)
    await db.query('create table rows (id int primary key, note text)')
    await using proxy = await startProxy(primary)
    const pool = poolOf(proxy.through(db.url))
    const logger = recordingLogger()
    const cache: Cache = await openCache({ pool, entities: [rows], logger, maxStaleness: 2_000, ...options })
    onTestFinished(() => cache.close())
    const { token: kept } = await cache.write(client => client.query(`insert into rows values (1, 'kept')`))
    await cache.waitFor(kept)
    const told = cache.table(rows).changes()
    // The slot's copy, and the row, have come to the standby.
    const there = on(standby, db.url)
    await until(() => hasRow(there, 'select from rows where id = 1'), 'the standby has the row', PATIENCE_MS)
    if (major === 18) await slotIsCopied(db, there)

    // From here on the primary's commits are its own, and the cache shows them.
    await standby.stop('immediate')
    const tokens: string[] = []
    for (let id = 2; id <= 20; id++) {
      const { token } = await cache.write(client =>
        client.query(`insert into rows values ($1, 'lost')`, [id]),
      )
      tokens.push(token)
    }
    const lost = tokens.at(-1)!
    await cache.waitFor(lost)
    expect(cache.table(rows).local.size).toBe(20)
    const session = cache.session(lost)

    await primary.stop('immediate')
    await standby.start()
    await promote(there)
    // Its first commits lie before what the cache has applied; its last ones behind that, under the same numbers as what was lost.
    const writer = new pg.Client({ connectionString: there })
    await writer.connect()
    for (let id = 101; id <= 140; id++)
      await writer.query(`insert into rows values ($1, repeat('new', 1000))`, [id])
    proxy.leadTo(standby)

    await until(
      () => {
        try {
          return cache.table(rows).local.has(140)
        } catch (error) {
          if (error instanceof StaleError) return false
          throw error
        }
      },
      'the new primary is read',
      PATIENCE_MS,
    )
    const inDatabase = async () => (await writer.query('select * from rows order by id')).rows
    const inMemory = (): object[] => [...cache.table(rows).local].toSorted((a, b) => a.id - b.id)
    expect(inMemory()).toEqual(await inDatabase())
    expect(cache.table(rows).local.has(2)).toBe(false)

    if (major === 18)
      expect(logger.lines.filter(line => /up to .*, and more than that was applied/.test(line))).toHaveLength(
        1,
      )
    await cache.waitFor(kept)
    await expect(cache.waitFor(lost)).rejects.toBeInstanceOf(TokenLostError)
    const read = cache.table(rows).findUnique({ where: { id: 1 }, after: lost })
    await expect(read).rejects.toBeInstanceOf(TokenLostError)
    await expect(session.table(rows).findUnique({ where: { id: 1 } })).rejects.toBeInstanceOf(TokenLostError)
    // What the follower has of the old history can't be mended by changes.
    let change = await told.next()
    while (change.value?.kind !== 'gap') change = await told.next()
    expect(change.value).toMatchObject({ kind: 'gap', reason: 'reload' })

    await writer.query(`update rows set note = 'later' where id = 101; delete from rows where id = 1`)
    await caughtUp(cache)
    expect(inMemory()).toEqual(await inDatabase())
    await writer.end()
    await cache.close()
    const after = new pg.Client({ connectionString: there })
    await after.connect()
    await untilNothingIsLeft({ query: async (sql: string) => (await after.query(sql)).rows })
    await after.end()
  },
  120_000,
)

// 17 is the first one that has slots which a standby keeps in step.
test.each([17, 18] as const)(
  'a standby that has kept the slot in step, and has all that was applied, is gone on with: nothing is loaded (PostgreSQL %i)',
  async major => {
    shows('C28')
    // What the standby does not have is not sent.
    const { primary, standby } = await pair(major, { synchronized_standby_slots: 'standby' })
    const db = await databaseOn(primary)
    await db.query('create table rows (id int primary key, note text)')
    await using proxy = await startProxy(primary)
    const logger = recordingLogger()
    const cache: Cache = await openCache({
      pool: poolOf(proxy.through(db.url)),
      entities: [rows],
      logger,
      slot: { durable: true, name: SLOT },
      maxStaleness: 2_000,
      onStale: { local: 'serve' },
    })
    onTestFinished(() => cache.close())
    const told = cache.table(rows).changes()
    const snapshot = cache.snapshot()
    const write = async (id: number): Promise<string> =>
      (await cache.write(client => client.query(`insert into rows values ($1, 'old')`, [id]))).token
    const first = await write(1)
    await cache.waitFor(first, { timeoutMs: PATIENCE_MS })
    const there = on(standby, db.url)
    await until(() => hasRow(there, 'select from rows where id = 1'), 'the standby has the row', PATIENCE_MS)
    await slotIsCopied(db, there)
    let last = first
    for (let id = 2; id <= 20; id++) last = await write(id)
    await cache.waitFor(last, { timeoutMs: PATIENCE_MS })
    const session = cache.session(last)

    await primary.stop('immediate')
    await promote(there)
    const writer = new pg.Client({ connectionString: there })
    await writer.connect()
    onTestFinished(() => writer.end())
    for (let id = 101; id <= 140; id++)
      await writer.query(`insert into rows values ($1, repeat('new', 1000))`, [id])
    proxy.leadTo(standby)
    await until(() => cache.table(rows).local.has(140), 'the new primary is read', PATIENCE_MS)

    const inMemory = (): object[] => [...cache.table(rows).local].toSorted((a, b) => a.id - b.id)
    const inDatabase = async (): Promise<object[]> =>
      (await writer.query('select * from rows order by id')).rows as object[]
    expect(inMemory()).toEqual(await inDatabase())
    expect(inMemory()).toHaveLength(60)
    expect(logger.lines.filter(line => /loaded anew|can't be gone on with/i.test(line))).toEqual([])
    // Followers have missed nothing, tokens and sessions are as good as ever, and snapshots stand.
    const ids: number[] = []
    while (ids.length < 60) {
      const { value } = await told.next()
      if (value?.kind !== 'insert') throw new Error(`not an insert, but ${value?.kind}`)
      ids.push(value.new!.id)
    }
    expect(ids).toEqual((await inDatabase()).map(row => (row as { id: number }).id))
    await cache.waitFor(first)
    await cache.waitFor(last)
    expect(await session.table(rows).findUnique({ where: { id: 20 } })).toEqual({ id: 20, note: 'old' })
    expect(snapshot.table(rows).local.size).toBe(0)
    snapshot.close()
    // New tokens are of the new timeline.
    const later = (
      await cache.write(client =>
        client.query(`update rows set note = 'later' where id = 101; delete from rows where id = 1`),
      )
    ).token
    await cache.waitFor(later, { timeoutMs: PATIENCE_MS })
    expect(later.split('.')[2]).toBe('2')
    expect(cache.position.split('.')[2]).toBe('2')
    expect(inMemory()).toEqual(await inDatabase())
    expect((await cache.verify()).mismatched).toBe(0)
  },
  120_000,
)
