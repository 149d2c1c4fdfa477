/** What docs/decoders.md says of each decoder is what the code goes by, and each refusal is provoked here. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { DecoderLimits, LostTypes } from '../../src/change/limits.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import { type Cache, defineTable, openCache, type OpenCacheOptions, SetupError } from '../../src/index.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

const names = Object.keys(decoders) as DecoderName[]
const document = readFileSync(join(import.meta.dirname, '../../docs/decoders.md'), 'utf8')

const typeNames = new Map([
  [700, 'float4'],
  [701, 'float8'],
  [790, 'money'],
  [1184, 'timestamptz'],
  [1266, 'timetz'],
  [1700, 'numeric'],
])

const mended = { finite: ', unless `assumeFinite`', utc: ', unless TimeZone is UTC' }

function lost({ oids, mendedBy }: LostTypes): string {
  const types = oids.map(oid => typeNames.get(oid)).join(', ')
  return `${types}: \`decoder-type\`${mendedBy === null ? '' : mended[mendedBy]}`
}

const carried = (is: boolean, otherwise: string): string => (is ? 'yes' : `no: ${otherwise}`)

/** What a decoder's column of the table has to say. */
const facts: { readonly [K in Exclude<keyof DecoderLimits, 'decoder'>]: (limits: DecoderLimits) => string } =
  {
    truncate: ({ truncate }) => carried(truncate, '`decoder-truncate`, unless `assumeNoTruncate`'),
    messages: ({ messages }) => carried(messages, 'dropped'),
    generatedStored: ({ generatedStored }) => carried(generatedStored, '`generated-column`'),
    publications: ({ publications }) => carried(publications, '`decoder-publication`'),
    convertsEncoding: ({ convertsEncoding }) => carried(convertsEncoding, '`decoder-encoding`'),
    lostTypes: ({ lostTypes }) => (lostTypes.length === 0 ? 'none' : lostTypes.map(lost).join('; ')),
    textNumbersOption: ({ textNumbersOption: option }) => (option === null ? 'none' : `\`${option}\``),
  }

