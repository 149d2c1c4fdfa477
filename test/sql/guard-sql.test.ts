import { expect, test } from 'vitest'
import { guardConcerns } from '../../src/sql/guard-sql.js'
import { guardSql, removeGuardSql } from '../../src/sql/index.js'
import type { Major } from '../support/binaries.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'

/** What the database tells while `sql` is run, message by message. */
async function toldBy(db: TestDatabase, sql: string): Promise<string[]> {
  await db.query(`select count(*) from pg_logical_slot_get_changes($1, null, null)`, [db.name])
  await db.query(sql)
  const rows = await db.query<{ data: string }>(
    'select data from pg_logical_slot_get_changes($1, null, null)',
    [db.name],
  )
  return rows.flatMap(({ data }) => {
    const [, content] =
      /^message: transactional: 1 prefix: walcache\.ddl, sz: \d+ content:(.*)$/.exec(data) ?? []
    return content === undefined ? [] : [content]
  })
}

test.each<Major>([14, 18])('Postgres %i tells of DDL, within its transaction', async major => {
  const db = await testDatabase({ major })
  const schema = 'o\'"dd; sch$walcache$ema'
  await db.query('create schema "o\'""dd; sch$walcache$ema"')
  await db.query(guardSql({ schema }))
  await db.query(guardSql({ schema }))
  await db.query(`select pg_create_logical_replication_slot($1, 'test_decoding')`, [db.name])
  await db.query(`create table things (id int primary key, note text); create type mood as enum ('sad')`)
  const [{ oid }] = (await db.query<{ oid: string }>(`select 'things'::regclass::oid::text as oid`)) as [
    { oid: string },
  ]

  expect(await toldBy(db, `alter table things alter note type text using 'new'`)).toEqual([oid])
  expect(await toldBy(db, 'alter table things rename note to remark')).toEqual([oid])
  expect(await toldBy(db, 'alter table things replica identity full')).toEqual([oid])
  expect(await toldBy(db, 'create table child () inherits (things)')).toEqual([expect.stringContaining(oid)])
  expect(await toldBy(db, `alter type mood rename value 'sad' to 'glad'`)).toEqual(['*'])
  expect(await toldBy(db, 'create publication walcache for table things')).toEqual(['*'])
  expect(await toldBy(db, 'alter publication walcache drop table things')).not.toEqual([])
  expect(await toldBy(db, 'drop publication walcache')).toEqual(['*'])
  expect(await toldBy(db, 'drop table things cascade')).toEqual([expect.stringContaining(oid)])

  // What concerns nobody is not told, nor what was rolled back.
  expect(await toldBy(db, 'create temporary table scratch (id int); drop table scratch')).toEqual([])
  expect(await toldBy(db, 'create function one() returns int language sql return 1')).toEqual([])
  expect(await toldBy(db, 'begin; create table more (id int); rollback')).toEqual([])

  await db.query(removeGuardSql({ schema }))
  await db.query(removeGuardSql({ schema }))
  expect(await toldBy(db, 'create table later (id int)')).toEqual([])
  expect(await db.query(`select from pg_event_trigger`)).toEqual([])
  expect(await db.query(`select from pg_proc where proname like 'walcache%'`)).toEqual([])
})

test.each<Major>([14, 15, 16, 17, 18])(
  'only a superuser may make event triggers in Postgres %i',
  async major => {
    const db = await testDatabase({ major })
    const role = `owner_${db.name}`
    await db.query(
      `create role ${role}; alter schema public owner to ${role}; alter database ${db.name} owner to ${role}`,
    )
    try {
      await db.query(`set role ${role}`)
      await expect(db.query(guardSql())).rejects.toMatchObject({ code: '42501', message: /superuser/ })
    } finally {
      await db.query('reset role')
      await db.query(`reassign owned by ${role} to current_user; drop owned by ${role}; drop role ${role}`)
    }
  },
)

test('a statement succeeds even if it can’t be told', async () => {
  const db = await testDatabase()
  const role = `plain_${db.name}`
  await db.query(guardSql())
  await db.query(`
    create role ${role}; grant create on schema public to ${role};
    revoke execute on function pg_logical_emit_message(boolean, text, text, boolean) from public`)
  try {
    await db.query(`set role ${role}`)
    await db.query('create table mine (id int)')
    await db.query('reset role')
    expect(await db.query(`select from pg_class where relname = 'mine'`)).toHaveLength(1)
  } finally {
    await db.query(`reset role; drop owned by ${role}; drop role ${role}`)
  }
})

test('a message is about the tables that it lists, and about all if it can’t be understood', () => {
  const concerns = (content: string): boolean => guardConcerns(Buffer.from(content), oid => oid === 17)
  expect(concerns('16,17')).toBe(true)
  expect(concerns('16,18')).toBe(false)
  expect(concerns('*')).toBe(true)
  expect(concerns('16,*')).toBe(true)
  expect(concerns('')).toBe(true)
  expect(concerns('18'.repeat(10_000))).toBe(true)
})
