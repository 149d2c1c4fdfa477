import { describe, expect, test } from 'vitest'
import { decoders } from '../../src/decode/index.js'
import type {
  Catalog,
  CatalogColumn,
  CatalogPartition,
  CatalogTable,
  ServerFacts,
} from '../../src/mapping/catalog.js'
import { Column, Index, PrimaryKey, ReplicatedTable } from '../../src/mapping/decorators.js'
import { defineTable } from '../../src/mapping/define-table.js'
import { declaredTables, type ResolveOptions, resolveMappings } from '../../src/mapping/registry.js'
import type { CallerSession } from '../../src/mapping/session.js'

const server: ServerFacts = {
  version: 180004,
  versionText: '18.4',
  walLevel: 'logical',
  encoding: 'UTF8',
  inRecovery: false,
  slotsMax: 10,
  slotsUsed: 0,
  sendersMax: 10,
  sendersUsed: 0,
  walBlockBytes: 8192,
  walSegmentBytes: 16_777_216,
  role: 'app',
  superuser: false,
  replicationRole: true,
}

const column = (name: string, more: Partial<CatalogColumn> = {}): CatalogColumn => ({
  attnum: 1,
  name,
  typeOid: 25,
  baseTypeOid: 25,
  typeModifier: -1,
  typeName: 'text',
  typeKind: 'b',
  hasArrayType: true,
  compositeType: null,
  notNull: false,
  generated: 'no',
  deterministic: true,
  codePointOrder: true,
  enumLabels: null,
  foldsAscii: false,
  selectable: true,
  ...more,
})

const table = (
  columns: readonly (string | CatalogColumn)[],
  more: Partial<CatalogTable> = {},
): CatalogTable => ({
  schema: 'public',
  name: 'users',
  oid: 20_000,
  kind: 'r',
  persistence: 'p',
  replicaIdentity: 'default',
  rowSecurity: false,
  rowSecurityApplies: false,
  children: [],
  partitions: null,
  parent: null,
  schemaUsable: true,
  blocks: 7,
  estimatedRows: 100,
  columns: columns.map((each, i) => ({ ...(typeof each === 'string' ? column(each) : each), attnum: i + 1 })),
  primaryKey: { name: 'users_pkey', columns: ['id'], valid: true, immediate: true },
  identityIndex: null,
  uniqueKeys: [],
  ...more,
})

const leaf: CatalogPartition = {
  schema: 'public',
  name: 'users_1',
  oid: 20_001,
  kind: 'r',
  persistence: 'p',
  replicaIdentity: 'default',
  primaryKey: { name: 'users_1_pkey', columns: ['id'], valid: true, immediate: true },
  identityIndex: null,
}

const catalog = (tables: readonly CatalogTable[], more: Partial<Catalog> = {}): Catalog => ({
  server,
  tables,
  otherTables: [],
  ...more,
})

const options: ResolveOptions = {
  decoder: decoders.pgoutput.limits,
  parserFor: oid => text => `${oid}:${text}`,
  filterFor: () => 'it is not looked at here',
}

/** The kinds of all problems, with the column or property that each names. */
function problemsOf(
  entities: readonly unknown[],
  facts: Catalog,
  more: Partial<ResolveOptions> = {},
): string[] {
  return resolveMappings(entities, facts, { ...options, ...more }).problems.map(
    ({ kind, property, column: name }) => [kind, property, name].filter(part => part !== undefined).join(' '),
  )
}

const users = defineTable({ name: 'users' })
const plain = table(['id', 'email'])