test('docs/decoders.md has a column for each decoder, with its limits', () => {
  const limits = names.map((name): DecoderLimits => decoders[name].limits)
  const rows = Object.entries(facts).map(([fact, say]) => `| \`${fact}\` | ${limits.map(say).join(' | ')} |`)
  const header = `| fact | ${names.map(name => `\`${name}\``).join(' | ')} |`
  expect(document).toContain([header, `|${'---|'.repeat(names.length + 1)}`, ...rows].join('\n'))
})

test('each decoder goes by the name of its plugin', async () => {
  for (const name of names) {
    const makeDecoder = await decoders[name].load()
    expect(decoders[name].limits.decoder).toBe(name)
    expect(makeDecoder({ publication: 'p', relations: [] }).plugin).toBe(name)
  }
})

const items = defineTable<Record<string, unknown>>({ name: 'items' })

async function open(db: TestDatabase, more: Partial<OpenCacheOptions>): Promise<Cache> {
  const pool = new pg.Pool({ connectionString: db.url, options: '-c timezone=America/New_York' })
  onTestFinished(() => pool.end())
  const cache = await openCache({ pool, entities: [items], ...more })
  onTestFinished(() => cache.close())
  return cache
}

/** The problems with which a cache over `items` is refused. */
async function problemsOf(db: TestDatabase, more: Partial<OpenCacheOptions>): Promise<unknown> {
  const error: unknown = await open(db, more).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(SetupError)
  return (error as SetupError).problems
}

describe.each(names)('%s', name => {
  const limits: DecoderLimits = decoders[name].limits
  const database = async (skip: (condition: boolean, note: string) => void): Promise<TestDatabase> => {
    const db = await testDatabase({ major: 15 })
    skip(!db.server.decoders.includes(name) && process.env['CI'] !== 'true', `the server has no ${name}`)
    return db
  }
  const vouched = limits.truncate ? {} : { assumeNoTruncate: true }

  test.runIf(limits.lostTypes.length > 0)('refuses the types that it loses, by name', async ({ skip }) => {
    const db = await database(skip)
    const columns = limits.lostTypes.flatMap(({ oids }) => oids.map(oid => typeNames.get(oid)!))
    await db.query(
      `create table items (id int primary key, ${columns.map(type => `a_${type} ${type}`).join(', ')})`,
    )
    const problems = await problemsOf(db, { decoder: name, ...vouched })
    expect(problems).toEqual(
      columns.map(type => ({
        kind: 'decoder-type',
        table: 'public.items',
        property: `a_${type}`,
        column: `a_${type}`,
        message: expect.stringMatching(
          new RegExp(`^${name} can't carry .*: it sends .*Use decoder 'pgoutput'`),
        ),
      })),
    )
    expect(
      await db.query('select slot_name from pg_replication_slots where database = current_database()'),
    ).toEqual([])
  })

  test.runIf(limits.lostTypes.some(({ mendedBy }) => mendedBy === 'finite'))(
    'takes them if they are said to be finite',
    async ({ skip }) => {
      const db = await database(skip)
      await db.query('create table items (id int primary key, n numeric, f float4)')
      await db.query('insert into items values (1, 0.10, 1.1)')
      const cache = await open(db, { decoder: name, assumeFinite: true, ...vouched })
      await db.query('insert into items values (2, 12345678901234567890.10, 1e30)')
      await cache.waitFor(await cache.token())
      expect([...cache.table(items).local]).toEqual([
        { id: 1, n: '0.10', f: 1.1 },
        { id: 2, n: '12345678901234567890.10', f: 1e30 },
      ])
    },
  )

  test.runIf(!limits.publications)(
    'refuses a publication whose filters and lists it does not heed',
    async ({ skip }) => {
      const db = await database(skip)
      await db.query(`create table items (id int primary key, secret text); create table plain (id int primary key);
      create publication mine for table items (id); create publication open_one for table items`)
      const declared = defineTable<{ id: number }>({ name: 'items', columns: ['id'] })
      const more = { decoder: name, entities: [declared], ...vouched }
      expect(await problemsOf(db, { ...more, publication: 'mine' })).toEqual([
        {
          kind: 'decoder-publication',
          table: 'public.items',
          message: expect.stringMatching(
            new RegExp(`^publication "mine" has a row filter or column list.*${name} does not heed`),
          ),
        },
      ])
      await db.query('drop publication mine; create publication mine for table items where (id > 5)')
      expect(await problemsOf(db, { ...more, publication: 'mine' })).toHaveLength(1)
      const cache = await open(db, { ...more, publication: 'open_one' })
      expect(cache.state).toBe('live')
    },
  )

  test.runIf(!limits.publications)('needs no publication, and makes none', async ({ skip }) => {
    const db = await database(skip)
    await db.query('create table items (id int primary key)')
    await open(db, { decoder: name, ...vouched })
    expect(await db.query('select pubname from pg_publication')).toEqual([])
  })

  test.runIf(!limits.convertsEncoding)('refuses a database that is not UTF8', async ({ skip }) => {
    const db = await database(skip)
    const latin = `latin_${db.name}`
    await db.query(`create database ${latin} encoding 'LATIN1' locale 'C' template template0`)
    onTestFinished(async () => {
      await db.query(`drop database ${latin} with (force)`)
    })
    const url = new URL(db.url)
    url.pathname = `/${latin}`
    const pool = new pg.Pool({ connectionString: url.href })
    // The database is dropped under it.
    pool.on('error', () => undefined)
    onTestFinished(() => pool.end())
    await pool.query('create table items (id int primary key)')
    const opened = openCache({ pool, entities: [items], decoder: name, ...vouched })
    await expect(opened).rejects.toMatchObject({
      problems: [
        {
          kind: 'decoder-encoding',
          message: expect.stringMatching(new RegExp(`LATIN1.*${name} sends unconverted`)),
        },
      ],
    })
  })

  test.runIf(!limits.truncate)(
    'refuses every table unless it is said not to be truncated',
    async ({ skip }) => {
      const db = await database(skip)
      await db.query('create table items (id int primary key)')
      expect(await problemsOf(db, { decoder: name })).toEqual([
        {
          kind: 'decoder-truncate',
          table: 'public.items',
          message: expect.stringMatching(
            new RegExp(`^${name} does not say when a table is truncated.*assumeNoTruncate: true`),
          ),
        },
      ])
      const cache = await open(db, { decoder: name, assumeNoTruncate: true })
      expect(cache.state).toBe('live')
    },
  )

  test.runIf(limits.generatedStored)('carries stored generated columns', async ({ skip }) => {
    const db = await database(skip)
    await db.query('create table items (id int primary key, twice int generated always as (id * 2) stored)')
    const cache = await open(db, { decoder: name, ...vouched })
    await db.query('insert into items values (1); update items set id = 4')
    await cache.waitFor(await cache.token())
    expect([...cache.table(items).local]).toEqual([{ id: 4, twice: 8 }])
  })

  test('refuses what a partitioned root, or another identity than the key, would hide', async ({ skip }) => {
    const db = await database(skip)
    await db.query(`create table items (id int primary key) partition by range (id)`)
    expect(await problemsOf(db, { decoder: name, ...vouched })).toMatchObject([{ kind: 'partitioned-table' }])
    await db.query(`drop table items; create table items (id int primary key, code text not null unique);
      alter table items replica identity using index items_code_key`)
    expect(await problemsOf(db, { decoder: name, ...vouched })).toMatchObject([
      { kind: 'replica-identity', table: 'public.items' },
    ])
  })

  test('has its assumptions refused where it needs none', async () => {
    const pool = new pg.Pool()
    onTestFinished(() => pool.end())
    const given = { pool, entities: [items], decoder: name }
    if (limits.truncate)
      await expect(openCache({ ...given, assumeNoTruncate: true })).rejects.toThrow(
        `decoder '${name}' carries TRUNCATE`,
      )
    if (!limits.lostTypes.some(({ mendedBy }) => mendedBy === 'finite'))
      await expect(openCache({ ...given, assumeFinite: true })).rejects.toThrow(
        `decoder '${name}' loses no NaN`,
      )
  })
})
