import assert from 'node:assert/strict'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, Column, defineTable, openCache, PrimaryKey, ReplicatedTable } from '../../src/index.js'
import { caughtUp, poolOf, rowsByKey, until } from '../support/cache.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { shows } from '../support/shows.js'

type Values = Record<string, unknown> & { readonly id: number }

const values = defineTable<Values>({ name: 'values' })

const TYPES = `
  create type mood as enum ('sad', 'fine');
  create domain positive as int check (value > 0);
  create type pair as (a int, b text);
  create table "values" (
    id int primary key, yes bool, small int2, big int8, num numeric, fixed numeric(20, 4), f4 float4, f8 float8, txt text, vc varchar(40),
    ch char(8), nm name, bytes bytea, day date, at time, at_zone timetz, stamp timestamp, instant timestamptz, span interval,
    uid uuid, js json, jb jsonb, ints int[], bigs int8[], nums numeric[], texts text[], nested int[][], flags bool[], instants timestamptz[],
    docs jsonb[], feeling mood, feelings mood[], pos positive, two pair, ip inet, net cidr, mac macaddr, pt point, bx box, circ circle,
    span4 int4range, spans tstzrange, cash money, bits bit(8), varbits varbit, vec tsvector, "__proto__" text, "constructor" text,
    "then" text, "toString" int, "hasOwnProperty" bool, "we""ird ñame" text)`

/** Each a whole row but for its id; columns that are not named are null. */
const ROWS = [
  `yes, small, big, num, fixed, f4, f8, txt, vc, ch, nm, bytes, day, at, at_zone, stamp, instant, span, uid, js, jb, ints, bigs, nums, texts, nested,
     flags, instants, docs, feeling, feelings, pos, two, ip, net, mac, pt, bx, circ, span4, spans, cash, bits, varbits, vec, "__proto__",
     "constructor", "then", "toString", "hasOwnProperty", "we""ird ñame")
   values (true, -32768, 9223372036854775807, '12345678901234567890.123456789', 1.5, 0.1, 0.1::float8 + 0.2, 'plain', 'tab\tback\\slash', 'pad',
     'name', '\\x00ff10', '2024-02-29', '12:34:56.789', '12:34:56+05:30', '2024-03-10 02:30:00.123456', '2024-03-10 07:30:00.999999+00',
     '1 year 2 mons 3 days 04:05:06.789', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, {"b": null}], "__proto__": {"x": 1}}', '{"n": 12345678901234567890, "z": [1.0]}',
     '{1,null,-3}', '{9223372036854775807}', '{1.10,NaN}', '{"a,b","c\\"d",null,"NULL",""}', '{{1,2},{3,4}}', '{t,f,null}',
     '{"2024-01-01 00:00:00+00",null}', array['{"k": [1]}'::jsonb], 'fine', '{sad,fine}', 7, '(1,"x,y")', '10.0.0.1/24', '10.0.0.0/8',
     '08:00:2b:01:02:03', '(1.5,-2)', '((1,1),(0,0))', '<(1,2),3>', '[1,5)', '["2024-01-01 00:00:00+00",)', 1234.56, B'10101010', B'101',
     'fat & rat'::text::tsvector, 'own', 'own too', 'no promise', 5, false, 'quoted')`,
  // Nothing at all.
  `yes) values (null)`,
  // The ends of what there is.
  `num, f4, f8, txt, vc, ch, bytes, day, stamp, instant, span, jb, js, ints, texts, big)
   values ('NaN', 'Infinity', '-Infinity', '', '', '', '', 'infinity', '-infinity', 'infinity', '-1 mons +1 day -00:00:00.000001', 'null', '"text"', '{}',
     '{}', -9223372036854775808)`,
  `num, f8, txt, day, instant, jb, bytes, texts, nested)
   values (repeat('9', 300)::numeric, '-0', E'\\uFEFFsnow ☃ 🦆 line\\nbreak\\r\\t\\b\\f\\v \\\\N \\\\.', '0044-03-15 BC', '1883-11-18 12:00:00 America/New_York',
     '[]', decode(repeat('00ff', 3000), 'hex'), array['☃', E'\\\\', '{', '"'], '[2:3][0:1]={{1,2},{3,4}}')`,
  // Kept outside the row, compressed or not.
  `txt, vc, jb, bytes) values (repeat('long ', 400000), 'beside it', jsonb_build_object('list', (select jsonb_agg(i) from generate_series(1, 5000) i)),
     (select string_agg(decode(md5(i::text), 'hex'), '') from generate_series(1, 20000) i))`,
  `txt) values ((select string_agg(md5(i::text), '') from generate_series(1, 50) i))`,
]

