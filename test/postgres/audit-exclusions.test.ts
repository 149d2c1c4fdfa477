/** What the audit leaves out, each for real: keys that are changed, hang, are filled or leave while it asks; and what it finds among them. */
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache, type TableVerification } from '../../src/index.js'
import { caughtUp, databaseOn, type OwnDatabase, poolOf, setStandbys, until } from '../support/cache.js'
import { alterInMemory } from '../support/memory-fault.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { tamperedRuntime } from '../support/tampered-runtime.js'

const things = defineTable<{ id: number; note: string }>({ name: 'things' })
const recent = defineTable<{ id: number; note: string }>({ name: 'things', keep: { maxRows: 20 } })

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
  return () => server[Symbol.asyncDispose]()
})

interface Stage {
  readonly db: OwnDatabase
  readonly cache: Cache
  /** Writes and returns when memory shows it, on a session that waits for no standby. */
  readonly write: (sql: string, isShown: () => boolean) => Promise<void>
  /** Commits, which hangs on a standby until there is none to wait for; returns what resolves then. */
  readonly hang: (sql: string, isShown: () => boolean) => Promise<() => Promise<void>>
  /** What happens between the audit's next questions and their answers, one after another. */
  readonly betweenAnswers: (() => Promise<void>)[]
}

async function stage(table: typeof things): Promise<Stage> {
  const db = await databaseOn(server)
  await db.query(`create table things (id int primary key, note text);
    insert into things select i, 'note ' || i from generate_series(10, 60) i`)
  const betweenAnswers: Stage['betweenAnswers'] = []
  const pool = poolOf(db.url)
  let isKeptBack = false
  const runtime = await tamperedRuntime(pool, {
    answer: async sql => {
      // Fills, which ask in the same words, are begun while a question's answer is kept back.
      if (isKeptBack || !sql.includes('"things" AS t')) return
      isKeptBack = true
      await betweenAnswers.shift()?.()
      isKeptBack = false
    },
  })
  const cache = await openCache({ pool, entities: [table], runtime })
  onTestFinished(() => cache.close())
  const shown = (isShown: () => boolean): Promise<void> => until(isShown, 'memory shows it')
  const local = await db.connect()
  await local.query('set synchronous_commit = local')
  const write: Stage['write'] = async (sql, isShown) => {
    await local.query(sql)
    await shown(isShown)
  }
  // Once the stream has announced the table, nothing holds it any more.
  await local.query(`update things set note = 'announced' where id = 60`)
  await caughtUp(cache)
  const hang: Stage['hang'] = async (sql, isShown) => {
    const hanging = await db.connect()
    await setStandbys(db, 'nosuch')
    onTestFinished(() => setStandbys(db, ''))
    await until(async () => {
      const { rows } = await hanging.query<{ names: string }>(
        `select current_setting('synchronous_standby_names') as names`,
      )
      return rows[0]!.names === 'nosuch'
    }, 'the writer has the setting')
    const committed = hanging.query(sql)
    await shown(isShown)
    return async () => {
      await setStandbys(db, '')
      await committed
    }
  }
  return { db, cache, write, hang, betweenAnswers }
}

const only = async (cache: Cache): Promise<TableVerification> => (await cache.verify()).tables[0]!
const excluded = (cache: Cache): number => cache.health().tables[0]!.audit.excluded

// As long as memory shows a commit that no query does, nothing is said of any key: neither of the row that differs, which is asked for once more.
const hangs = [
  { until: 'the answer is there', askedInVain: 0 },
  { until: 'what differs was asked for once more', askedInVain: 1 },
]

test.each(hangs)(
  'of a whole table: what is changed, and what hangs until $until; a wrong row among them is found',
  async ({ askedInVain }) => {
    const { cache, write, hang, betweenAnswers } = await stage(things)
    expect(await only(cache)).toMatchObject({ rows: 51, excluded: 0 })
    const { local } = cache.table(things)
    alterInMemory(cache, things, 1, 'note 30', 'note 3X')
    let release = (): Promise<void> => Promise.reject(new Error('nothing hangs'))
    betweenAnswers.push(
      async () => {
        release = await hang(
          `update things set note = 'hangs' where id = 20`,
          () => local.get(20)?.note === 'hangs',
        )
        await write(
          `update things set note = 'new' where id = 21; delete from things where id = 22;
         update things set id = 123 where id = 23; insert into things values (9, 'first')`,
          () => local.get(123) !== undefined && local.get(9) !== undefined,
        )
        if (askedInVain === 0) await release()
      },
      () => release(),
    )
    const mismatches = { missing: 0, extra: 0, different: 1 }
    // 20 to 23 were left out, and maybe 30; but all of them were compared in the end.
    expect(await only(cache)).toMatchObject({ excluded: 0, mismatches })
    expect(excluded(cache)).toBe(4 + askedInVain)
    expect(betweenAnswers).toEqual([])
    await until(() => cache.health().tables[0]!.failed === null, 'the table has been read anew')
    expect(local.get(30)).toEqual({ id: 30, note: 'note 30' })
    expect(await only(cache)).toMatchObject({ rows: 51, excluded: 0, mismatches: { different: 0 } })
  },
)

test.each(hangs)(
  'of a bounded table, too, and what leaves and is filled meanwhile, until $until; a wrong row among them is found',
  async ({ askedInVain }) => {
    const { cache, write, hang, betweenAnswers } = await stage(recent)
    const table = cache.table(recent)
    const { local } = table
    const known = (id: number): string | undefined => (local.has(id) ? local.get(id)?.note : 'absent')
    await table.prefetch([5, 6, ...Array.from({ length: 20 }, (_, i) => 10 + i)])
    alterInMemory(cache, recent, 1, 'note 19', 'note 1X')
    expect(known(5)).toBe('absent')
    let release = (): Promise<void> => Promise.reject(new Error('nothing hangs'))
    betweenAnswers.push(
      async () => {
        release = await hang(`update things set note = 'hangs' where id = 20`, () => known(20) === 'hangs')
        await write(
          `update things set note = 'new' where id = 21; delete from things where id = 22; insert into things values (5, 'new')`,
          () => known(5) === 'new',
        )
        // 23 is not known any more, 24 is again, and 25 is with another row than the question has.
        table.evict(23)
        table.evict(24)
        await table.findUnique({ where: { id: 24 } })
        table.evict(25)
        await write(`update things set note = 'filled' where id = 25`, () => true)
        await table.findUnique({ where: { id: 25 } })
        expect(known(25)).toBe('filled')
        // For want of room others leave.
        await table.prefetch([40, 41, 42, 43])
        if (askedInVain === 0) await release()
      },
      () => release(),
    )
    const found = await only(cache)
    expect(found).toMatchObject({ excluded: 0, mismatches: { missing: 0, extra: 0, different: 1 } })
    // 5, 20 to 22 and 25, and maybe 19.
    expect(excluded(cache)).toBe(5 + askedInVain)
    expect(betweenAnswers).toEqual([])
    expect(await table.findUnique({ where: { id: 19 } })).toEqual({ id: 19, note: 'note 19' })
    expect(await only(cache)).toMatchObject({ excluded: 0, mismatches: { different: 0 } })
  },
)