test('a declaration that fits becomes a mapping, its columns in SELECT order', () => {
  @ReplicatedTable({ name: 'users', naming: 'snake', indexes: [['isActive', 'mail']] })
  class User {
    @Index() @Column({ name: 'email' }) mail!: string
    @Column() isActive!: boolean
    @PrimaryKey() id!: number
  }
  const facts = catalog([
    table(
      [
        'id',
        'unmapped',
        column('is_active', { typeOid: 30_000, baseTypeOid: 16, typeName: 'flag' }),
        'email',
      ],
      { replicaIdentity: 'full' },
    ),
  ])
  const { mappings, problems, warnings } = resolveMappings([User], facts, options)
  expect({ problems, warnings }).toEqual({ problems: [], warnings: [] })
  expect(mappings).toHaveLength(1)
  expect(mappings[0]).toMatchObject({
    name: 'public.users',
    oid: 20_000,
    schema: 'public',
    table: 'users',
    replicaIdentity: 'full',
    declaration: User,
    prototype: User.prototype,
    construct: null,
    columns: [
      { property: 'id', column: 'id', attnum: 1 },
      { property: 'isActive', column: 'is_active', attnum: 3, typeOid: 30_000, baseTypeOid: 16 },
      { property: 'mail', column: 'email', attnum: 4 },
    ],
    key: [0],
    indexes: [[2], [1, 2]],
    keep: 'all',
    partitions: null,
    estimatedRows: 100,
    blocks: 7,
  })
  expect(mappings[0]!.columns[1]!.parse('t'), 'parsed by the base type').toBe('16:t')
})

test('without declared columns all of the table are mapped, named by the naming', () => {
  const facts = catalog([table(['id', 'is_active', '_x_y', 'URL'])])
  const exact = resolveMappings([users], facts, options).mappings[0]!
  expect(exact.columns.map(({ property }) => property)).toEqual(['id', 'is_active', '_x_y', 'URL'])
  const snake = resolveMappings([defineTable({ name: 'users', naming: 'snake' })], facts, options)
    .mappings[0]!
  expect(snake.columns.map(({ property }) => property)).toEqual(['id', 'isActive', '_xY', 'URL'])
})

test('a composite key is in the order of the key, not of the columns', () => {
  const key = { name: 'pk', columns: ['b', 'a'], valid: true, immediate: true }
  const declared = defineTable<{ a: string; b: string }>({ name: 'users', key: ['a', 'b'] })
  const { mappings } = resolveMappings(
    [declared],
    catalog([table(['a', 'x', 'b'], { primaryKey: key })]),
    options,
  )
  expect(mappings[0]!.key).toEqual([2, 0])
})

test('the tables to look up are those declared', () => {
  expect(declaredTables([users, defineTable({ name: 'Orders', schema: 'shop' }), class {}])).toEqual([
    { schema: 'public', name: 'users' },
    { schema: 'shop', name: 'Orders' },
  ])
})

test('every problem is reported, each with its table, in one go', () => {
  const { mappings, problems } = resolveMappings(
    [
      users,
      defineTable<{ id: string; nmae: string }>({
        name: 'orders',
        columns: ['id', 'nmae'],
        indexes: [['id']],
      }),
      class Loose {},
    ],
    catalog([table(['id', 'name'], { name: 'orders', primaryKey: null, rowSecurity: true })], {
      server: { ...server, walLevel: 'replica' },
    }),
    options,
  )
  expect(mappings).toEqual([])
  expect(problems.map(({ kind, table: name }) => [kind, name])).toEqual([
    ['wal-level', undefined],
    ['not-declared', undefined],
    ['missing-table', 'public.users'],
    ['row-security', 'public.orders'],
    ['no-primary-key', 'public.orders'],
    ['missing-column', 'public.orders'],
  ])
})

describe('what is declared', () => {
  test('nothing at all', () => {
    expect(problemsOf([], catalog([]))).toEqual(['no-entities'])
  })

  test('no class, or one without a decoration of its own', () => {
    @ReplicatedTable({ name: 'users' })
    class Base {}
    class Derived extends Base {}
    const { problems } = resolveMappings([Derived, 'users', null, undefined], catalog([plain]), options)
    expect(problems.map(({ kind }) => kind)).toEqual([
      'not-declared',
      'not-declared',
      'not-declared',
      'not-declared',
    ])
    expect(problems[0]!.message).toMatch(/class Derived .* not inherited/)
    expect(problems[1]!.message).toMatch(/type string/)
  })

  test('one table twice', () => {
    const { problems } = resolveMappings([users, defineTable({ name: 'users' })], catalog([plain]), options)
    expect(problems).toMatchObject([{ kind: 'duplicate-table', table: 'public.users' }])
  })

  test('tables of one name in two schemas are two tables', () => {
    const facts = catalog([plain, table(['id'], { schema: 'staff', oid: 20_001 })])
    expect(problemsOf([users, defineTable({ name: 'users', schema: 'staff' })], facts)).toEqual([])
  })

  test('a bounded table has its bounds', () => {
    const bounded = defineTable({ name: 'users', keep: { maxRows: 10 } })
    const { mappings, problems } = resolveMappings([bounded], catalog([plain]), options)
    expect(problems).toEqual([])
    expect(mappings[0]!.keep).toEqual({ maxRows: 10, maxBytes: null })
  })
})