async function insertAll(db: TestDatabase, from: number): Promise<void> {
  for (const [i, row] of ROWS.entries()) {
    const [columns, rest] = [
      row.slice(0, row.indexOf(')\n') < 0 ? row.indexOf(')') : row.indexOf(')\n')),
      row,
    ]
    const at = columns.length
    await db.query(
      `insert into "values" (id, ${columns}) ${rest.slice(at + 1).replace('values (', `values (${from + i}, `)}`,
    )
  }
}

/** Every way by which a row comes to a reader gives what the pool itself would have SELECTed. */
async function expectWhatPgSelects(pool: pg.Pool, cache: Cache): Promise<void> {
  await caughtUp(cache)
  const table = cache.table(values)
  const { rows } = await pool.query<Values>('select * from "values" order by id')
  expect(table.local.size).toBe(rows.length)
  const scanned = rowsByKey(table.local, ({ id }) => id)
  using snapshot = cache.snapshot()
  for (const row of rows) {
    const where = { id: row.id }
    assert.deepStrictEqual(table.local.get(row.id), row)
    assert.deepStrictEqual(table.local.get(row.id), row)
    assert.deepStrictEqual(scanned.get(String(row.id)), row)
    assert.deepStrictEqual(snapshot.table(values).local.get(row.id), row)
    assert.deepStrictEqual(await table.findUnique({ where }), row)
    assert.deepStrictEqual(await table.findUnique({ where, maxStaleness: 0, onStale: 'database' }), row)
    expect(Object.keys(table.local.get(row.id)!)).toEqual(Object.keys(row))
  }
}

class Decimal {
  constructor(readonly text: string) {}
}

/** Parsers of one pool, over those of all pools. */
const parsers: Record<number, (text: string) => unknown> = {
  [pg.types.builtins.INT8]: BigInt,
  [pg.types.builtins.NUMERIC]: text => new Decimal(text),
  [pg.types.builtins.TIMESTAMPTZ]: text => text,
  [pg.types.builtins.DATE]: text => ({ day: text }),
}
const ownTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    parsers[oid] ?? pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
}

describe('rows are what the application’s own pg would have SELECTed', () => {
  async function throughLoadStreamAndDatabase(config: pg.PoolConfig): Promise<void> {
    const db = await testDatabase()
    await db.query(TYPES)
    await insertAll(db, 1)
    const pool = poolOf(db.url, config)
    await using cache = await openCache({ pool, entities: [values] })
    await expectWhatPgSelects(pool, cache)
    await insertAll(db, 101)
    await expectWhatPgSelects(pool, cache)
    // Values kept outside the row are not sent again.
    await db.query(`update "values" set small = 1, "then" = 'later'`)
    await db.query(`update "values" set id = id + 1000 where id > 100`)
    await expectWhatPgSelects(pool, cache)
    await db.query('alter table "values" replica identity full')
    // That makes it be read anew, at the latest with its next change.
    await db.query(`update "values" set small = 3 where id = 1`)
    await caughtUp(cache)
    await until(() => cache.health().tables.every(({ failed }) => failed === null), 'it is back')
    await db.query(`update "values" set small = 2 where id < 1000`)
    await db.query(`update "values" set id = id - 1000 where id > 1000`)
    await expectWhatPgSelects(pool, cache)
  }

  test('with pg’s own parsers', () => throughLoadStreamAndDatabase({}))

  test('with parsers of one pool', () => throughLoadStreamAndDatabase({ types: ownTypes }))

  test('with parsers set for the whole process', async () => {
    const before = pg.types.getTypeParser(pg.types.builtins.INT8, 'text')
    pg.types.setTypeParser(pg.types.builtins.INT8, BigInt)
    onTestFinished(() => pg.types.setTypeParser(pg.types.builtins.INT8, before))
    await throughLoadStreamAndDatabase({})
  })

  test('in the time zone of the application’s sessions', () =>
    throughLoadStreamAndDatabase({ types: ownTypes, options: '-c timezone=Asia/Kolkata' }))
})

