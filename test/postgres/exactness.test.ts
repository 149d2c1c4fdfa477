import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache } from '../../src/index.js'
import { blockingSql } from '../support/blocking-sql.js'
import { caughtUp, databaseOn, type OwnDatabase, poolOf, rowsByKey, until } from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

interface Thing {
  readonly id: number
  readonly n: number
  readonly big: string
  readonly note: string | null
}

const things = defineTable<Thing>({ name: 'things' })
const IDS = 200

// Of its own: its writers never stop, and every slot of a cluster waits for them.
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
})
afterAll(() => server[Symbol.asyncDispose]())

async function thingsDatabase(rows = IDS): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query(`
    create table things (id int primary key, n int not null, big text not null, note text);
    alter table things alter big set storage external`)
  await db.query(
    `insert into things select i, 0, repeat(md5(i::text), 100), null from generate_series(1, $1::int) i`,
    [rows],
  )
  return db
}

async function expectEqualToTable(cache: Cache, db: OwnDatabase, declaration = things): Promise<void> {
  await caughtUp(cache)
  const inDatabase = await db.query<Thing>(`select * from ${declaration.table}`)
  const inMemory = rowsByKey(cache.table(declaration).local, ({ id }) => id)
  expect(inMemory.size).toBe(inDatabase.length)
  expect(inMemory).toEqual(rowsByKey(inDatabase, ({ id }) => id))
}

/** A generator of numbers in [0, 1) that gives the same ones for the same seed. */
function chance(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** One session that does, in transactions of several statements, all that a change stream has to carry. */
class Writer {
  readonly #client: pg.Client
  readonly #random: () => number
  readonly #name: string
  #prepared = 0
  transactions = 0
  #going = true
  readonly #done: Promise<void>

  constructor(client: pg.Client, seed: number) {
    this.#client = client
    this.#random = chance(seed)
    this.#name = `w${seed}`
    this.#done = this.#run()
    // Whoever stops it meets what went wrong.
    this.#done.catch(() => undefined)
  }

  stop(): Promise<void> {
    this.#going = false
    return this.#done
  }

  async #run(): Promise<void> {
    while (this.#going) {
      try {
        await this.#transaction()
        this.transactions++
      } catch (error) {
        // A key that is taken, or a deadlock: nothing of it has happened.
        if (!['23505', '40P01'].includes((error as pg.DatabaseError).code ?? '')) throw error
        await this.#client.query('rollback')
      }
    }
  }

  async #transaction(): Promise<void> {
    const client = this.#client
    await client.query('begin')
    for (let left = this.#upTo(4); left >= 0; left--) {
      const inSavepoint = this.#random() < 0.3
      if (inSavepoint) await client.query('savepoint s')
      await this.#change()
      if (inSavepoint) await client.query(this.#random() < 0.5 ? 'rollback to s' : 'release s')
    }
    const end = this.#random()
    if (end < 0.1) await client.query('rollback')
    else if (end > 0.85) {
      const name = `${this.#name}_${this.#prepared++}`
      await client.query(`prepare transaction '${name}'`)
      await client.query(`${end > 0.95 ? 'rollback' : 'commit'} prepared '${name}'`)
    } else await client.query('commit')
  }

  #upTo(count: number): number {
    return Math.floor(this.#random() * count)
  }

  async #change(): Promise<unknown> {
    const id = this.#upTo(IDS) + 1
    const other = this.#upTo(IDS) + 1
    const kind = this.#random()
    const query = (sql: string): Promise<unknown> => this.#client.query(sql)
    if (kind < 0.25) return query(`update things set n = n + 1 where id = ${id}`)
    if (kind < 0.4) return query(`update things set note = E'note ${other}\\t\\\\N\\n' where id = ${id}`)
    if (kind < 0.5) return query(`update things set big = repeat(md5('${other}'), 100) where id = ${id}`)
    // A key change that leaves the TOASTed value where it is.
    if (kind < 0.7)
      return query(
        `update things set id = ${other}, n = n + 1 where id = ${id} and not exists (select from things where id = ${other})`,
      )
    if (kind < 0.8) return query(`delete from things where id = ${id}`)
    if (kind < 0.99)
      return query(
        `insert into things values (${id}, 0, repeat(md5('${id}'), 100), null)
         on conflict (id) do update set n = things.n + 100, note = null`,
      )
    return query('truncate things')
  }
}