describe('tables that do not fit', () => {
  test('a missing one, with names that may be meant', () => {
    const otherTables = ['user', 'Users', 'orders', 'usres'].map(name => ({ schema: 'public', name }))
    const { problems } = resolveMappings(
      [users],
      catalog([], { otherTables: [...otherTables, { schema: 'staff', name: 'users' }] }),
      options,
    )
    expect(problems).toMatchObject([{ kind: 'missing-table', table: 'public.users' }])
    expect(problems[0]!.message).toContain(
      'Did you mean "staff.users" or "public.Users" or "public.user" or "public.usres"?',
    )
  })

  test.each<[string, Partial<CatalogTable>]>([
    ['table-kind', { kind: 'v' }],
    ['table-kind', { kind: 'm' }],
    ['table-kind', { kind: 'f' }],
    [
      'no-primary-key',
      { kind: 'p', primaryKey: { name: 'pk', columns: ['id'], valid: false, immediate: true } },
    ],
    ['replica-identity', { kind: 'p', partitions: [{ ...leaf, replicaIdentity: 'nothing' }] }],
    [
      'replica-identity',
      {
        kind: 'p',
        partitions: [
          { ...leaf, replicaIdentity: 'index', identityIndex: { ...leaf.primaryKey!, columns: ['email'] } },
        ],
      },
    ],
    ['table-persistence', { kind: 'p', partitions: [{ ...leaf, persistence: 'u' }] }],
    ['system-table', { oid: 1262 }],
    ['table-persistence', { persistence: 'u' }],
    ['table-persistence', { persistence: 't' }],
    ['inherited-table', { children: ['public.vips'] }],
    ['row-security', { rowSecurity: true }],
    ['no-schema-right', { schemaUsable: false }],
    ['no-primary-key', { primaryKey: null }],
    [
      'deferrable-primary-key',
      { primaryKey: { name: 'pk', columns: ['id'], valid: true, immediate: false } },
    ],
    ['replica-identity', { replicaIdentity: 'nothing' }],
    [
      'replica-identity',
      {
        replicaIdentity: 'index',
        identityIndex: { name: 'i', columns: ['email'], valid: true, immediate: true },
      },
    ],
    [
      'replica-identity',
      {
        replicaIdentity: 'index',
        identityIndex: { name: 'i', columns: ['id'], valid: false, immediate: true },
      },
    ],
    ['replica-identity', { replicaIdentity: 'index', identityIndex: null }],
  ])('%s: %j', (kind, facts) => {
    const { problems } = resolveMappings([users], catalog([table(['id', 'email'], facts)]), options)
    expect(problems).toMatchObject([{ kind, table: 'public.users' }])
  })

  test('an index of the same columns as the primary key is as good as it', () => {
    const identityIndex = { name: 'i', columns: ['id'], valid: true, immediate: true }
    expect(
      problemsOf([users], catalog([table(['id'], { replicaIdentity: 'index', identityIndex })])),
    ).toEqual([])
  })

  test('a partition, or a table that inherits, does fit', () => {
    expect(problemsOf([users], catalog([table(['id'], { parent: 'public.people' })]))).toEqual([])
  })

  test('a partitioned table does fit, whatever its own replica identity: it has no rows of its own', () => {
    const deeper = { ...leaf, oid: 20_002, name: 'users_2', kind: 'p', replicaIdentity: 'nothing' as const }
    const root = table(['id'], { kind: 'p', replicaIdentity: 'nothing', partitions: [leaf, deeper] })
    const { mappings, problems } = resolveMappings([users], catalog([root]), options)
    expect(problems).toEqual([])
    expect(mappings[0]!.partitions).toEqual([
      { oid: 20_001, schema: 'public', table: 'users_1', isLeaf: true, replicaIdentity: 'default' },
      { oid: 20_002, schema: 'public', table: 'users_2', isLeaf: false, replicaIdentity: 'nothing' },
    ])
  })

  test('row-level security is bypassed on request only, and only by a role that can', () => {
    const bypassing = defineTable({ name: 'users', allowRlsBypass: true })
    expect(problemsOf([bypassing], catalog([table(['id'], { rowSecurity: true })]))).toEqual([])
    expect(
      problemsOf([bypassing], catalog([table(['id'], { rowSecurity: true, rowSecurityApplies: true })])),
    ).toEqual(['row-security-applies'])
  })
})

