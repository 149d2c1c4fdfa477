/** Whoever follows a table goes on following it when everything is loaded anew: what differs comes as changes. */
import { expect, onTestFinished, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { caughtUp, poolOf, until } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'

interface Row {
  readonly id: number
  readonly n: number
}

const things = defineTable<Row>({ name: 'things' })

test('a copy that is kept by changes alone equals its table after streams were lost under load', async () => {
  const db = await testDatabase()
  await db.query(
    `create table things (id int primary key, n int); insert into things select i, 0 from generate_series(1, 500) i`,
  )
  const cache = await openCache({ pool: poolOf(db.url), entities: [things] })
  onTestFinished(() => cache.close())
  const changes = cache.table(things).changes()
  const copy = new Map([...cache.table(things).local].map(row => [row.id, row.n]))
  const gaps: string[] = []
  const commits: bigint[] = []
  const following = (async () => {
    for await (const change of changes) {
      if (change.kind === 'gap') gaps.push(change.reason)
      else if (change.kind !== 'truncate') {
        if (change.old != null) {
          expect(copy.get(change.old.id)).toBe(change.old.n)
          copy.delete(change.old.id)
        }
        if (change.new != null) copy.set(change.new.id, change.new.n)
        if (change.last) commits.push(change.lsn)
      }
    }
  })()
  let writing = true
  const writer = await db.connect()
  const work = (async () => {
    for (let i = 1; writing; i++) {
      await writer.query('update things set n = $1 where id % 50 = $2', [i, i % 50])
      await writer.query('delete from things where id = $1', [(i % 500) + 1])
      await writer.query('insert into things values ($1, $2)', [1_000 + i, i])
    }
  })()
  for (let cut = 1; cut <= 3; cut++) {
    const { reconnects } = cache.health()
    await db.query(
      'select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active',
    )
    await until(() => cache.health().reconnects > reconnects && cache.state === 'live', 'it is loaded anew')
    const shown = commits.length
    await until(() => commits.length > shown + 5, 'its reader goes on')
  }
  writing = false
  await work
  await db.query('update things set n = -1 where id = (select max(id) from things)')
  await caughtUp(cache)
  await until(() => [...copy.values()].includes(-1), 'the last change has come')
  const rows = await db.query<Row>('select * from things')
  expect(copy).toEqual(new Map(rows.map(({ id, n }) => [id, n])))
  expect(gaps).toEqual([])
  expect(commits).toEqual(commits.toSorted((a, b) => (a < b ? -1 : 1)))
  await cache.close()
  await following
})
