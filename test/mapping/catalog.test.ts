import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { decoders } from '../../src/decode/index.js'
import { readCatalog } from '../../src/mapping/catalog.js'
import { type DefinedTable, defineTable, type TableDefinition } from '../../src/mapping/define-table.js'
import { declaredTables, resolveMappings } from '../../src/mapping/registry.js'
import { CALLER_SESSION_SQL, type CallerSession, sessionProblems } from '../../src/mapping/session.js'
import type { QueryConnection } from '../../src/runtime.js'
import { queryConnection } from '../support/query-connection.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

const parserFor = (oid: number): ((text: string) => unknown) => pg.types.getTypeParser(oid, 'text')

async function problemsOf(
  connection: QueryConnection,
  entities: readonly DefinedTable<object>[],
): Promise<string[]> {
  const catalog = await readCatalog(connection, declaredTables(entities))
  const { problems } = resolveMappings(entities, catalog, {
    decoder: decoders.pgoutput.limits,
    parserFor,
    filterFor: () => 'it is not looked at here',
  })
  return problems.map(({ kind, table, column }) =>
    [kind, table, column].filter(part => part !== undefined).join(' '),
  )
}

const define = (
  name: string,
  more: Partial<TableDefinition<Record<string, unknown>>> = {},
): DefinedTable<object> => defineTable({ name, ...more })

describe.each([13, 14, 15, 16, 17, 18] as const)('Postgres %i', major => {
  let db: TestDatabase
  let connection: QueryConnection

  beforeAll(async () => {
    db = await testDatabase({ major })
    await db.query(`
      create domain positive as int check (value > 0);
      create domain small as positive;
      create domain short as varchar(7);
      create domain shorter as short;
      create type mood as enum ('sad', 'ok');
      alter type mood add value 'so-so' before 'ok';
      create collation folding (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      create table typed (
        dropped int,
        id small primary key,
        code shorter not null,
        name varchar(20),
        price numeric(10,2),
        feeling mood,
        folded text collate folding,
        "We""ird Näme" text,
        doubled int generated always as (id * 2) stored
      );
      alter table typed drop column dropped;
      create schema "Other";
      create table "Other"."Cased" (b int, a int, c int, primary key (a, b) include (c));
      create unique index on "Other"."Cased" (c);
      create unique index on "Other"."Cased" (b) where b > 0;
      create unique index on "Other"."Cased" ((c + 1));
      create index on "Other"."Cased" (b);
    `)
    connection = await queryConnection(db.url)
  })

  test('the catalogue names columns with their base types, in SELECT order', async () => {
    shows('S24')
    const { tables, otherTables } = await readCatalog(connection, [{ schema: 'public', name: 'typed' }])
    expect(otherTables).toEqual([])
    expect(tables).toHaveLength(1)
    const [typed] = tables
    const oids = (
      await db.query<Record<string, number>>(
        `select 'typed'::regclass::oid as typed, 'small'::regtype::oid as small, 'shorter'::regtype::oid as shorter, 'mood'::regtype::oid as mood`,
      )
    )[0]!
    expect(typed).toMatchObject({
      schema: 'public',
      name: 'typed',
      oid: oids['typed'],
      kind: 'r',
      persistence: 'p',
      replicaIdentity: 'default',
      rowSecurity: false,
      rowSecurityApplies: false,
      children: [],
      parent: null,
      schemaUsable: true,
      blocks: 0,
      primaryKey: { name: 'typed_pkey', columns: ['id'], valid: true, immediate: true },
      identityIndex: null,
    })
    const common = {
      notNull: false,
      generated: 'no',
      deterministic: true,
      codePointOrder: false,
      enumLabels: null,
      foldsAscii: false,
      selectable: true,
      typeModifier: -1,
      typeKind: 'b',
      hasArrayType: true,
      compositeType: null,
    }
    expect(typed!.columns).toEqual([
      {
        ...common,
        attnum: 2,
        name: 'id',
        typeOid: oids['small'],
        baseTypeOid: 23,
        typeName: 'small',
        notNull: true,
      },
      {
        ...common,
        attnum: 3,
        name: 'code',
        typeOid: oids['shorter'],
        baseTypeOid: 1043,
        typeModifier: 11,
        typeName: 'shorter',
        codePointOrder: true,
        notNull: true,
      },
      {
        ...common,
        attnum: 4,
        name: 'name',
        typeOid: 1043,
        baseTypeOid: 1043,
        typeModifier: 24,
        typeName: 'character varying(20)',
        codePointOrder: true,
      },
      {
        ...common,
        attnum: 5,
        name: 'price',
        typeOid: 1700,
        baseTypeOid: 1700,
        typeModifier: ((10 << 16) | 2) + 4,
        typeName: 'numeric(10,2)',
      },
      {
        ...common,
        attnum: 6,
        name: 'feeling',
        typeOid: oids['mood'],
        baseTypeOid: oids['mood'],
        typeKind: 'e',
        typeName: 'mood',
        enumLabels: ['sad', 'so-so', 'ok'],
      },
      {
        ...common,
        attnum: 7,
        name: 'folded',
        typeOid: 25,
        baseTypeOid: 25,
        typeName: 'text',
        deterministic: false,
      },
      {
        ...common,
        attnum: 8,
        name: 'We"ird Näme',
        typeOid: 25,
        baseTypeOid: 25,
        typeName: 'text',
        codePointOrder: true,
      },
      {
        ...common,
        attnum: 9,
        name: 'doubled',
        typeOid: 23,
        baseTypeOid: 23,
        typeName: 'integer',
        generated: 'stored',
      },
    ])
  })

  test('a key is in its own order, without included columns, and names are exact', async () => {
    const names = [
      { schema: 'Other', name: 'Cased' },
      { schema: 'other', name: 'cased' },
    ]
    const { tables, otherTables } = await readCatalog(connection, names)
    expect(tables).toMatchObject([
      {
        schema: 'Other',
        name: 'Cased',
        primaryKey: { columns: ['a', 'b'] },
        uniqueKeys: [['a', 'b'], ['c']],
      },
    ])
    expect(otherTables, 'one is missing, so there are names to suggest').toContainEqual({
      schema: 'public',
      name: 'typed',
    })
  })

  test('the server tells what it is', async () => {
    const { server } = await readCatalog(connection, [])
    expect(Math.floor(server.version / 10_000)).toBe(major)
    expect(server).toMatchObject({
      versionText: db.server.version,
      walLevel: 'logical',
      encoding: 'UTF8',
      inRecovery: false,
      slotsMax: 32,
      sendersMax: 32,
      walBlockBytes: 8192,
      walSegmentBytes: 16_777_216,
      role: 'postgres',
      superuser: true,
      replicationRole: true,
    })
    const problems = await problemsOf(connection, [define('typed', { columns: ['id'] })])
    expect(problems).toEqual(major === 13 ? ['server-version'] : [])
  })
})

