import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { InternalError, PublicationError } from '../../src/errors.js'
import type { QueryConnection } from '../../src/runtime.js'
import { ensurePublication, type PublishedTable } from '../../src/wire/publication.js'
import { queryConnection } from '../support/query-connection.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

const EVERYTHING = {
  puballtables: false,
  pubinsert: true,
  pubupdate: true,
  pubdelete: true,
  pubtruncate: true,
  pubviaroot: false,
}

describe.each([14, 15, 18] as const)('Postgres %i', major => {
  let db: TestDatabase
  let connection: QueryConnection
  let users: PublishedTable
  let orders: PublishedTable

  beforeAll(async () => {
    db = await testDatabase({ major })
    connection = await queryConnection(db.url)
  })

  beforeEach(async () => {
    await db.query(`
      set client_min_messages = warning;
      drop publication if exists walcache, mine, "My own";
      drop schema public cascade; create schema public;
      create table users (id int primary key, name text);
      create table "Or""ders" (id int primary key);
    `)
    users = await published('users', ['id', 'name'])
    orders = await published('Or"ders', ['id'])
  })

  async function published(table: string, columns: readonly string[]): Promise<PublishedTable> {
    const [row] = await db.query<{ oid: number }>('select oid from pg_class where relname = $1', [table])
    return {
      oid: row!.oid,
      schema: 'public',
      table,
      replicaIdentity: 'default',
      key: [0],
      columns: columns.map(column => ({ column })),
      partitions: null,
    }
  }

  const flags = async (name = 'walcache'): Promise<unknown> =>
    (
      await db.query(`select ${Object.keys(EVERYTHING).join(', ')} from pg_publication where pubname = $1`, [
        name,
      ])
    )[0]

  const tables = async (name = 'walcache'): Promise<string[]> =>
    (
      await db.query<{ tablename: string }>(
        'select tablename from pg_publication_tables where pubname = $1 order by 1',
        [name],
      )
    ).map(row => row.tablename)

  /** Of the error that `ensurePublication` rejects with. */
  async function refusal(
    options: Parameters<typeof ensurePublication>[1],
    by = connection,
  ): Promise<PublicationError> {
    const error: unknown = await ensurePublication(by, options).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(PublicationError)
    return error as PublicationError
  }

  describe('our publication', () => {
    test('is created with all four operations', async () => {
      expect(await ensurePublication(connection, { tables: [users, orders] })).toEqual({ name: 'walcache' })
      expect(await flags()).toEqual(EVERYTHING)
      expect(await tables()).toEqual(['Or"ders', 'users'])
    })

    test('is only added to: an older version with fewer tables takes none away', async () => {
      await ensurePublication(connection, { tables: [users] })
      await ensurePublication(connection, { tables: [users, orders] })
      await ensurePublication(connection, { tables: [orders] })
      expect(await tables()).toEqual(['Or"ders', 'users'])
      expect(await flags()).toEqual(EVERYTHING)
    })

    test('is left alone when it carries everything', async () => {
      await ensurePublication(connection, { tables: [users] })
      const stamps = `select xmin::text from pg_publication union all select xmin::text from pg_publication_rel`
      const before = await db.query(stamps)
      await ensurePublication(connection, { tables: [users] })
      expect(await db.query(stamps)).toEqual(before)
    })

    test('may be created and extended by many at once', async () => {
      const connections = await Promise.all(Array.from({ length: 8 }, () => queryConnection(db.url)))
      await Promise.all(
        connections.map((each, i) =>
          ensurePublication(each, { tables: i % 2 === 0 ? [users] : [users, orders] }),
        ),
      )
      expect(await tables()).toEqual(['Or"ders', 'users'])
      await Promise.all(connections.map(each => each.close()))
    })

    test('of other flags is not altered: the error has the SQL that mends it', async () => {
      await db.query(
        `create publication walcache for table users with (publish = 'insert, update, delete', publish_via_partition_root)`,
      )
      const error = await refusal({ tables: [users] })
      expect(error.message).toMatch(/truncate.*root/)
      await db.query(error.sql)
      await ensurePublication(connection, { tables: [users] })
      expect(await flags()).toEqual(EVERYTHING)
    })

    test('needs the right to create it, else the error has the SQL for its owner', async () => {
      const role = `app_${db.name}`
      await db.query(`create role ${role} login`)
      const url = new URL(db.url)
      url.username = role
      const theirs = await queryConnection(url.href)
      const toCreate = await refusal({ tables: [users] }, theirs)
      expect(toCreate.cause).toMatchObject({ code: '42501' })
      await db.query(toCreate.sql)
      expect(await ensurePublication(theirs, { tables: [users] })).toEqual({ name: 'walcache' })
      const toExtend = await refusal({ tables: [users, orders] }, theirs)
      await db.query(toExtend.sql)
      await ensurePublication(theirs, { tables: [users, orders] })
      await theirs.close()
      await db.query(`drop owned by ${role}; drop role ${role}`)
    })

    test('does not wait long for a lock, so that nobody queues behind it', async () => {
      const other = await db.connect()
      await other.query('begin; lock table users in share update exclusive mode')
      const error = await refusal({ tables: [users] })
      expect(error.message).toMatch(/lock.*3000 ms/)
      await other.query('commit')
      expect(await ensurePublication(connection, { tables: [users] })).toEqual({ name: 'walcache' })
    })

    test('lets reads and writes of a table go on, and they let it', async () => {
      const other = await db.connect()
      await other.query(`begin; insert into users values (1, 'Ada'); select * from users for update`)
      await ensurePublication(connection, { tables: [users] })
      await other.query('commit')
      expect(await tables()).toEqual(['users'])
    })

    test('never gets a table without a usable identity', async () => {
      shows('S14')
      await expect(
        ensurePublication(connection, { tables: [{ ...users, replicaIdentity: 'nothing' }] }),
      ).rejects.toThrow(InternalError)
      await expect(ensurePublication(connection, { tables: [{ ...users, key: [] }] })).rejects.toThrow(
        InternalError,
      )
      expect(await tables()).toEqual([])
    })
  })

  describe("the user's own publication", () => {
    test.each([
      ['for these tables', 'create publication "My own" for table users, "Or""ders"'],
      ['for all tables', 'create publication "My own" for all tables'],
      [
        'for these and other tables',
        'create table more (id int); create publication "My own" for table users, "Or""ders", more',
      ],
    ])('%s is accepted and left as it is', async (_, sql) => {
      await db.query(sql)
      const before = await flags('My own')
      expect(await ensurePublication(connection, { name: 'My own', tables: [users, orders] })).toEqual({
        name: 'My own',
      })
      expect(await flags('My own')).toEqual(before)
    })

    test('is never created', async () => {
      shows('C20')
      const error = await refusal({ name: 'My own', tables: [users] })
      expect(error.message).toMatch(/"My own": it does not exist/)
      await db.query(error.sql)
      await ensurePublication(connection, { name: 'My own', tables: [users] })
    })

    test('that lacks a table and an operation is refused for both, with the SQL that mends it', async () => {
      await db.query(`create publication mine for table users with (publish = 'insert')`)
      const error = await refusal({ name: 'mine', tables: [users, orders] })
      expect(error.message).toMatch(/truncate.*lacks public\.Or"ders/)
      await db.query(error.sql)
      await ensurePublication(connection, { name: 'mine', tables: [users, orders] })
    })

    test('carries a partition through its root, unless it is published as the root', async () => {
      await db.query(`
        create table root (id int primary key) partition by range (id);
        create table leaf partition of root for values from (0) to (10);
        create publication mine for table root;
      `)
      const leaf = await published('leaf', ['id'])
      await ensurePublication(connection, { name: 'mine', tables: [leaf] })
      await db.query('alter publication mine set (publish_via_partition_root = true)')
      expect((await refusal({ name: 'mine', tables: [leaf] })).message).toMatch(/lacks public\.leaf/)
    })
  })

  // They exist from 15 on.
  if (major < 15) return
  describe('row filters and column lists', () => {
    test.each(['walcache', 'mine'])('of %s are refused where they hide something', async name => {
      shows('S29', 'S30')
      const options = { ...(name === 'mine' && { name }), tables: [users] }
      for (const list of ['users where (id > 1)', 'users (id)']) {
        await db.query(`drop publication if exists ${name}; create publication ${name} for table ${list}`)
        const error = await refusal(options)
        expect(error.message).toMatch(/public\.users/)
        await db.query(error.sql)
        await ensurePublication(connection, options)
      }
    })

    test('that name all mapped columns hide nothing', async () => {
      await db.query('alter table users add secret text; create publication mine for table users (id, name)')
      expect(await ensurePublication(connection, { name: 'mine', tables: [users] })).toEqual({ name: 'mine' })
    })

    test('a schema may be published as a whole', async () => {
      await db.query('create publication mine for tables in schema public')
      expect(await ensurePublication(connection, { name: 'mine', tables: [users, orders] })).toEqual({
        name: 'mine',
      })
    })
  })
})
