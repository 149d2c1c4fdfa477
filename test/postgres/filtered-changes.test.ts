import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotLocalError,
  openCache,
  type OpenCacheOptions,
  OptionError,
  QueryError,
  type TableChange,
  TokenError,
} from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

interface Comment {
  readonly id: number
  readonly documentId: number
  readonly author: string | null
  readonly rating: number
  readonly extra: unknown
}

const comments = defineTable<Comment>({
  name: 'comments',
  naming: 'snake',
  columns: ['id', 'documentId', 'author', 'rating', 'extra'],
})

let db: TestDatabase
beforeAll(async () => {
  db = await testDatabase()
})
beforeEach(async () => {
  await db.query(`
    drop table if exists comments;
    create table comments (id serial primary key, document_id int not null, author text, rating float8 not null default 0, extra json)`)
})

async function open(options: Partial<OpenCacheOptions> = {}): Promise<Cache> {
  const cache = await openCache({ pool: poolOf(db.url), entities: [comments], ...options })
  onTestFinished(() => cache.close())
  return cache
}

type Changes = AsyncIterator<TableChange<Comment>>

async function take(changes: Changes, count: number): Promise<TableChange<Comment>[]> {
  const taken: TableChange<Comment>[] = []
  while (taken.length < count) {
    const { value, done } = await changes.next()
    if (done === true) break
    taken.push(value)
  }
  return taken
}

const say = (documentId: number, author: string | null = 'Ada'): Promise<unknown> =>
  db.query('insert into comments (document_id, author) values ($1, $2)', [documentId, author])

describe('changes({ where })', () => {
  test('gives what comes in, what goes out, and what is altered within', async () => {
    const cache = await open()
    const changes = cache.table(comments).changes({ where: { documentId: 7, author: 'Ada' } })
    await say(7)
    await say(7, 'Grace')
    await say(8)
    await db.query('update comments set document_id = 7, author = $1 where id = 3', ['Ada'])
    await db.query('update comments set rating = 1')
    await db.query('update comments set author = null where id = 1')
    await db.query('delete from comments')
    const all = await take(changes, 6)
    expect(
      all.map(change =>
        change.kind === 'gap' || change.kind === 'truncate'
          ? change.kind
          : [change.kind, change.key, change.old?.author, change.new?.author, change.last],
      ),
    ).toEqual([
      ['insert', { id: 1 }, undefined, 'Ada', true],
      ['insert', { id: 3 }, undefined, 'Ada', true],
      ['update', { id: 1 }, 'Ada', 'Ada', false],
      ['update', { id: 3 }, 'Ada', 'Ada', true],
      ['delete', { id: 1 }, 'Ada', undefined, true],
      ['delete', { id: 3 }, 'Ada', undefined, true],
    ])
    expect(all[0]).toMatchObject({ old: null })
    expect(all[4]).toMatchObject({ new: null })
    expect(new Set(all.map(({ position }) => position)).size).toBe(5)
  })

  test('takes whatever memory can decide: ranges, lists, alternatives', async () => {
    const cache = await open()
    const table = cache.table(comments)
    const ranges = table.changes({ where: { rating: { gte: 2.5 }, documentId: { in: [1, 2] } } })
    const either = table.changes({
      where: { OR: [{ author: { startsWith: 'Gr' } }, { NOT: { rating: 0 } }] },
    })
    await say(1)
    await say(3, 'Grace')
    await db.query('update comments set rating = id + 1.5')
    expect(await take(ranges, 1)).toMatchObject([{ kind: 'insert', new: { id: 1, rating: 2.5 }, last: true }])
    expect((await take(either, 3)).map(change => [change.kind, 'key' in change && change.key.id])).toEqual([
      ['insert', 2],
      ['insert', 1],
      ['update', 2],
    ])
  })

  test('takes null for IS NULL, and goes on after a reload', async () => {
    const cache = await open()
    const changes = cache.table(comments).changes({ where: { author: null } })
    await say(1, null)
    expect(await take(changes, 1)).toMatchObject([{ kind: 'insert', new: { author: null } }])
    await db.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where database = $1 and active',
      [db.name],
    )
    await until(() => cache.health().reconnects > 0 && cache.state === 'live', 'it is loaded anew')
    await say(1)
    await say(2, null)
    expect(await take(changes, 1)).toMatchObject([{ kind: 'insert', new: { documentId: 2 } }])
  })

  test('refuses what it can’t compare, and what means nothing', async () => {
    const cache = await open()
    const table = cache.table(comments)
    expect(() => table.changes({ where: { extra: '{}' } })).toThrow(NotLocalError)
    expect(() => table.changes({ where: { documentId: 'x' } })).toThrow(QueryError)
    expect(() => table.changes({ where: { nobody: 1 } as object })).toThrow(QueryError)
    expect(() => table.changes({ since: 'made up' })).toThrow(TokenError)
    expect(() => table.changes({ after: 'x' } as object)).toThrow(OptionError)
    expect(cache.health().changeReaders).toBe(0)
  })
})

describe('changes({ since })', () => {
  test('goes on behind a token, on another server too', async () => {
    const [here, there] = await Promise.all([open(), open({ feedHistoryMs: 60_000 })])
    await there.table(comments).changes().return?.()
    const first = here.table(comments).changes()
    await say(1)
    await say(2)
    const [one] = await take(first, 1)
    await say(3)
    await caughtUp(there)
    const resumed = there.table(comments).changes({ since: one!.position })
    const missed = await take(resumed, 2)
    expect(missed.map(change => change.kind === 'insert' && change.new?.documentId)).toEqual([2, 3])
    await resumed.return?.()
  })

  test('tells a gap where nothing was held', async () => {
    const cache = await open()
    const { position } = cache
    await say(1)
    await caughtUp(cache)
    const changes = cache.table(comments).changes({ since: position })
    const [gap] = await take(changes, 1)
    expect(gap).toMatchObject({ kind: 'gap', reason: 'history' })
    await cache.waitFor(gap!.position, { timeoutMs: 1 })
    await say(2)
    expect(await take(changes, 1)).toMatchObject([{ kind: 'insert', new: { documentId: 2 } }])
  })

  test('nothing is held when the time after the last reader is over', async () => {
    const cache = await open({ feedHistoryMs: 50 })
    const changes = cache.table(comments).changes()
    await say(1)
    await take(changes, 1)
    await changes.return?.()
    expect(cache.health()).toMatchObject({ changeReaders: 0 })
    await until(() => cache.health().feedBytes === 0, 'what was held is let go')
  })
})