describe('what does not fit is found on a real server', () => {
  let db: TestDatabase
  let connection: QueryConnection
  const problem = (
    name: string,
    more?: Partial<TableDefinition<Record<string, unknown>>>,
  ): Promise<string[]> => problemsOf(connection, [define(name, more)])

  beforeAll(async () => {
    db = await testDatabase()
    connection = await queryConnection(db.url)
  })

  test.each<[string, string, Partial<TableDefinition<Record<string, unknown>>>?]>([
    ['no-primary-key', 'create table t (id int)'],
    ['deferrable-primary-key', 'create table t (id int primary key deferrable)'],
    ['replica-identity', 'create table t (id int primary key); alter table t replica identity nothing'],
    [
      'replica-identity',
      'create table t (id int primary key, u int not null unique); alter table t replica identity using index t_u_key',
    ],
    [
      'replica-identity',
      'create table t (id int primary key, u int not null unique); alter table t replica identity using index t_u_key; alter table t drop constraint t_u_key',
    ],
    ['table-kind', 'create view t as select 1 as id'],
    ['table-kind', 'create materialized view t as select 1 as id'],
    ['table-persistence', 'create unlogged table t (id int primary key)'],
    ['inherited-table', 'create table t (id int primary key); create table child () inherits (t)'],
    [
      'table-persistence',
      'create table t (id int primary key) partition by range (id); create unlogged table l partition of t default',
    ],
    [
      'replica-identity',
      'create table t (id int primary key) partition by range (id); create table l partition of t default; alter table l replica identity nothing',
    ],
    [
      'no-primary-key',
      'create table t (id int not null) partition by range (id); create table l partition of t default; alter table only t add primary key (id)',
    ],
    ['row-security', 'create table t (id int primary key); alter table t enable row level security'],
    ['generated-column', 'create table t (id int primary key, g int generated always as (id) stored)'],
    ['generated-column', 'create table t (id int primary key, g int generated always as (id) virtual)'],
    ['missing-table', 'create table u (id int primary key)'],
    ['missing-column', 'create table t (id int primary key)', { columns: ['id', 'name'] }],
  ])('%s: %s', async (kind, sql, more) => {
    await db.query(`drop schema public cascade; create schema public; ${sql}`)
    expect((await problem('t', more)).map(each => each.split(' ')[0])).toEqual([kind])
  })

  test('a table of the system', async () => {
    shows('S26')
    expect(await problem('pg_class', { schema: 'pg_catalog' })).toEqual(['system-table pg_catalog.pg_class'])
  })

  test('what does fit: identity full, an index of the same columns, a partition, what it is a partition of, a table that inherits', async () => {
    await db.query(`
      drop schema public cascade; create schema public;
      create table a (id int primary key); alter table a replica identity full;
      create table b (id int primary key); create unique index i on b (id); alter table b replica identity using index i;
      create table root (id int primary key) partition by range (id);
      create table c partition of root for values from (1) to (10);
      create table base (id int); create table d (primary key (id)) inherits (base);
    `)
    const catalog = await readCatalog(
      connection,
      ['a', 'b', 'c', 'd'].map(name => ({ schema: 'public', name })),
    )
    expect(new Map(catalog.tables.map(({ name, parent }) => [name, parent]))).toEqual(
      new Map([
        ['a', null],
        ['b', null],
        ['c', 'root'],
        ['d', 'base'],
      ]),
    )
    expect(
      await problemsOf(
        connection,
        ['a', 'b', 'c', 'd'].map(name => define(name)),
      ),
    ).toEqual([])
    expect(await problemsOf(connection, [define('root')])).toEqual([])
    const { tables } = await readCatalog(connection, [
      { schema: 'public', name: 'a' },
      { schema: 'public', name: 'root' },
    ])
    expect(new Map(tables.map(({ name, partitions }) => [name, partitions]))).toMatchObject(
      new Map([
        ['a', null],
        ['root', [{ schema: 'public', name: 'c', kind: 'r', persistence: 'p', replicaIdentity: 'default' }]],
      ]),
    )
  })

  test('a role without rights, and one that policies hide rows from', async () => {
    await db.query(`
      drop schema public cascade; create schema hidden;
      create table hidden.t (id int primary key, name text);
      create table hidden.secured (id int primary key); alter table hidden.secured enable row level security;
    `)
    const role = `app_${db.name}`
    await db.query(`create role ${role} login`)
    const limited = new URL(db.url)
    limited.username = role
    const theirs = await queryConnection(limited.href)
    const entities = [
      define('t', { schema: 'hidden' }),
      define('secured', { schema: 'hidden', allowRlsBypass: true }),
    ]
    expect(await problemsOf(theirs, entities)).toEqual([
      'no-schema-right hidden.t',
      'no-select-right hidden.t id',
      'no-select-right hidden.t name',
      'row-security-applies hidden.secured',
      'no-schema-right hidden.secured',
      'no-select-right hidden.secured id',
    ])
    await db.query(
      `grant usage on schema hidden to ${role}; grant select (id) on hidden.t to ${role}; grant select on hidden.secured to ${role}; alter role ${role} bypassrls`,
    )
    expect(await problemsOf(theirs, entities)).toEqual(['no-select-right hidden.t name'])
    const { server } = await readCatalog(theirs, [])
    expect(server).toMatchObject({ role, superuser: false, replicationRole: false })
    await theirs.close()
    await db.query(`drop owned by ${role}; drop role ${role}`)
  })

  test("the caller's session tells its settings", async () => {
    const client = await db.connect({
      options: '-c datestyle=SQL,DMY -c bytea_output=escape -c timezone=Asia/Kolkata',
    })
    const { rows } = await client.query<CallerSession & pg.QueryResultRow>(CALLER_SESSION_SQL)
    expect(rows[0]).toEqual({
      dateStyle: 'SQL, DMY',
      intervalStyle: 'postgres',
      byteaOutput: 'escape',
      extraFloatDigits: '1',
      timeZone: 'Asia/Kolkata',
      lcMonetary: expect.any(String) as string,
      searchPath: expect.any(String) as string,
    })
    expect(sessionProblems(rows[0]!).map(({ kind }) => kind)).toEqual(['date-style', 'bytea-output'])
  })

  test('sizes and estimates', async () => {
    await db.query('create schema public; create table public.big (id int primary key, t text)')
    await db.query(`insert into public.big select i, repeat('x', 100) from generate_series(1, 1000) i`)
    await db.query('analyze public.big')
    const { tables } = await readCatalog(connection, [{ schema: 'public', name: 'big' }])
    expect(tables[0]!.estimatedRows).toBe(1000)
    expect(tables[0]!.blocks).toBeGreaterThan(10)
  })
})
