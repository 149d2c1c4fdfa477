import assert from 'node:assert/strict'
import type pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  type Snapshot,
  SnapshotTooOldError,
  type TableChange,
} from '../../src/index.js'
import { caughtUp, poolOf, rowsByKey, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Order {
  readonly id: number
  readonly lines: number
  readonly total: number
}
interface Line {
  readonly id: number
  readonly orderId: number
  readonly amount: number
}

const orders = defineTable<Order>({ name: 'orders' })
const lines = defineTable<Line>({ name: 'lines', naming: 'snake', columns: ['id', 'orderId', 'amount'] })
const ORDERS = 10

async function shop(options: Partial<OpenCacheOptions> = {}): Promise<{ db: TestDatabase; cache: Cache }> {
  const db = await testDatabase()
  await db.query(`
    create table orders (id int primary key, lines int not null, total int not null);
    create table lines (id serial primary key, order_id int not null, amount int not null);
    insert into orders select i, 0, 0 from generate_series(1, ${ORDERS}) i`)
  const cache = await openCache({ pool: poolOf(db.url), entities: [orders, lines], ...options })
  onTestFinished(() => cache.close())
  return { db, cache }
}

/** Adds, alters and removes lines until it is told to stop; each transaction keeps its order's count and total right. */
async function customers(db: TestDatabase, count = 3): Promise<() => Promise<void>> {
  let going = true
  const customer = async (client: pg.Client, n: number): Promise<void> => {
    for (let i = n; going; i++) {
      const order = (i % ORDERS) + 1
      const amount = (i * 37) % 101
      await client.query('begin')
      await client.query('select from orders where id = $1 for update', [order])
      if (i % 4 === 0)
        await client.query('delete from lines where id = (select min(id) from lines where order_id = $1)', [
          order,
        ])
      else if (i % 4 === 1)
        await client.query('update lines set amount = amount + 1 where order_id = $1', [order])
      else
        await client.query('insert into lines (order_id, amount) select $1, $2 from generate_series(1, 3)', [
          order,
          amount,
        ])
      await client.query(
        `update orders set (lines, total) = (select count(*), coalesce(sum(amount), 0) from lines where order_id = $1) where id = $1`,
        [order],
      )
      await client.query(i % 11 === 10 ? 'rollback' : 'commit')
    }
  }
  const work = Promise.all(Array.from({ length: count }, async (_, n) => customer(await db.connect(), n)))
  const stop = async (): Promise<void> => {
    going = false
    await work
  }
  onTestFinished(stop)
  return stop
}

/** What a snapshot shows, if its tables show one commit: every order's lines add up. */
function readAll(snapshot: Snapshot): string {
  const sums = new Map<number, { lines: number; total: number }>()
  for (const { orderId, amount } of snapshot.table(lines).local) {
    const sum = sums.get(orderId) ?? { lines: 0, total: 0 }
    sums.set(orderId, { lines: sum.lines + 1, total: sum.total + amount })
  }
  const shown = [...snapshot.table(orders).local].toSorted((a, b) => a.id - b.id)
  for (const { id, lines: count, total } of shown)
    expect({ id, ...(sums.get(id) ?? { lines: 0, total: 0 }) }).toEqual({ id, lines: count, total })
  return JSON.stringify([shown, [...snapshot.table(lines).local].toSorted((a, b) => a.id - b.id)])
}

const cutStream = (db: TestDatabase) =>
  db.query(
    'select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active',
    [db.name],
  )

describe('a snapshot', () => {
  test('shows one commit of all tables, and the same one as long as it is held', async () => {
    const { db, cache } = await shop({ sliceMs: 0.1 })
    const stop = await customers(db)
    const held: { snapshot: Snapshot; shown: string }[] = []
    for (let i = 0; i < 60; i++) {
      const snapshot = cache.snapshot()
      held.push({ snapshot, shown: readAll(snapshot) })
      const before = snapshot.position
      await until(() => cache.position !== before, 'there is another commit')
      if (i === 30) {
        await cutStream(db)
        await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it streams again')
      }
      if (i % 3 === 0) {
        // Any one, not just the oldest, is let go.
        const [one] = held.splice((i * 7) % held.length, 1)
        expect(readAll(one!.snapshot)).toBe(one!.shown)
        one!.snapshot.close()
        expect(() => one!.snapshot.table(orders).local.get(1)).toThrow(SnapshotTooOldError)
      }
    }
    expect(cache.health().openSnapshots).toBe(held.length)
    for (const { snapshot, shown } of held) {
      expect(readAll(snapshot)).toBe(shown)
      expect(await snapshot.table(orders).findUnique({ where: { id: 1 } })).toEqual(
        [...snapshot.table(orders).local].find(({ id }) => id === 1),
      )
      snapshot.close()
    }
    await stop()
    await caughtUp(cache)
    using last = cache.snapshot()
    readAll(last)
    expect(rowsByKey(last.table(orders).local, ({ id }) => id)).toEqual(
      rowsByKey(await db.query<Order>('select * from orders'), ({ id }) => id),
    )
    expect(cache.health().openSnapshots).toBe(1)
  })

  test('ends when it has been held for too long, and no other with it', async () => {
    const { db, cache } = await shop({ snapshotMaxAgeMs: 400 })
    const old = cache.snapshot()
    const { local } = old.table(orders)
    await db.query('update orders set total = 1')
    await caughtUp(cache)
    expect(local.get(1)?.total).toBe(0)
    await until(() => cache.health().oldestSnapshotAgeMs > 200, 'it has some age')
    using young = cache.snapshot()
    const isEnded = (): boolean => {
      try {
        local.get(1)
        return false
      } catch (error) {
        expect(error).toBeInstanceOf(SnapshotTooOldError)
        return true
      }
    }
    await until(isEnded, 'the old one ends')
    expect(young.table(orders).local.get(1)?.total).toBe(1)
    expect(() => old.table(lines)).not.toThrow()
    expect(() => old.table(lines).local.size).toThrow(SnapshotTooOldError)
    await expect(old.table(orders).findUnique({ where: { id: 1 } })).rejects.toBeInstanceOf(
      SnapshotTooOldError,
    )
    old.close()
    expect(cache.health().openSnapshots).toBe(1)
  })
})

/** A copy of a table that is kept by its changes alone. */
class Copy {
  rows = new Map<number, Line>()
  gaps = 0
  changes = 0
  #openCommit: bigint | null = null
  #lsn = 0n
  /** The snapshot that the rows were read from has everything up to here. */
  #read = 0n
  readonly #cache: Cache

  constructor(cache: Cache) {
    this.#cache = cache
    this.#readTable()
  }

  #readTable(): void {
    using snapshot = this.#cache.snapshot()
    this.rows = new Map([...snapshot.table(lines).local].map(line => [line.id, line]))
    this.#read = snapshot.lsn
  }

  take(change: TableChange<Line>): void {
    if (change.kind === 'gap') {
      // The rest of a commit may be what left the ring: then it is part of what is read again.
      this.#openCommit = null
      this.gaps++
      this.#readTable()
      expect(this.#read >= change.lsn).toBe(true)
      this.#lsn = change.lsn
      return
    }
    // Whole commits, in their order, and the last change of each says so.
    expect(change.lsn >= this.#lsn).toBe(true)
    if (this.#openCommit !== null) expect(change.lsn).toBe(this.#openCommit)
    this.#lsn = change.lsn
    this.#openCommit = change.last ? null : change.lsn
    if (change.lsn <= this.#read) return
    this.changes++
    if (change.kind === 'truncate') {
      this.rows.clear()
      return
    }
    const { old, new: next } = change
    assert(next !== undefined, 'of a whole table, every row after is known')
    expect(change.kind).toBe(old === null ? 'insert' : next === null ? 'delete' : 'update')
    if (old !== null) {
      assert(old !== undefined, 'of a whole table, every row before is known')
      expect(change.key).toEqual({ id: old.id })
      expect(this.rows.get(old.id)).toEqual(old)
      this.rows.delete(old.id)
    }
    if (next !== null) {
      expect(this.rows.has(next.id)).toBe(false)
      this.rows.set(next.id, next)
    }
  }
}

function follow(cache: Cache): { copy: Copy; changes: AsyncIterableIterator<TableChange<Line>> } {
  const changes = cache.table(lines).changes()
  return { copy: new Copy(cache), changes }
}

async function copyUntil(
  cache: Cache,
  { copy, changes }: ReturnType<typeof follow>,
  pauseMs = 0,
): Promise<void> {
  for await (const change of changes) {
    copy.take(change)
    if (pauseMs > 0 && change.kind !== 'gap' && change.last)
      await new Promise(resolve => setTimeout(resolve, pauseMs))
  }
  expect(cache.state).not.toBe('failed')
}

describe('changes()', () => {
  test('a copy that is kept by them equals the table, whenever it began', async () => {
    const { db, cache } = await shop()
    const stop = await customers(db)
    const followers: ReturnType<typeof follow>[] = []
    for (let i = 0; i < 8; i++) {
      followers.push(follow(cache))
      const before = cache.position
      await until(() => cache.position !== before, 'there is another commit')
    }
    const copying = followers.map(follower => copyUntil(cache, follower))
    await until(() => followers[0]!.copy.changes > 500, 'much has changed')
    await db.query('truncate lines')
    await db.query('update orders set lines = 0, total = 0')
    await until(() => followers[0]!.copy.changes > 800, 'and more')
    await stop()
    await db.query('update lines set id = -id')
    await caughtUp(cache)
    const inDatabase = rowsByKey(
      await db.query<Line>('select id, order_id as "orderId", amount from lines'),
      ({ id }) => id,
    )
    for (const { copy } of followers)
      await until(
        () => copy.rows.size === inDatabase.size && [...copy.rows.keys()].every(id => id < 0),
        'it has everything',
      )
    for (const { copy } of followers) {
      expect(rowsByKey(copy.rows.values(), ({ id }) => id)).toEqual(inDatabase)
      expect(copy.gaps).toBe(0)
    }
    await cache.close()
    await Promise.all(copying)
  })

  test('a reader that is too slow is told of a gap, goes on with what is newest, and is right again', async () => {
    const { db, cache } = await shop({ feedBytes: 4_000 })
    const stop = await customers(db)
    const slow = follow(cache)
    const copying = copyUntil(cache, slow, 20)
    await until(() => slow.copy.gaps > 3, 'it has fallen behind some times')
    await stop()
    await caughtUp(cache)
    const inDatabase = rowsByKey(
      await db.query<Line>('select id, order_id as "orderId", amount from lines'),
      ({ id }) => id,
    )
    await until(() => {
      try {
        expect(rowsByKey(slow.copy.rows.values(), ({ id }) => id)).toEqual(inDatabase)
        return true
      } catch {
        return false
      }
    }, 'it is right again')
    expect(cache.health().feedBytes).toBeLessThanOrEqual(4_000)
    await cache.close()
    await copying
  })

  test('a reload comes as the difference that it makes, and what follows it is right', async () => {
    const { db, cache } = await shop()
    const stop = await customers(db)
    const follower = follow(cache)
    const copying = copyUntil(cache, follower)
    for (let i = 1; i <= 2; i++) {
      await cutStream(db)
      await until(() => cache.health().reconnects >= i && cache.state === 'live', 'it is loaded anew')
      const { changes } = follower.copy
      await until(() => follower.copy.changes > changes + 50, 'changes go on')
    }
    await stop()
    await db.query('update lines set id = -id')
    await caughtUp(cache)
    const inDatabase = rowsByKey(
      await db.query<Line>('select id, order_id as "orderId", amount from lines'),
      ({ id }) => id,
    )
    await until(() => [...follower.copy.rows.keys()].every(id => id < 0), 'it has everything')
    expect(rowsByKey(follower.copy.rows.values(), ({ id }) => id)).toEqual(inDatabase)
    expect(follower.copy.gaps).toBe(0)
    await cache.close()
    await copying
  })

  test('whoever begins in the middle of a huge transaction gets a gap for all of it; whoever was there gets all of it', async () => {
    const MANY = 40_000
    const { db, cache } = await shop({ sliceMs: 0.1 })
    await db.query(
      'insert into lines (order_id, amount) select i % 10 + 1, 0 from generate_series(1, $1::int) i',
      [MANY],
    )
    await db.query('insert into orders select i + 100, 0, 0 from generate_series(1, $1::int) i', [MANY])
    await caughtUp(cache)
    const ofLines = cache.table(lines).changes()
    const { bytes } = cache.health()
    const writing = db.query('begin; update lines set amount = 1; update orders set total = 1; commit')
    // New versions take room before anybody sees them.
    await until(() => cache.health().bytes > bytes, 'it is being applied')
    const ofOrders = cache.table(orders).changes()
    expect(cache.table(lines).local.get(1)?.amount).toBe(0)
    await writing
    expect((await ofOrders.next()).value).toMatchObject({ kind: 'gap', reason: 'slow reader' })
    expect(cache.table(lines).local.get(1)?.amount).toBe(1)
    expect(cache.table(orders).local.get(1)?.total).toBe(1)
    for (let count = 1; count <= MANY; count++) {
      const change = (await ofLines.next()).value as TableChange<Line>
      if (change.kind !== 'update' || change.last !== (count === MANY)) expect(change).toBe(`update ${count}`)
    }
    await db.query('update orders set total = 2 where id = 1')
    expect((await ofOrders.next()).value).toMatchObject({
      kind: 'update',
      new: { id: 1, total: 2 },
      last: true,
    })
    await ofLines.return?.()
    await ofOrders.return?.()
    expect(cache.health()).toMatchObject({ changeReaders: 0, feedBytes: 0 })
  })

  test('a transaction larger than the feed is one gap', async () => {
    const { db, cache } = await shop({ feedBytes: 10_000 })
    const changes = cache.table(lines).changes()
    await db.query('insert into lines (order_id, amount) select 1, i from generate_series(1, 5000) i')
    const { value } = await changes.next()
    expect(value).toMatchObject({ kind: 'gap', reason: 'slow reader' })
    await cache.waitFor((value as { position: string }).position, { timeoutMs: 1 })
    expect(cache.table(lines).local.size).toBe(5_000)
    await db.query('delete from lines where id = 1')
    expect((await changes.next()).value).toMatchObject({
      kind: 'delete',
      old: { id: 1 },
      new: null,
      last: true,
    })
    await changes.return?.()
  })

  test('end with their loop, their signal, and return(); then nothing is kept for them', async () => {
    const { db, cache } = await shop()
    const table = cache.table(orders)
    const controller = new AbortController()
    const ofSignal = table.changes({ signal: controller.signal })
    const returned = table.changes()
    const waiting = returned.next()
    const loop = (async () => {
      for await (const change of table.changes()) return change.kind
      return 'nothing'
    })()
    await until(() => cache.health().changeReaders === 3, 'all three read')
    await db.query('update orders set total = 1 where id = 1')
    expect(await loop).toBe('update')
    expect((await waiting).value).toMatchObject({
      kind: 'update',
      old: { total: 0 },
      new: { total: 1 },
      last: true,
    })
    expect((await ofSignal.next()).value).toMatchObject({ kind: 'update' })
    const next = ofSignal.next()
    controller.abort()
    expect(await next).toEqual({ done: true, value: undefined })
    await returned.return?.()
    expect(await returned.next()).toEqual({ done: true, value: undefined })
    expect(cache.health()).toMatchObject({ changeReaders: 0, feedBytes: 0 })
    const already = table.changes({ signal: AbortSignal.abort() })
    expect(await already.next()).toEqual({ done: true, value: undefined })
    await db.query('update orders set total = 2 where id = 1')
    await caughtUp(cache)
    expect(cache.health()).toMatchObject({ changeReaders: 0, feedBytes: 0 })
  })
})
