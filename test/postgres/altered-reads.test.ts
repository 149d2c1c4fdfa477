import { expect, onTestFinished, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { poolOf } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'

interface Part {
  readonly id: number
  readonly size: unknown
}

/** What is done to a column of a table, and what a SELECT shows of it afterwards. */
const statements: readonly (readonly [string, string, unknown])[] = [
  ['another type', `alter table parts alter size type text using 'size ' || size`, 'size 7'],
  ['a domain over its type', 'create domain inches as int; alter table parts alter size type inches', 7],
  ['a larger type', 'alter table parts alter size type bigint', '7'],
  [
    'another one of its name',
    `alter table parts rename size to was; alter table parts add size boolean default true`,
    true,
  ],
  [
    'another table of its name',
    `alter table parts rename to were; create table parts (id int primary key, size text); insert into parts values (1, 'L')`,
    'L',
  ],
]

test.each(statements)(
  'a column that gets %s is never read as what it was, whoever is asked',
  async (_, sql, shown) => {
    const db = await testDatabase()
    for (const keep of ['all', { maxRows: 10 }] as const) {
      await db.query('drop table if exists parts, were; drop domain if exists inches')
      await db.query('create table parts (id int primary key, size int); insert into parts values (1, 7)')
      const parts = defineTable<Part>({ name: 'parts', keep })
      const cache = await openCache({ pool: poolOf(db.url), entities: [parts] })
      onTestFinished(() => cache.close())
      const table = cache.table(parts)
      await db.query(sql)
      // Whatever the cache knows by now: PostgreSQL is asked, and memory has not been told.
      const asked = {
        where: { id: 1 },
        onStale: 'database',
        ...(keep === 'all' ? { maxStaleness: 0 } : {}),
      } as const
      const timeoutMs = 20_000
      expect((await table.findUnique({ ...asked, timeoutMs }))?.size).toEqual(shown)
      expect(await table.findMany({ ...asked, timeoutMs })).toMatchObject([{ id: 1, size: shown }])
    }
  },
)