test('nothing that one reader does to a row is seen by another', async () => {
  const db = await testDatabase()
  await db.query(TYPES)
  await insertAll(db, 1)
  const pool = poolOf(db.url, { types: ownTypes })
  await using cache = await openCache({ pool, entities: [values] })
  await using plain = await openCache({ pool: poolOf(db.url), entities: [values] })
  const own = cache.table(values).local.get(1)!
  const row = plain.table(values).local.get(1)!
  const vandalise: ((row: Values) => unknown)[] = [
    ({ instant }) => (instant as Date).setTime(0),
    ({ instants }) => (instants as Date[])[0]?.setTime(0),
    ({ bytes }) => (bytes as Buffer).fill(0x41),
    ({ js }) => ((js as { a: number[] }).a[0] = 9),
    ({ jb }) => delete (jb as { n?: number }).n,
    ({ ints }) => (ints as number[]).push(1),
    ({ nested }) => ((nested as number[][])[0]![0] = 9),
    ({ docs }) => ((docs as { k: number[] }[])[0]!.k[0] = 9),
    ({ span }) => ((span as { days: number }).days = 99),
    ({ pt }) => ((pt as { x: number }).x = 99),
    row => ((row as { id: number }).id = 99),
    row => ((row as Record<string, unknown>)['more'] = 1),
    row => delete (row as Record<string, unknown>)['txt'],
  ]
  for (const vandal of vandalise)
    for (const victim of [
      row,
      plain.table(values).local.get(1)!,
      [...plain.table(values).local].find(({ id }) => id === 1)!,
    ])
      try {
        vandal(victim)
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError)
      }
  Object.assign(own['num'] as object, { text: 'changed' })
  await expectWhatPgSelects(poolOf(db.url), plain)
  await expectWhatPgSelects(pool, cache)
})

@ReplicatedTable({ name: 'people', naming: 'snake' })
class Person {
  @PrimaryKey() id!: number
  @Column() firstName!: string
  @Column({ name: 'family' }) lastName!: string
  visits = 0

  constructor() {
    throw new Error('Constructors never run.')
  }

  get fullName(): string {
    return `${this.firstName} ${this.lastName}`
  }

  set firstname(_name: string) {
    throw new Error('Setters never run.')
  }
}

test('rows of a class have its prototype, and nothing of it has run', async () => {
  const db = await testDatabase()
  await db.query(`create table people (secret text, id int primary key, first_name text, family text)`)
  await db.query(`insert into people values ('hidden', 1, 'Ada', 'Lovelace')`)
  await using cache = await openCache({ pool: poolOf(db.url), entities: [Person] })
  for (const person of [
    cache.table(Person).local.get(1)!,
    await cache.table(Person).findUniqueOrThrow({ where: { id: 1 } }),
    await cache.table(Person).findUniqueOrThrow({ where: { id: 1 }, maxStaleness: 0, onStale: 'database' }),
  ]) {
    expect(person).toBeInstanceOf(Person)
    expect(person.fullName).toBe('Ada Lovelace')
    expect(Object.entries(person)).toEqual([
      ['id', 1],
      ['firstName', 'Ada'],
      ['lastName', 'Lovelace'],
    ])
  }
})

test.each(['default', 'full'])(
  'composite keys, their changes, and values kept outside the row (replica identity %s)',
  async identity => {
    if (identity === 'full') shows('S12')
    interface Pair {
      readonly a: number
      readonly b: string
      readonly v: string
      readonly n: number
    }
    const pairs = defineTable<Pair>({ name: 'pairs' })
    const db = await testDatabase()
    await db.query(`
    create table pairs (v text, a int, n int, b text, primary key (b, a));
    alter table pairs alter v set storage external;
    alter table pairs replica identity ${identity};
    insert into pairs select repeat(md5(i::text), 100), i % 5, 0, 'b' || i / 5 from generate_series(1, 50) i`)
    await using cache = await openCache({ pool: poolOf(db.url), entities: [pairs] })
    const { local } = cache.table(pairs)
    const key = ({ a, b }: Pair): string => JSON.stringify([a, b])
    const expectEqual = async (): Promise<void> => {
      await caughtUp(cache)
      const inDatabase = await db.query<Pair>('select * from pairs')
      expect(rowsByKey(local, key)).toEqual(rowsByKey(inDatabase, key))
      for (const row of inDatabase) expect(local.get({ a: row.a, b: row.b })).toEqual(row)
    }
    await expectEqual()
    await db.query('update pairs set n = n + 1 where a = 1')
    await db.query(`update pairs set b = 'moved ' || b where a = 2`)
    await db.query(`update pairs set a = a + 10, n = 5 where a = 3`)
    await expectEqual()
    // Two keys change places in one transaction.
    await db.query(`
    begin;
    update pairs set a = 99 where a = 1 and b = 'b0';
    update pairs set a = 1 where a = 4 and b = 'b0';
    update pairs set a = 4 where a = 99 and b = 'b0';
    delete from pairs where a = 0;
    insert into pairs values ('anew', 0, 7, 'b1');
    commit`)
    await expectEqual()
    expect(local.get({ a: 0, b: 'b1' })?.v).toBe('anew')
    expect(local.get({ a: 0, b: 'b2' })).toBeUndefined()
    await db.query(
      `begin; truncate pairs; insert into pairs values ('after', 1, 1, 'x'); update pairs set a = 2; commit`,
    )
    await expectEqual()
    expect([...local]).toEqual([{ v: 'after', a: 2, n: 1, b: 'x' }])
  },
)
