/** Every decoder's values are the texts that a SELECT shows, over the types and their extremes. */
import { describe, expect, test } from 'vitest'
import type { DecoderLimits } from '../../src/change/limits.js'
import type { Relation } from '../../src/change/relation.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import { silentLogger } from '../../src/observe.js'
import { systemRuntime } from '../../src/runtime.js'
import { openSlotSource } from '../../src/source/slot-source.js'
import { afterTest, connectionsTo, Reader } from '../source/reading.js'
import { testDatabase } from '../support/servers.js'

/** Types, and literals of theirs that decoders are known to stumble over. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  bool: ['t', 'f'],
  int2: ['-32768', '32767'],
  int4: ['-2147483648', '0'],
  int8: ['9007199254740993', '-9223372036854775808', '9223372036854775807'],
  oid: ['4294967295', '0'],
  float4: [
    '1.1',
    '-0',
    '1e-45',
    '3.4028235e38',
    '100000',
    '1e6',
    '0.0001',
    '0.00001',
    '16777216',
    '8388608.5',
    '1.1754944e-38',
  ],
  float8: [
    '0.1',
    '-0',
    '5e-324',
    '1.7976931348623157e308',
    '1e14',
    '1e15',
    '1e23',
    '9007199254740993',
    '0.0001',
    '1.5e-5',
    '-12.5',
  ],
  numeric: ['0.10', '12345678901234567890.1230', '-0.0000000000000000000000000001'],
  'numeric(10,4)': ['1', '-999999.9999'],
  text: ['', 'a"b\\c\n\t\u0001\u007f', 'ü☃😀\u2028', '\uFEFFx', 'null', '{"a": 1}'],
  'varchar(20)': ['abc  '],
  'char(6)': ['abc', ''],
  '"char"': ['a', '\\200', ''],
  name: ['Name "x"'],
  bytea: ['\\x00ff5c22', '\\x'],
  date: [
    '2024-02-29',
    '0044-03-15 BC',
    '0001-01-01',
    '4713-11-24 BC',
    '5874897-12-31',
    'infinity',
    '-infinity',
    '1969-12-31',
  ],
  time: ['12:34:56.123456', '24:00:00', '00:00:00', '01:02:03.1'],
  timestamp: [
    '2024-02-03 04:05:06.789',
    '0044-03-15 23:59:59.999999 BC',
    '294276-12-31 23:59:59.999999',
    '4714-11-24 00:00:00 BC',
    'infinity',
    '-infinity',
    '1969-12-31 23:59:59.999999',
  ],
  timestamptz: [
    '2024-02-03 04:05:06.789+00',
    '0044-03-15 00:00:00+00 BC',
    'infinity',
    '-infinity',
    '294276-12-31 23:59:59.999999+00',
  ],
  timetz: ['12:34:56.123456+05:30'],
  money: ['-1234.56'],
  interval: ['1 year 2 mons -3 days 04:05:06.789012', '0'],
  uuid: ['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'],
  json: ['{"a":  1e400, "a": "\\u0000"}', 'null'],
  jsonb: ['{"b": [1, 2.50], "a": null}'],
  xml: ['<a>1</a>'],
  inet: ['10.0.0.1/8', '::1'],
  cidr: ['10.0.0.0/8'],
  macaddr: ['08:00:2b:01:02:03'],
  'bit(3)': ['101'],
  varbit: ['', '1'],
  point: ['(1.5,-2)', '(NaN,Infinity)', '(-0,1e300)'],
  circle: ['<(1,2),3.5>'],
  box: ['(3,4),(1,2)'],
  tsvector: ["'a':1 'b'"],
  int4range: ['[1,5)', 'empty'],
  tstzrange: ['["2024-01-01 00:00:00+00",)'],
  int4multirange: ['{[1,3),[5,7)}'],
  pg_lsn: ['16/B374D848'],
  int2vector: ['1 2 3'],
  'int4[]': ['{1,NULL,3}', '[2:4]={7,8,9}'],
  'numeric[]': ['{0.10,NaN}'],
  'text[]': ['{"a,b","\\"",NULL}'],
  'bytea[]': ['{"\\\\x00ff"}'],
  'timestamptz[]': ['{"2024-01-01 00:00:00+00"}'],
  mood: ['happy', 'a "quoted" one'],
  pair: ['(1,"a,""b""")'],
  amount: ['1.50', 'NaN'],
  bytes: ['\\x00ff'],
  flag: ['t'],
}
/** Exact wherever the decoder takes the type without the user's word for it. */
const NOT_FINITE: Readonly<Record<string, readonly string[]>> = {
  float4: ['NaN', 'Infinity', '-Infinity'],
  float8: ['NaN', 'Infinity', '-Infinity'],
  numeric: ['NaN', 'Infinity', '-Infinity'],
}

