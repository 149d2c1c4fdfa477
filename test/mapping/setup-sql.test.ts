import { expect, test } from 'vitest'
import { OptionError, SetupError } from '../../src/errors.js'
import { ReplicatedTable } from '../../src/mapping/decorators.js'
import { defineTable } from '../../src/mapping/define-table.js'
import { setupSql } from '../../src/mapping/setup-sql.js'
import { testDatabase } from '../support/servers.js'

@ReplicatedTable({ name: 'users' })
class User {}

const orders = defineTable({ name: 'Or"ders', schema: 'sh op' })

test('what it prints makes the role, its rights and the publication', async () => {
  const db = await testDatabase()
  await db.query(
    `create schema "sh op"; create table "sh op"."Or""ders" (id int primary key); create table users (id int primary key)`,
  )
  const role = `o'app "${db.name}`
  await db.query(setupSql([User, orders], { role }))
  expect(
    await db.query(
      `select rolcanlogin, rolreplication, rolsuper,
         has_table_privilege(rolname, 'users', 'SELECT') and has_table_privilege(rolname, '"sh op"."Or""ders"', 'SELECT') as selects
       from pg_roles where rolname = $1`,
      [role],
    ),
  ).toEqual([{ rolcanlogin: true, rolreplication: true, rolsuper: false, selects: true }])
  expect(
    await db.query('select pubname, schemaname, tablename from pg_publication_tables order by tablename'),
  ).toEqual([
    { pubname: 'walcache', schemaname: 'sh op', tablename: 'Or"ders' },
    { pubname: 'walcache', schemaname: 'public', tablename: 'users' },
  ])
  const quoted = `"${role.replaceAll('"', '""')}"`
  await db.query(`drop owned by ${quoted}; drop role ${quoted}`)
})

test('it reads like this', () => {
  expect(setupSql([User, orders], { role: 'shop', publication: 'mine' })).toMatchInlineSnapshot(`
    "-- The role that the application connects as; if it exists: ALTER ROLE ... REPLICATION. Give it a password.
    -- Managed servers may grant the right to replicate by membership instead.
    CREATE ROLE "shop" LOGIN REPLICATION;
    GRANT USAGE ON SCHEMA "public", "sh op" TO "shop";
    GRANT SELECT ON "public"."users", "sh op"."Or""ders" TO "shop";
    -- What the change stream carries. Only ever add tables to it: other applications may read it too.
    CREATE PUBLICATION "mine" FOR TABLE "public"."users", "sh op"."Or""ders" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = false);
    "
  `)
})

test('entities that are none are refused', () => {
  expect(() => setupSql([])).toThrow(OptionError)
  expect(() => setupSql([class Loose {}])).toThrow(SetupError)
})
