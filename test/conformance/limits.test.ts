/** What docs/decoders.md says of each decoder is what the code goes by, and what it says is carried is carried. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import type { DecoderLimits, LostTypes } from '../../src/change/limits.js'
import { decoders } from '../../src/decode/index.js'
import { openCache } from '../../src/index.js'
import { decoderNames as names, decodersThat } from './installed.js'
import { items, openItems, placeFor, typeNames } from './items.js'

const document = readFileSync(join(import.meta.dirname, '../../docs/decoders.md'), 'utf8')

const mended = { finite: ', unless `assumeFinite`', utc: ', unless TimeZone is UTC' }

function lost({ oids, mendedBy }: LostTypes): string {
  const types = oids.map(oid => typeNames.get(oid)).join(', ')
  return `${types}: \`decoder-type\`${mendedBy === null ? '' : mended[mendedBy]}`
}

const carried = (is: boolean, otherwise: string): string => (is ? 'yes' : `no: ${otherwise}`)

/** What a decoder's column of the table has to say. */
const facts: { readonly [K in Exclude<keyof DecoderLimits, 'decoder'>]: (limits: DecoderLimits) => string } =
  {
    truncate: ({ truncate }) => carried(truncate, 'noticed by the file, unless `assumeNoTruncate`'),
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

test.for(decodersThat(limits => limits.lostTypes.some(({ mendedBy }) => mendedBy === 'finite')))(
  '%s takes the types that it loses in part if they are said to be finite',
  async (name, { skip }) => {
    const db = await placeFor(name, skip)
    await db.query('create table items (id int primary key, n numeric, f float4)')
    await db.query('insert into items values (1, 0.10, 1.1)')
    const cache = await openItems(db, name, { assumeFinite: true })
    await db.query('insert into items values (2, 12345678901234567890.10, 1e30)')
    await cache.waitFor(await cache.token())
    expect([...cache.table(items).local]).toEqual([
      { id: 1, n: '0.10', f: 1.1 },
      { id: 2, n: '12345678901234567890.10', f: 1e30 },
    ])
  },
)

test.for(decodersThat(({ publications }) => !publications))(
  '%s needs no publication, and makes none',
  async (name, { skip }) => {
    const db = await placeFor(name, skip)
    await db.query('create table items (id int primary key)')
    await openItems(db, name)
    expect(await db.query('select pubname from pg_publication')).toEqual([])
  },
)

test.for(decodersThat(({ convertsEncoding }) => convertsEncoding))(
  '%s carries texts of a database that is not UTF8',
  async (name, { skip }) => {
    const db = await placeFor(name, skip, 'LATIN1')
    await db.query(
      `create table items (id int primary key, t text); insert into items values (1, 'caf\u00e9')`,
    )
    const cache = await openItems(db, name)
    await db.query(`insert into items values (2, 'na\u00efve \u00ff')`)
    await cache.waitFor(await cache.token())
    expect([...cache.table(items).local]).toEqual([
      { id: 1, t: 'caf\u00e9' },
      { id: 2, t: 'na\u00efve \u00ff' },
    ])
  },
)

test.for(decodersThat(({ generatedStored }) => generatedStored))(
  '%s carries stored generated columns',
  async (name, { skip }) => {
    const db = await placeFor(name, skip)
    await db.query('create table items (id int primary key, twice int generated always as (id * 2) stored)')
    const cache = await openItems(db, name)
    await db.query('insert into items values (1); update items set id = 4')
    await cache.waitFor(await cache.token())
    expect([...cache.table(items).local]).toEqual([{ id: 4, twice: 8 }])
  },
)

test.each(names)('%s has its assumptions refused where it needs none', async name => {
  const limits: DecoderLimits = decoders[name].limits
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
