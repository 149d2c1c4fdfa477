/** The SQL that an operator is given runs, and says what its page says. */
import { expect, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { poolOf } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'
import { codeBlocks, section } from './markdown.js'

const users = defineTable({ name: 'users', naming: 'snake' })

// A slow machine may have to start the server first.
test.each([14, 18] as const)(
  'what to watch can be asked of PostgreSQL %i',
  { timeout: 120_000 },
  async major => {
    const db = await testDatabase({ major })
    await db.query('create table users (id int primary key, email text not null, is_active boolean not null)')
    await using _ = await openCache({ pool: poolOf(db.url), entities: [users] })
    const [watched] = codeBlocks(section('docs/production.md', 'What to watch'), 'sql')
    const [streams, slots, room, waiting, published] = await Promise.all(
      watched!
        .trim()
        .split(/;\n?/)
        .filter(statement => statement !== '')
        .map(statement => db.query(statement)),
    )
    expect(streams).not.toEqual([])
    expect(slots).not.toEqual([])
    expect(room).toHaveLength(1)
    expect(waiting).toBeInstanceOf(Array)
    expect(published).toEqual([{ schemaname: 'public', tablename: 'users' }])
  },
)

test('what PostgreSQL says that a table will take is about what it takes', async () => {
  const db = await testDatabase()
  await db.query('create table users (id int primary key, email text not null, is_active boolean not null)')
  await db.query(`insert into users select i, i || '@example.com', true from generate_series(1, 100000) i`)
  const [estimate] = codeBlocks(section('docs/production.md', 'How much memory'), 'sql')
  const inBytes = estimate!.replace('pg_size_pretty', '')
  const [row] = await db.query<{ about: string }>(inBytes)
  await using cache = await openCache({ pool: poolOf(db.url), entities: [users] })
  expect(Number(row!.about) / cache.health().bytes).toBeCloseTo(1, 0)
})
