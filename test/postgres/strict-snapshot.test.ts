/** Snapshots with a transaction beside them: every query of every table, as of one commit. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  ConnectionError,
  defineTable,
  type Lsn,
  openCache,
  type OpenCacheOptions,
  OptionError,
  SnapshotMissError,
  SnapshotNotAlignedError,
  SnapshotTooOldError,
  StrictSnapshotLimitError,
} from '../../src/index.js'
import { caughtUp, databaseOn, type OwnDatabase, poolOf, setStandbys, until } from '../support/cache.js'
import {
  boundedItems,
  byKey,
  GROUPS,
  type Item,
  ItemHistory,
  itemsSql,
  writeMany,
} from '../support/item-stage.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { testDatabase } from '../support/servers.js'

const totals = defineTable<{ id: number; sum: number }>({ name: 'totals' })
const TOTALS = 'create table totals (id int primary key, sum int not null); insert into totals values (1, 0)'

async function given(
  options: Partial<OpenCacheOptions> = {},
  database?: OwnDatabase,
): Promise<{ db: OwnDatabase; cache: Cache }> {
  const db = database ?? (await testDatabase())
  await db.query(`${itemsSql}; ${TOTALS}`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [boundedItems, totals], ...options })
  onTestFinished(() => cache.close())
  return { db, cache }
}

const sessions = async (db: OwnDatabase): Promise<number> => {
  const [row] = await db.query<{ held: number }>(
    `select count(*)::int as held from pg_stat_activity
      where application_name = 'walcache' and datname = current_database() and state like 'idle in transaction%'`,
  )
  return row!.held
}

describe('a strict snapshot', () => {
  test('answers every query as of its commit, whatever is written afterwards', async () => {
    const { db, cache } = await given()
    await cache.table(boundedItems).prefetch([1])
    const before = await db.query<Item>('select * from items order by id')
    await using snapshot = await cache.strictSnapshot()
    await cache.waitFor(snapshot.position, { timeoutMs: 1 })
    await db.query(
      'update items set n = n + 1; delete from items where id = 3; insert into totals values (2, 2)',
    )
    await caughtUp(cache)
    const items = snapshot.table(boundedItems)
    expect(items.local.get(1)).toEqual(before[0])
    expect(await items.findUnique({ where: { id: 3 } })).toEqual(before[2])
    expect(await items.findUnique({ where: { id: 5_000 } })).toBeNull()
    expect(await items.findMany({ where: { grp: 1 }, orderBy: { id: 'asc' } })).toEqual(
      before.filter(({ grp }) => grp === 1),
    )
    expect(await items.findMany({ orderBy: { id: 'desc' }, take: 1, select: { id: true } })).toEqual([
      { id: 60 },
    ])
    expect(
      await items.findFirst({ where: { big: { startsWith: 'a' } }, orderBy: [{ n: 'asc' }, { id: 'asc' }] }),
    ).toEqual(before[0])
    expect([await items.count(), await items.count({ where: { grp: 2 } })]).toEqual([60, 10])
    expect(await snapshot.table(totals).findMany()).toEqual([{ id: 1, sum: 0 }])
    const many = await Promise.all(before.map(({ id }) => items.findUnique({ where: { id } })))
    expect(many).toEqual(before)
  })

  test('lets go of a table as soon as it has been read, and refuses it by name once it was altered or emptied', async () => {
    const { db, cache } = await given()
    await using snapshot = await cache.strictSnapshot()
    const items = snapshot.table(boundedItems)
    await items.count()
    await db.query(`set lock_timeout = '20s'; truncate items`)
    await expect(items.count()).rejects.toBeInstanceOf(SnapshotMissError)
    expect((await snapshot.table(totals).findMany()).length).toBe(1)
    // Of an emptied table memory knows everything, until something has to leave.
    await db.query(`insert into items select i, 1, 0, 'again' from generate_series(1, 30) i`)
    await caughtUp(cache)
    await using other = await cache.strictSnapshot()
    expect(await other.table(boundedItems).count()).toBe(30)
    await db.query(
      'alter table items rename n to m; alter table items rename grp to n; alter table items rename m to grp',
    )
    await expect(other.table(boundedItems).count()).rejects.toBeInstanceOf(SnapshotMissError)
  })

  test('ends with its time', async () => {
    const { db, cache } = await given({ snapshotMaxAgeMs: 200 })
    const old = await cache.strictSnapshot()
    await until(async () => (await sessions(db)) === 0, 'its time is up')
    await expect(old.table(boundedItems).count()).rejects.toBeInstanceOf(SnapshotTooOldError)
    expect(cache.health().openSnapshots).toBe(0)
  })

  test('ends with the cache, and when it is closed, and its session goes', async () => {
    const { db, cache } = await given()
    const closed = await cache.strictSnapshot()
    expect(await sessions(db)).toBe(1)
    await closed.close()
    await closed.close()
    expect(await sessions(db)).toBe(0)
    await expect(closed.table(totals).findMany()).rejects.toBeInstanceOf(SnapshotTooOldError)
    const last = await cache.strictSnapshot()
    await cache.close()
    expect(await sessions(db)).toBe(0)
    await expect(last.table(boundedItems).count()).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
    await expect(cache.strictSnapshot()).rejects.toMatchObject({ code: 'CACHE_CLOSED' })
  })

  test('says by name that its session was lost, that there are too many, and what it does not take', async () => {
    const { db, cache } = await given({ connections: 2 })
    const one = await cache.strictSnapshot()
    const two = await cache.strictSnapshot()
    await expect(cache.strictSnapshot()).rejects.toBeInstanceOf(StrictSnapshotLimitError)
    await two.close()
    await db.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'walcache' and datname = current_database() and state like 'idle in transaction%'`,
    )
    await expect(one.table(boundedItems).count()).rejects.toBeInstanceOf(ConnectionError)
    await one.close()
    await expect(cache.strictSnapshot({ timeoutMs: -1 })).rejects.toBeInstanceOf(OptionError)
    const stop = new AbortController()
    stop.abort(new Error('no more'))
    await expect(cache.strictSnapshot({ signal: stop.signal })).rejects.toThrow('no more')
    await using three = await cache.strictSnapshot()
    expect(await three.table(boundedItems).count()).toBe(60)
  })
})

describe('while commits wait for a standby', () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres({ settings: { max_prepared_transactions: 20 } })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const commitsHang = async (db: OwnDatabase): Promise<boolean> =>
    (
      await db.query(
        `select from pg_stat_activity where wait_event = 'SyncRep' and datname = current_database()`,
      )
    ).length > 0

  /** Commits until one hangs: the server takes a moment to notice its setting. */
  async function hang(db: OwnDatabase, commit: () => Promise<unknown>): Promise<{ ended: Promise<unknown> }> {
    for (;;) {
      let isOver = false
      const ended = commit().finally(() => {
        isOver = true
      })
      await until(async () => isOver || (await commitsHang(db)), 'the commit hangs, or is over')
      if (!isOver) return { ended }
    }
  }

  test('there is none that lacks a commit which memory has shown, or has one that came after it', async () => {
    const { db, cache } = await given({}, await databaseOn(server))
    await db.query('set synchronous_commit = local')
    const writer = await db.connect()
    try {
      await db.query('update totals set sum = 0')
      await caughtUp(cache)
      await setStandbys(db, 'nosuch')
      const hanging = await hang(db, () => writer.query('update totals set sum = 7 where id = 1'))
      await until(() => cache.table(totals).local.get(1)?.sum === 7, 'memory shows the commit')
      await expect(cache.strictSnapshot({ timeoutMs: 300 })).rejects.toBeInstanceOf(SnapshotNotAlignedError)
      const patient = cache.strictSnapshot({ timeoutMs: 20_000 })
      await db.query(`insert into totals values (2, 2)`)
      await setStandbys(db, '')
      await hanging.ended
      await using snapshot = await patient
      expect(byId(await snapshot.table(totals).findMany())).toEqual([
        { id: 1, sum: 7 },
        { id: 2, sum: 2 },
      ])
    } finally {
      await setStandbys(db, '')
    }
  }, 60_000)

  test('each shows the state after its commit, row by row, of what memory holds and of what it does not', async () => {
    const { db, cache } = await given({}, await databaseOn(server))
    await db.query('set synchronous_commit = local')
    const history = await ItemHistory.open(db)
    const claims: { lsn: Lsn; rows: Item[]; group: Item[]; count: number }[] = []
    let isWriting = true
    const toggling = (async () => {
      while (isWriting) {
        await setStandbys(db, 'nosuch')
        await until(async () => !isWriting || (await commitsHang(db)), 'a commit hangs')
        await setStandbys(db, '')
        const { length } = claims
        await until(() => !isWriting || claims.length > length, 'a snapshot was read')
      }
    })()
    const reading = (async () => {
      for (; isWriting || claims.length < 3; await nextTurn()) {
        await using snapshot = await cache.strictSnapshot({ timeoutMs: 30_000 })
        const items = snapshot.table(boundedItems)
        const grp = claims.length % GROUPS
        const group = (): Promise<Item[]> => items.findMany({ where: { grp } })
        try {
          const rows = await items.findMany()
          const first = await group()
          const count = await items.count()
          // Memory answers where it can.
          await cache.table(boundedItems).findMany({ where: { grp } })
          expect(byKey(await group())).toEqual(byKey(first))
          claims.push({ lsn: snapshot.lsn, rows, group: first, count })
        } catch (error) {
          // There was a TRUNCATE.
          if (!(error instanceof SnapshotMissError)) throw error
        }
      }
    })()
    reading.catch(() => {
      isWriting = false
    })
    await writeMany(db, 4, 40, true)
    isWriting = false
    await Promise.all([toggling, reading])
    await history.complete(db)
    expect(claims.length).toBeGreaterThan(2)
    for (const [i, { lsn, rows, group, count }] of claims.entries()) {
      const truth = byKey(history.at(lsn).values())
      expect(byKey(rows)).toEqual(truth)
      expect(byKey(group)).toEqual(truth.filter(({ grp }) => grp === i % GROUPS))
      expect(count).toBe(truth.length)
    }
  }, 90_000)
})

function byId<Row extends { id: number }>(rows: readonly Row[]): Row[] {
  return rows.toSorted((a, b) => a.id - b.id)
}