describe('columns that do not fit', () => {
  test('a missing one, with names that may be meant', () => {
    const declared = defineTable<{ id: string; emial: string }>({ name: 'users', columns: ['id', 'emial'] })
    const { problems } = resolveMappings([declared], catalog([plain]), options)
    expect(problems).toMatchObject([{ kind: 'missing-column', property: 'emial', column: 'emial' }])
    expect(problems[0]!.message).toContain('Did you mean "email"?')
  })

  test('two properties of one column', () => {
    const declared = defineTable<{ id: string; a: string; b: string }>({
      name: 'users',
      columns: { id: 'id', a: 'email', b: 'email' },
    })
    expect(problemsOf([declared], catalog([plain]))).toEqual(['duplicate-column b email'])
  })

  test('two columns of one property', () => {
    const snake = defineTable({ name: 'users', naming: 'snake' })
    expect(problemsOf([snake], catalog([table(['id', 'is_active', 'isActive'])]))).toEqual([
      'duplicate-property isActive isActive',
    ])
  })

  test('a key column that is not mapped', () => {
    const declared = defineTable<{ email: string }>({ name: 'users', columns: ['email'] })
    expect(problemsOf([declared], catalog([plain]))).toEqual(['unmapped-key id'])
  })

  test('another key than the table has', () => {
    const declared = defineTable<{ id: string; email: string }>({ name: 'users', key: ['id', 'email'] })
    expect(problemsOf([declared], catalog([plain]))).toEqual(['different-primary-key'])
  })

  test('an index on a property that is not mapped', () => {
    const declared = defineTable<{ id: string; email: string }>({
      name: 'users',
      columns: ['id'],
      indexes: [['email']],
    })
    expect(problemsOf([declared], catalog([plain]))).toEqual(['unmapped-index email'])
  })

  test('one that the role may not read', () => {
    expect(problemsOf([users], catalog([table(['id', column('email', { selectable: false })])]))).toEqual([
      'no-select-right email email',
    ])
  })

  test('a generated one that the decoder does not carry', () => {
    const facts = catalog([
      table(['id', column('total', { generated: 'stored' }), column('sum', { generated: 'virtual' })]),
    ])
    expect(problemsOf([users], facts)).toEqual(['generated-column total total', 'generated-column sum sum'])
    expect(problemsOf([users], facts, { decoder: decoders.wal2json.limits })).toEqual([
      'generated-column sum sum',
    ])
    const without = defineTable<{ id: string }>({ name: 'users', columns: ['id'] })
    expect(problemsOf([without], facts), 'left out').toEqual([])
  })

  test('a type that the decoder loses', () => {
    const typed = (oid: number): CatalogColumn => column(`t${oid}`, { typeOid: oid, baseTypeOid: oid })
    const facts = catalog([
      table([
        'id',
        typed(700),
        typed(701),
        typed(1700),
        typed(790),
        typed(1266),
        column('domain', { typeOid: 30_000, baseTypeOid: 1700 }),
      ]),
    ])
    expect(problemsOf([users], facts)).toEqual([])
    expect(problemsOf([users], facts, { decoder: decoders.wal2json.limits })).toEqual([
      'decoder-type t700 t700',
      'decoder-type t701 t701',
      'decoder-type t1700 t1700',
    ])
    const finite = { finite: true, utc: false }
    expect(problemsOf([users], facts, { decoder: decoders.wal2json.limits, assumed: finite })).toEqual([])
  })

  test('a type that no assumption mends', () => {
    const lostTypes = [{ oids: [790], why: 'it without its currency', mendedBy: null }]
    const decoder = { ...decoders.pgoutput.limits, decoder: 'lossy', lostTypes }
    const facts = catalog([
      table(['id', column('price', { typeOid: 790, baseTypeOid: 790, typeName: 'money' })]),
    ])
    const finite = { finite: true, utc: false }
    const { problems } = resolveMappings([users], facts, { ...options, decoder, assumed: finite })
    expect(problems).toEqual([
      {
        kind: 'decoder-type',
        table: 'public.users',
        property: 'price',
        column: 'price',
        message:
          "lossy can't carry money: it sends it without its currency. Use decoder 'pgoutput', or leave the column out.",
      },
    ])
  })
})