/** Commits hang, streamed but not yet visible to anybody, whenever a standby is waited for that there is not. */
async function fickleStandby(db: OwnDatabase): Promise<void> {
  const admin = await db.connect()
  let going = true
  const toggling = (async () => {
    for (let i = 0; going; i++) {
      await admin.query(`alter system set synchronous_standby_names = '${i % 2 === 0 ? 'nosuch' : ''}'`)
      await admin.query('select pg_reload_conf()')
      await new Promise(resolve => setTimeout(resolve, 100))
    }
    await admin.query('alter system reset synchronous_standby_names')
    await admin.query('select pg_reload_conf()')
  })()
  onTestFinished(() => {
    going = false
    return toggling
  })
}

test.each([
  ['', async () => undefined],
  [', while commits hang on a synchronous standby that comes and goes', fickleStandby],
])(
  'a load at any moment under writes of every kind ends with the table’s own contents%s',
  async (_how, disturb) => {
    const db = await thingsDatabase()
    await disturb(db)
    const pool = poolOf(db.url)
    const writers = await Promise.all([1, 2, 3].map(async seed => new Writer(await db.connect(), seed)))
    const caches: Cache[] = []
    onTestFinished(async () => {
      await Promise.all(writers.map(writer => writer.stop()))
      for (const cache of caches) await cache.close()
    })
    for (let opened = 0; opened < 6; opened++) {
      const before = writers[0]!.transactions
      caches.push(await openCache({ pool, entities: [things], sliceMs: opened % 2 === 0 ? 5 : 0.1 }))
      await until(() => writers[0]!.transactions > before + 20, 'more has been written')
    }
    await Promise.all(writers.map(writer => writer.stop()))
    for (const cache of caches) {
      await expectEqualToTable(cache, db)
      // Nothing contradicted memory; a TRUNCATE in the middle of a load is one reason to begin it again.
      const { lastError } = cache.health()
      if (lastError !== null) expect(lastError.message).toMatch(/while it was read/)
    }
  },
)

describe('DDL between the slot and the COPY, which the snapshot does not shield from', () => {
  const cases: [what: string, sql: string][] = [
    ['a column’s type is changed', 'alter table things alter n type bigint'],
    ['a column is added and filled', 'alter table things add column extra float8 default random()'],
    ['the table is truncated', 'truncate things'],
    [
      'the table is truncated and filled again',
      `begin; truncate things; insert into things values (7, 7, 'seven', null); commit`,
    ],
    ['the table is rewritten in place', 'vacuum full things'],
    [
      'the table is replaced by another of its name',
      `begin; drop table things; create table things (id int primary key, n int, big text, note text);
       insert into things values (8, 8, 'eight', null); commit`,
    ],
    [
      'another table takes its name',
      `begin; create table newer (like things including all); insert into newer values (9, 9, 'nine', null);
       alter table things rename to older; alter table newer rename to things; commit`,
    ],
  ]

  test.each(cases)('%s', async (_what, sql) => {
    shows('I13')
    const db = await thingsDatabase(50)
    const run = await blockingSql(db.url)
    let isDone = false
    await using cache = await openCache({
      pool: poolOf(db.url),
      entities: [things],
      onProgress: () => {
        if (isDone) return
        isDone = true
        run(sql)
      },
    })
    expect(cache.health().lastError).toMatchObject({ code: 'CACHE_DIVERGED' })
    await expectEqualToTable(cache, db)
    await db.query('update things set note = $1', ['later'])
    await expectEqualToTable(cache, db)
  })

  test('a table that is gone is named', async () => {
    const db = await thingsDatabase(50)
    const run = await blockingSql(db.url)
    const opening = openCache({
      pool: poolOf(db.url),
      entities: [things],
      onProgress: () => run('drop table if exists things'),
    })
    await expect(opening).rejects.toMatchObject({
      code: 'CACHE_SETUP',
      problems: [{ kind: 'missing-table' }],
    })
  })

  test('a column that is gone is named', async () => {
    const db = await thingsDatabase(50)
    const run = await blockingSql(db.url)
    const narrow = defineTable<Thing>({ name: 'things', columns: ['id', 'n'] })
    const opening = openCache({
      pool: poolOf(db.url),
      entities: [narrow],
      onProgress: () => run('alter table things drop column if exists n'),
    })
    await expect(opening).rejects.toMatchObject({
      code: 'CACHE_SETUP',
      problems: [{ kind: 'missing-column' }],
    })
  })
})
