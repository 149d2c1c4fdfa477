/** A database that tells of DDL: what is altered is noticed at its place among the commits. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, type OpenCacheOptions } from '../../src/index.js'
import { GUARD_PREFIX } from '../../src/sql/guard-sql.js'
import { guardSql } from '../../src/sql/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'

const things = defineTable<{ id: number; note: string }>({ name: 'things' })
const others = defineTable<{ id: number }>({ name: 'others' })

interface Opened {
  readonly db: TestDatabase
  readonly cache: Cache
  /** How often the server was asked about the tables' shapes. */
  looks(): number
}

async function open(
  options: Partial<OpenCacheOptions> = {},
  { major = 18, guarded = true }: { major?: 15 | 18; guarded?: boolean } = {},
): Promise<Opened> {
  const db = await testDatabase({ major })
  await db.query(`
    create table things (id int primary key, note text); insert into things values (1, 'v0');
    create table others (id int primary key)`)
  if (guarded) await db.query(guardSql())
  const pool = poolOf(db.url)
  let looks = 0
  const runtime = await tamperedRuntime(pool, {
    query: sql => {
      if (sql.includes(' AS synchronous')) looks++
    },
  })
  const cache = await openCache({ pool, entities: [things, others], runtime, ...options })
  onTestFinished(() => cache.close())
  return { db, cache, looks: () => looks }
}

describe.each([
  ['pgoutput', 18],
  ['wal2json', 15],
] as const)('with %s', (decoder, major) => {
  test('nobody who waits for a commit that alters a table reads its old shape', async () => {
    const { db, cache } = await open({ decoder }, { major })
    for (let version = 1; version <= 5; version++) {
      await db.query(`alter table things alter note type text using 'v${version}'`)
      await caughtUp(cache)
      // A table that is being read anew is answered by PostgreSQL; one that is back, from memory.
      expect(await cache.table(things).findUnique({ where: { id: 1 } })).toEqual({
        id: 1,
        note: `v${version}`,
      })
      await until(() => cache.state === 'live' && cache.health().tables[0]!.failed === null, 'it is back')
      expect(cache.table(things).local.get(1)?.note).toBe(`v${version}`)
    }
    expect(cache.health().reconnects === 0).toBe(decoder === 'pgoutput')
  })
})

test('rows written by the transaction that alters their table are right', async () => {
  const { db, cache } = await open()
  for (let version = 1; version <= 5; version++) {
    await db.query(`
      begin; insert into things values (${version * 10}, 'before');
      alter table things alter note type text using 'v${version} ' || id;
      insert into things values (${version * 10 + 1}, 'after'); commit`)
    await caughtUp(cache)
    const rows = await cache.table(things).findMany({ orderBy: { id: 'asc' } })
    expect(rows).toEqual(await db.query('select * from things order by id'))
  }
  expect(cache.health().reconnects).toBe(0)
})

test('a message that somebody makes up costs one question a transaction, and nothing else', async () => {
  const { db, cache, looks } = await open({}, { guarded: false })
  const emit = (content: string, count: number): Promise<unknown> =>
    db.query(`select count(pg_logical_emit_message(true, $1, $2)) from generate_series(1, $3)`, [
      GUARD_PREFIX,
      content,
      count,
    ])
  const asked = looks()
  await emit('*', 10_000)
  await emit('nonsense', 1)
  await emit('1,2,3', 10_000)
  await caughtUp(cache)
  expect(cache.health()).toMatchObject({ state: 'live', reconnects: 0 })
  expect(cache.health().tables.every(({ failed }) => failed === null)).toBe(true)
  expect(cache.table(things).local.get(1)).toEqual({ id: 1, note: 'v0' })
  // One each for two of the transactions, a few while they are not visible yet, and the probe of each second.
  expect(looks() - asked).toBeLessThan(1_000)
})