describe('servers that do not fit', () => {
  test.each<[string, Partial<ServerFacts>]>([
    ['server-version', { version: 130023, versionText: '13.23' }],
    ['wal-level', { walLevel: 'replica' }],
    ['standby', { inRecovery: true }],
    ['server-encoding', { encoding: 'SQL_ASCII' }],
    ['no-free-slot', { slotsUsed: 10 }],
    ['no-free-sender', { sendersUsed: 10 }],
  ])('%s: %j', (kind, facts) => {
    expect(problemsOf([users], catalog([plain], { server: { ...server, ...facts } }))).toEqual([kind])
  })

  test('13 is named', () => {
    const facts = catalog([plain], { server: { ...server, version: 130023, versionText: '13.23' } })
    expect(resolveMappings([users], facts, options).problems[0]!.message).toMatch(
      /13\.23.*PostgreSQL 13 and older are not/,
    )
  })

  test('another encoding suits pgoutput only', () => {
    const facts = catalog([plain], { server: { ...server, encoding: 'LATIN1' } })
    expect(problemsOf([users], facts)).toEqual([])
    expect(problemsOf([users], facts, { decoder: decoders.wal2json.limits })).toEqual(['decoder-encoding'])
  })

  test('an old minor release is warned of', () => {
    const warningsFor = (version: number, versionText: string): readonly string[] =>
      resolveMappings([users], catalog([plain], { server: { ...server, version, versionText } }), options)
        .warnings
    expect(warningsFor(150012, '15.12')).toEqual([expect.stringMatching(/15\.12.*Before 15\.13/)])
    expect(warningsFor(150013, '15.13')).toEqual([])
    expect(warningsFor(180000, '18.0')).toEqual([])
  })
})

describe("the caller's session", () => {
  const session: CallerSession = {
    dateStyle: 'ISO, MDY',
    intervalStyle: 'postgres',
    byteaOutput: 'hex',
    extraFloatDigits: '1',
    timeZone: 'UTC',
    lcMonetary: 'C',
    searchPath: 'public',
  }
  const resolved = (more: Partial<CallerSession>) =>
    resolveMappings([users], catalog([plain]), { ...options, session: { ...session, ...more } })

  test('with the usual settings is fine', () => {
    expect(resolved({})).toMatchObject({ problems: [], warnings: [] })
  })

  test('is refused by name where pg itself would misread values', () => {
    expect(resolved({ dateStyle: 'SQL, DMY' }).problems).toMatchObject([{ kind: 'date-style' }])
    expect(resolved({ byteaOutput: 'escape' }).problems).toMatchObject([{ kind: 'bytea-output' }])
  })

  test('is warned of where answers would differ', () => {
    expect(resolved({ intervalStyle: 'iso_8601' })).toMatchObject({
      problems: [],
      warnings: [expect.stringMatching(/IntervalStyle/)],
    })
    expect(resolved({ extraFloatDigits: '0' })).toMatchObject({
      problems: [],
      warnings: [expect.stringMatching(/extra_float_digits/)],
    })
  })
})
