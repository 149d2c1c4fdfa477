/** Whatever a decoder can't carry is refused at the start: each refusal is provoked here on a server, and its message read. */
import { describe, expect, test } from 'vitest'
import type { DecoderLimits } from '../../src/change/limits.js'
import { decoders } from '../../src/decode/index.js'
import { defineTable } from '../../src/index.js'
import { testDatabase } from '../support/servers.js'
import { decoderNames, decodersThat } from './installed.js'
import { openItems, placeFor, problemsOf, typeNames } from './items.js'
import { shows } from '../support/shows.js'

test.for(decodersThat(({ lostTypes }) => lostTypes.length > 0))(
  '%s refuses the types that it loses, by name',
  async (name, { skip }) => {
    const { lostTypes }: DecoderLimits = decoders[name].limits
    const db = await placeFor(name, skip)
    const lost = lostTypes.flatMap(({ oids, why, mendedBy }) =>
      oids.map(oid => ({ type: typeNames.get(oid)!, why, mendedBy })),
    )
    await db.query(
      `create table items (id int primary key, ${lost.map(({ type }) => `a_${type} ${type}`).join(', ')})`,
    )
    const ways = {
      finite: ', or, if neither is ever stored in it, open the cache with assumeFinite: true',
      utc: ", or let the pool's sessions have TimeZone UTC",
    }
    expect(await problemsOf(db, name)).toEqual(
      lost.map(({ type, why, mendedBy }) => ({
        kind: 'decoder-type',
        table: 'public.items',
        property: `a_${type}`,
        column: `a_${type}`,
        message: expect.stringMatching(
          new RegExp(
            `^${name} can't carry .*: it sends ${why}\\. Use decoder 'pgoutput', or leave the column out${mendedBy === null ? '' : ways[mendedBy]}\\.$`,
          ),
        ),
      })),
    )
  },
)

test.for(decodersThat(({ publications }) => !publications))(
  '%s refuses a publication whose filters and lists it does not heed',
  async (name, { skip }) => {
    const db = await placeFor(name, skip)
    await db.query(`create table items (id int primary key, secret text); create table plain (id int primary key);
      create publication mine for table items (id); create publication open_one for table items`)
    const more = { entities: [defineTable<{ id: number }>({ name: 'items', columns: ['id'] })] }
    const refused = [
      {
        kind: 'decoder-publication',
        table: 'public.items',
        message: expect.stringMatching(
          new RegExp(
            `^publication "mine" has a row filter or column list.*${name} does not heed: every row and column would be sent`,
          ),
        ),
      },
    ]
    expect(await problemsOf(db, name, { ...more, publication: 'mine' })).toEqual(refused)
    await db.query('drop publication mine; create publication mine for table items where (id > 5)')
    expect(await problemsOf(db, name, { ...more, publication: 'mine' })).toEqual(refused)
    const cache = await openItems(db, name, { ...more, publication: 'open_one' })
    expect(cache.state).toBe('live')
  },
)

test.for(decodersThat(({ convertsEncoding }) => !convertsEncoding))(
  '%s refuses a database that is not UTF8',
  async (name, { skip }) => {
    const db = await placeFor(name, skip, 'LATIN1')
    await db.query('create table items (id int primary key)')
    expect(await problemsOf(db, name)).toEqual([
      {
        kind: 'decoder-encoding',
        message: `the database has encoding LATIN1, which ${name} sends unconverted. Use decoder 'pgoutput'.`,
      },
    ])
  },
)

test.for(decodersThat(({ generatedStored }) => !generatedStored))(
  '%s refuses stored generated columns',
  async (name, { skip }) => {
    shows('S23')
    const db = await placeFor(name, skip)
    await db.query('create table items (id int primary key, twice int generated always as (id * 2) stored)')
    expect(await problemsOf(db, name)).toEqual([
      {
        kind: 'generated-column',
        table: 'public.items',
        property: 'twice',
        column: 'twice',
        message: expect.stringMatching(
          new RegExp(`^this stored generated column is not in ${name}'s change stream.*Leave it out`),
        ),
      },
    ])
  },
)

test('virtual generated columns are in no stream, and refused', async () => {
  shows('S23')
  const db = await testDatabase({ major: 18 })
  await db.query('create table items (id int primary key, twice int generated always as (id * 2) virtual)')
  expect(await problemsOf(db, 'pgoutput')).toEqual([
    expect.objectContaining({
      kind: 'generated-column',
      column: 'twice',
      message: expect.stringMatching(/^this virtual generated column is not in pgoutput's change stream/),
    }),
  ])
})

/** What no decoder carries: the table `items`, the kind of the problem, and what its message says. */
const TABLES: readonly (readonly [string, kind: string, message: RegExp])[] = [
  [
    'create table items (id int primary key) partition by range (id); create unlogged table leaf partition of items default',
    'table-persistence',
    /^its partition "public"\."leaf" is unlogged.*SET LOGGED;$/,
  ],
  [
    `create table items (id int primary key, code text not null unique);
     alter table items replica identity using index items_code_key`,
    'replica-identity',
    /^the replica identity is the index "items_code_key" and not the primary key.*REPLICA IDENTITY DEFAULT/,
  ],
  [
    'create table items (id int primary key); alter table items replica identity nothing',
    'replica-identity',
    /^this table has REPLICA IDENTITY NOTHING.*REPLICA IDENTITY DEFAULT/,
  ],
  ['create table items (id int)', 'no-primary-key', /^this table has no primary key.*ADD PRIMARY KEY/],
  [
    'create table items (id int primary key deferrable)',
    'deferrable-primary-key',
    /^the primary key "items_pkey" is deferrable.*Make it NOT DEFERRABLE/,
  ],
  [
    'create table items (id int primary key); create table more () inherits (items)',
    'inherited-table',
    /^other tables inherit from this one \(more\).*Declare the inheriting tables instead/,
  ],
  [
    'create table items (id int primary key); alter table items enable row level security',
    'row-security',
    /^this table has row-level security.*allowRlsBypass: true/,
  ],
  ['create unlogged table items (id int primary key)', 'table-persistence', /unlogged.*SET LOGGED/],
  ['create view items as select 1 as id', 'table-kind', /^this is a view: declare the tables behind it/],
]

describe.each(decoderNames)('%s', name => {
  test('refuses tables of which no decoder carries every change', async ({ skip }) => {
    shows('S13', 'S14', 'S15', 'S25', 'S26', 'I20', 'I21')
    const db = await placeFor(name, skip)
    for (const [sql, kind, message] of TABLES) {
      await db.query(`begin; drop schema public cascade; create schema public; ${sql}; commit`)
      expect(await problemsOf(db, name)).toEqual([
        { kind, table: 'public.items', message: expect.stringMatching(message) },
      ])
    }
  })

  test('refuses a database whose texts may be anything', async ({ skip }) => {
    shows('C43')
    const db = await placeFor(name, skip, 'SQL_ASCII')
    await db.query('create table items (id int primary key)')
    expect(await problemsOf(db, name)).toEqual([
      {
        kind: 'server-encoding',
        message: expect.stringMatching(/^the database has encoding SQL_ASCII.*Use a UTF8 database\.$/),
      },
    ])
  })
})
