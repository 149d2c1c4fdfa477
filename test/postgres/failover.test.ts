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
import { caughtUp, databaseOn, poolOf, recordingLogger, until, untilNothingIsLeft } from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'
import { startProxy } from '../support/tcp-proxy.js'
import pg from 'pg'

const rows = defineTable<{ id: number; note: string }>({ name: 'rows' })
const SLOT = 'walcache_failover_test'
const PATIENCE_MS = 60_000

/** A primary, and a standby that follows it. */
async function pair(major: 14 | 18): Promise<{ primary: PostgresServer; standby: PostgresServer }> {
  const primary = await startPostgres({ major })
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
    if (major === 18) {
      const copied = `select from pg_replication_slots where slot_name = '${SLOT}' and failover and synced and not temporary`
      const isCopied = async (): Promise<boolean> => {
        // A copy is taken over once the standby has come as far as what the slot needs, which is told now and then.
        await db.query('select pg_log_standby_snapshot()')
        return hasRow(there, copied)
      }
      await until(isCopied, 'the standby has the slot', PATIENCE_MS)
    }

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