/** Whatever a float may be: bits, as PostgreSQL reads them. */
const RANDOM_FLOATS = 2_000

const names = Object.keys(decoders) as DecoderName[]

describe.each(names)('%s', name => {
  const limits: DecoderLimits = decoders[name].limits

  test('values are the texts that a SELECT shows', async ({ skip }) => {
    const db = await testDatabase({ major: 15 })
    skip(!db.server.decoders.includes(name) && process.env['CI'] !== 'true', `the server has no ${name}`)
    await db.query(`create type mood as enum ('happy', 'a "quoted" one'); create type pair as (n int, t text);
      create domain amount as numeric; create domain bytes as bytea; create domain flag as bool`)
    const typeOids = await db.query<{ name: string; oid: number }>(
      `select t as name, t::regtype::oid::int8::int as oid from unnest($1::text[]) t`,
      [Object.keys(VALUES)],
    )
    const never = limits.lostTypes.flatMap(({ oids, mendedBy }) => (mendedBy === null ? oids : []))
    const finite = limits.lostTypes.flatMap(({ oids, mendedBy }) => (mendedBy === 'finite' ? oids : []))
    const tables = typeOids.filter(({ oid }) => !never.includes(oid))
    await db.query(
      tables
        .map(({ name: type }, i) => `create table "T ${i}" (id int primary key, "V ""1""" ${type});`)
        .join(''),
    )
    await db.query(`create publication p for table ${tables.map((_type, i) => `"T ${i}"`).join(', ')}`)
    const relations = await db.query<Relation>(
      `select c.oid::int8::int, 'public' as schema, relname as name, 'default' as "replicaIdentity",
         (select json_agg(json_build_object('name', attname, 'typeOid', atttypid::int8, 'typeModifier', atttypmod, 'isKey', attname = 'id') order by attnum)
            from pg_attribute where attrelid = c.oid and attnum > 0) as columns
       from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace`,
    )
    const makeDecoder = await decoders[name].load()
    const source = await openSlotSource(connectionsTo(db.url), systemRuntime, {
      decoder: makeDecoder<Relation>({ publication: 'p', relations }),
      logger: silentLogger,
    })
    afterTest(() => source.close())
    const raw = await db.connect({
      options: '-c timezone=UTC -c extra_float_digits=1 -c bytea_output=hex',
      types: { getTypeParser: () => (text: unknown) => text },
    })
    await raw.query('begin')
    for (const [i, { name: type, oid }] of tables.entries()) {
      const values = [null, ...VALUES[type]!, ...(finite.includes(oid) ? [] : (NOT_FINITE[type] ?? []))]
      for (const [id, value] of values.entries())
        await raw.query(`insert into "T ${i}" values ($1, $2::text::${type})`, [id, value])
    }
    for (const [type, bytes] of [
      ['float4', 4],
      ['float8', 8],
    ] as const) {
      const i = tables.findIndex(table => table.name === type)
      const random = Array.from({ length: RANDOM_FLOATS }, (_value, n) => floatOf(bytes, n)).filter(
        Number.isFinite,
      )
      await raw.query(
        `insert into "T ${i}" select 1000 + n, v::${type} from unnest($1::float8[]) with ordinality x(v, n)`,
        [random],
      )
    }
    await raw.query('commit')
    const reader = new Reader(source)
    const inserted = (await reader.commits(1)).filter(change => change.kind === 'insert')
    for (const [i, { name: type }] of tables.entries()) {
      const { rows } = await raw.query<Record<string, string | null>>(`select * from "T ${i}" order by id`)
      const decoded = inserted.filter(({ table }) => table === `T ${i}`).map(({ row }) => row)
      expect({ type, rows: decoded }).toEqual({ type, rows })
    }
  })
})

/** Floats of all sizes: some of arbitrary bits, some whole, some next to a power of two. */
function floatOf(bytes: 4 | 8, n: number): number {
  const view = new DataView(new ArrayBuffer(8))
  // A step that visits bit patterns evenly, the same in each run.
  const bits = (BigInt(n) * 0x9e3779b97f4a7c15n) & 0xffff_ffff_ffff_ffffn
  if (bytes === 4) {
    view.setUint32(0, Number(bits >> 32n))
    if (n % 4 === 0) view.setUint32(0, ((Number(bits >> 56n) % 254) + 1) << 23)
    return view.getFloat32(0)
  }
  view.setBigUint64(0, bits)
  if (n % 4 === 0) view.setBigUint64(0, (BigInt(1 + (n % 2046)) << 52n) + BigInt(n % 3))
  // Whole numbers whose shortest decimal may lie exactly between two doubles.
  if (n % 4 === 1) return Number(bits >> 10n) * 2 ** (n % 40)
  return view.getFloat64(0)
}
