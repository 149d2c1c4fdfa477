/**
 * PostgreSQL's types, with the values at which cached rows have gone wrong somewhere, and random ones.
 *
 * A value is the text of a literal. Each type of the list is in the matrix twice: by itself, and as the element of an array.
 */
import fc from 'fast-check'

export interface ListedType {
  /** As CREATE TABLE wants it. */
  readonly type: string
  /** The ends of what there is, and what decoders are known to stumble over. */
  readonly extremes: readonly string[]
  readonly random?: fc.Arbitrary<string>
  /** How many random values; RANDOM_VALUES if not given. */
  readonly randoms?: number
  /** Values that only some decoders carry, so that they stand in a column of their own. */
  readonly notFinite?: readonly string[]
  /** What kind of type it is, if not one of PostgreSQL's own. */
  readonly kind?: 'enums' | 'composites' | 'ranges of your own' | 'domains'
  /** What separates an array's elements, if not a comma. */
  readonly separator?: string
}

const RANDOM_VALUES = 16
const RANDOM_ARRAYS = 6
/** Floats arrive in binary through decoderbufs, and the shortest digits are found by an algorithm: many are tried. */
const RANDOM_FLOATS = 500

/** What the types need in the database, before the tables. */
export const TYPES_SQL = `
  create extension hstore; create extension citext; create extension ltree; create extension cube; create extension isn; create extension seg;
  create type mood as enum ('happy', 'sad', 'a "quoted", one', '☃');
  create type pair as (n int, t text);
  create type moment as (at timestamptz, day date, price numeric(10, 2), bytes bytea);
  create type floats as range (subtype = float8);
  create domain amount as numeric; create domain price as amount check (value > 0);
  create domain counted as int8; create domain flag as bool; create domain bytes as bytea; create domain instant as timestamptz;
  create domain day as date; create domain ints as int4[]; create domain feeling as mood; create domain ratio as float8`

const between = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max })
const two = (value: number): string => String(value).padStart(2, '0')
const sorted = <T extends number | bigint>(pair: readonly T[]): T[] =>
  pair.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))

const NOT_FINITE = ['NaN', 'Infinity', '-Infinity']

const int4 = between(-(2 ** 31), 2 ** 31 - 1)
const uint32 = between(0, 2 ** 32 - 1)
const int8 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })

const double = fc.oneof(
  fc.double({ noDefaultInfinity: true, noNaN: true }),
  // Whole numbers whose shortest decimal may lie exactly between two doubles, and the neighbours of powers of two.
  fc
    .tuple(fc.bigInt({ min: 0n, max: 2n ** 54n }), between(0, 40))
    .map(([digits, e]) => Number(digits) * 2 ** e),
  fc.tuple(between(-1070, 1023), between(-1, 1)).map(([e, off]) => 2 ** e * (1 + off * Number.EPSILON)),
)
const single = fc.oneof(
  fc.float({ noDefaultInfinity: true, noNaN: true }),
  fc.tuple(between(0, 2 ** 25), between(0, 30)).map(([digits, e]) => Math.fround(digits * 2 ** e)),
  fc.tuple(between(-148, 126), between(-1, 1)).map(([e, off]) => Math.fround(2 ** e * (1 + off * 2 ** -23))),
)
const digits = (max: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: max })
const numeric = fc
  .tuple(fc.constantFrom('', '-'), digits(60), fc.option(digits(60), { nil: undefined }))
  .map(([sign, whole, fraction]) => sign + whole + (fraction === undefined ? '' : `.${fraction}`))

const text = fc.string({ unit: 'binary', maxLength: 40 }).map(value => value.replaceAll('\0', '\\'))
const word = fc.string({ unit: fc.constantFrom(...'abcXYZ019_'), minLength: 1, maxLength: 12 })

/** Days as Julian day numbers, which PostgreSQL reads for any year: from 4714-11-24 BC, where it begins, to the last year of each type. */
const DATE_DAYS = 2_147_483_493
const TIMESTAMP_DAYS = 109_203_527
const days = (max: number): fc.Arbitrary<number> => fc.oneof(between(0, max), between(2_300_000, 2_500_000))
const clock = fc
  .tuple(between(0, 23), between(0, 59), between(0, 59), between(0, 999_999))
  .map(([h, m, s, micros]) => `${two(h)}:${two(m)}:${two(s)}.${String(micros).padStart(6, '0')}`)
const date = days(DATE_DAYS).map(day => `J${day}`)
const timestamp = fc.tuple(days(TIMESTAMP_DAYS), clock).map(([day, at]) => `J${day} ${at}`)
const zone = fc
  .tuple(fc.constantFrom('+', '-'), between(0, 15), between(0, 59))
  .map(([sign, h, m]) => `${sign}${two(h)}:${two(m)}`)
const interval = fc
  .tuple(between(-9_999, 9_999), between(-9_999, 9_999), between(-99_999, 99_999), clock)
  .map(([years, months, inDays, at]) => `${years} years ${months} mons ${inDays} days ${at}`)

const json = fc.json({ stringUnit: 'grapheme', maxDepth: 3 })
const ipv4 = fc.tuple(fc.ipV4(), between(0, 32)).map(([ip, bits]) => `${ip}/${bits}`)
const ipv6 = fc.tuple(fc.ipV6(), between(0, 128)).map(([ip, bits]) => `${ip}/${bits}`)
const hex = (bytes: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map(value => Buffer.from(value).toString('hex'))
const bits = (minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom('0', '1'), minLength, maxLength })

const point = fc.tuple(double, double).map(([x, y]) => `(${x},${y})`)
const points = fc.array(point, { minLength: 1, maxLength: 4 })
const range = (
  bound: fc.Arbitrary<number> | fc.Arbitrary<bigint>,
  write: (value: number | bigint) => string,
) =>
  fc.tuple(fc.constantFrom('[', '('), fc.tuple(bound, bound), between(0, 8)).map(([open, pair, form]) => {
    const [lower, upper] = sorted<number | bigint>(pair).map(write)
    if (form === 0) return `${open}${lower},)`
    return form === 1 ? `(,${upper})` : `[${lower},${upper})`
  })
const quoted = (value: string): string => `"${value.replaceAll(/["\\]/g, '\\$&')}"`
const instantOf = (micros: number | bigint): string =>
  new Date(Number(micros)).toISOString().replace(/^\+/, '')
const epochMs = between(-2_000_000_000_000, 4_000_000_000_000)

/** An ISBN-13 of nine digits: the last one is a check. */
function isbn(nine: string): string {
  const twelve = `978${nine}`
  const sum = [...twelve].reduce((total, digit, i) => total + Number(digit) * (i % 2 === 0 ? 1 : 3), 0)
  return twelve + ((10 - (sum % 10)) % 10)
}

export const SCALARS: readonly ListedType[] = [
  { type: 'bool', extremes: ['t', 'f'] },
  { type: 'int2', extremes: ['-32768', '32767', '0'], random: between(-32768, 32767).map(String) },
  { type: 'int4', extremes: ['-2147483648', '2147483647', '0'], random: int4.map(String) },
  {
    type: 'int8',
    extremes: ['9007199254740993', '-9223372036854775808', '9223372036854775807', '0', '-1'],
    random: int8.map(String),
  },
  { type: 'oid', extremes: ['4294967295', '0', '2147483648'], random: uint32.map(String) },
  {
    type: 'float4',
    extremes: [
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
    random: single.map(String),
    randoms: RANDOM_FLOATS,
    notFinite: NOT_FINITE,
  },
  {
    type: 'float8',
    extremes: [
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
      '0.30000000000000004',
    ],
    random: double.map(String),
    randoms: RANDOM_FLOATS,
    notFinite: NOT_FINITE,
  },
  {
    type: 'numeric',
    extremes: [
      '0',
      '0.10',
      '12345678901234567890.1230',
      '-0.0000000000000000000000000001',
      '1e3',
      `1${'0'.repeat(131_071)}`,
      `0.${'3'.repeat(16_383)}`,
    ],
    random: numeric,
    notFinite: NOT_FINITE,
  },
  {
    type: 'numeric(10,4)',
    extremes: ['1', '-999999.9999', '0.00005'],
    random: between(-999_999, 999_999).map(n => `${n}.5`),
    notFinite: ['NaN'],
  },
  { type: 'numeric(3,-2)', extremes: ['12345', '-99949'], notFinite: ['NaN'] },
  { type: 'money', extremes: ['-1234.56', '0', '92233720368547758.07', '-92233720368547758.08', '0.01'] },
  {
    type: 'text',
    extremes: [
      '',
      'a"b\\c\n\t\u0001\u007f',
      'ü☃😀\u2028',
      '\uFEFFx',
      'null',
      'NULL',
      '{"a": 1}',
      '\\x00',
      '\\N',
      '\\.',
      ' ',
      'é',
      'x'.repeat(100_000),
    ],
    random: text,
  },
  { type: 'varchar(20)', extremes: ['abc  ', '', '☃'.repeat(20)], random: word },
  { type: 'char(6)', extremes: ['abc', '', '☃', '  a'], random: fc.stringMatching(/^[a-z ]{0,6}$/) },
  { type: '"char"', extremes: ['a', '\\200', '\\', '"', ''], random: word.map(value => value[0]!) },
  { type: 'name', extremes: ['Name "x"', '', 'n'.repeat(63)], random: word },
  { type: 'xml', extremes: ['<a>1</a>', '<a b="c">&amp;\n</a>', '<?xml version="1.0"?><a/>', 'just text'] },
  { type: 'citext', extremes: ['MiXed', '', '"☃"'], random: text },
  {
    type: 'bytea',
    extremes: ['\\x00ff5c22', '\\x', `\\x${'00ff'.repeat(5_000)}`],
    random: fc.uint8Array({ maxLength: 60 }).map(value => `\\x${Buffer.from(value).toString('hex')}`),
  },
  {
    type: 'date',
    extremes: [
      '2024-02-29',
      '0044-03-15 BC',
      '0001-01-01',
      '0001-12-31 BC',
      '4714-11-24 BC',
      '5874897-12-31',
      'infinity',
      '-infinity',
      '1969-12-31',
      '1970-01-01',
      '275760-09-13',
      '275760-09-14',
    ],
    random: date,
  },
  {
    type: 'time',
    extremes: ['12:34:56.123456', '24:00:00', '00:00:00', '01:02:03.1', '23:59:59.999999'],
    random: clock,
  },
  { type: 'time(2)', extremes: ['12:34:56.126', '23:59:59.999'], random: clock },
  {
    type: 'timetz',
    extremes: ['12:34:56.123456+05:30', '12:34:56-15:59:59', '24:00:00+00', '00:00:00+15:59:59'],
    random: fc.tuple(clock, zone).map(([at, offset]) => at + offset),
  },
  {
    type: 'timestamp',
    extremes: [
      '2024-02-03 04:05:06.789',
      '0044-03-15 23:59:59.999999 BC',
      '294276-12-31 23:59:59.999999',
      '294247-01-10 04:00:54.775805',
      '4714-11-24 00:00:00 BC',
      'infinity',
      '-infinity',
      '1969-12-31 23:59:59.999999',
      '2024-03-10 02:30:00',
    ],
    random: timestamp,
  },
  {
    type: 'timestamptz',
    extremes: [
      '2024-02-03 04:05:06.789+00',
      '0044-03-15 00:00:00+00 BC',
      'infinity',
      '-infinity',
      '294276-12-31 23:59:59.999999+00',
      '4714-11-24 00:00:00+00 BC',
      '1883-11-18 12:00:00 America/New_York',
      '2024-11-03 05:30:00+00',
      '2024-11-03 06:30:00+00',
      '2400-07-01 00:00:00+00',
    ],
    random: timestamp.map(value => `${value}+00`),
  },
  { type: 'timestamptz(0)', extremes: ['2024-02-03 04:05:06.789+00', '1969-12-31 23:59:59.6+00'] },
  {
    type: 'interval',
    extremes: [
      '1 year 2 mons -3 days 04:05:06.789012',
      '0',
      '-178000000 years',
      '178000000 years',
      '-1 mons +1 day -00:00:00.000001',
      '-0.5 s',
      '999999:59:59.999999',
      '1 mon',
    ],
    random: interval,
  },
  { type: 'interval day to second(3)', extremes: ['1 day 00:00:01.23456', '-1 day'] },
  {
    type: 'uuid',
    extremes: ['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '00000000-0000-0000-0000-000000000000'],
    random: fc.uuid(),
  },
  {
    type: 'json',
    extremes: [
      '{"a":  1e400, "a": "\\u0000"}',
      'null',
      '[]',
      '"text"',
      '9007199254740993',
      '-0',
      ' { "__proto__" : {"x": 1.10} } ',
      '"\\ud83d\\ude00 \\/ \\u00e9"',
    ],
    random: json,
  },
  {
    type: 'jsonb',
    extremes: [
      '{"b": [1, 2.50], "a": null}',
      'null',
      '{}',
      '"a\\"b\\\\"',
      '1e400',
      '12345678901234567890.10',
      '{"__proto__": {"x": 1}, "constructor": 1}',
      `[${'1, '.repeat(3_000)}2]`,
    ],
    random: json.filter(value => !/\\u0000|\\u[dD][89a-fA-F]/.test(value)),
  },
  { type: 'jsonpath', extremes: ['$', '$.a[*] ? (@.b > 1.5 && @.c like_regex "^x")', 'strict $."a b".**'] },
  {
    type: 'inet',
    extremes: ['10.0.0.1/8', '::1', '0.0.0.0/0', '255.255.255.255', '::ffff:1.2.3.4/96'],
    random: fc.oneof(ipv4, ipv6),
  },
  {
    type: 'cidr',
    extremes: ['10.0.0.0/8', '::/0', '192.168.1.1/32', '2001:db8::/32'],
    random: between(0, 255).map(a => `${a}.0.0.0/8`),
  },
  { type: 'macaddr', extremes: ['08:00:2b:01:02:03', 'ff:ff:ff:ff:ff:ff'], random: hex(6) },
  { type: 'macaddr8', extremes: ['08:00:2b:01:02:03:04:05', '08:00:2b:01:02:03'], random: hex(8) },
  { type: 'bit(8)', extremes: ['10100000', '11111111'], random: bits(8, 8) },
  { type: 'varbit', extremes: ['', '1', '01'.repeat(300)], random: bits(0, 70) },
  { type: 'point', extremes: ['(1.5,-2)', '(NaN,Infinity)', '(-0,1e300)', '(0.1,-1e-300)'], random: point },
  {
    type: 'line',
    extremes: ['{1,2,3}', '{-1.5,0,1e300}', '[(0,0),(1,2)]'],
    random: double.map(c => `{1.5,-2,${c}}`),
  },
  {
    type: 'lseg',
    extremes: ['[(0,0),(1,-1.5)]', '[(NaN,0),(-0,Infinity)]'],
    random: fc.tuple(point, point).map(([a, b]) => `[${a},${b}]`),
  },
  {
    type: 'box',
    extremes: ['(3,4),(1,2)', '(-1,-1),(-1,-1)'],
    random: fc.tuple(point, point).map(([a, b]) => `${a},${b}`),
    separator: ';',
  },
  {
    type: 'path',
    extremes: ['((0,0),(1,1),(2,0))', '[(0,0),(1,1)]', '[(0.1,-0)]'],
    random: points.map(list => `[${list.join(',')}]`),
  },
  {
    type: 'polygon',
    extremes: ['((0,0),(1,1),(2,0))', '((1e-7,1e7))'],
    random: points.map(list => `(${list.join(',')})`),
  },
  {
    type: 'circle',
    extremes: ['<(1,2),3.5>', '<(-0,0),0>', '<(NaN,1e300),Infinity>'],
    random: fc.tuple(point, double).map(([at, r]) => `<${at},${Math.abs(r)}>`),
  },
  {
    type: 'tsvector',
    extremes: ["'a':1 'b'", '', "'it''s':1A,2B 'back\\\\slash' ' spaces '"],
    random: fc.array(word).map(words => words.join(' ')),
  },
  {
    type: 'tsquery',
    extremes: ["'a' & !'b' | 'c':*A", '', "'it''s' <-> 'so'"],
    random: fc.array(word, { minLength: 1 }).map(words => words.join(' & ')),
  },
  {
    type: 'int4range',
    extremes: ['[1,5)', 'empty', '(,)', '[-2147483648,2147483647)', '(,5]'],
    random: range(int4, String),
  },
  {
    type: 'int8range',
    extremes: ['[1,5)', 'empty', '[9007199254740993,9223372036854775807)'],
    random: range(int8, String),
  },
  {
    type: 'numrange',
    extremes: ['[1.0,1.00]', '(0.10,)', '[1,NaN)', 'empty'],
    random: range(int8, value => `${value}.50`),
  },
  {
    type: 'daterange',
    extremes: ['[2024-01-01,2024-12-31]', '(,infinity)', '[-infinity,"0044-03-15 BC"]', 'empty'],
    random: range(days(DATE_DAYS - 1), day => `J${day}`),
  },
  {
    type: 'tsrange',
    extremes: ['["2024-01-01 00:00:00","2024-01-02 00:00:00.000001")', '[,infinity]', 'empty'],
    random: range(days(TIMESTAMP_DAYS), day => `J${day}`),
  },
  {
    type: 'tstzrange',
    extremes: ['["2024-01-01 00:00:00+00",)', '(-infinity,"1883-01-01 00:00:00+00"]', 'empty'],
    random: range(epochMs, value => `"${instantOf(value)}"`),
  },
  {
    type: 'floats',
    kind: 'ranges of your own',
    extremes: ['[0.1,0.3)', '[1e-45,1e300]', '(,NaN]'],
    random: range(between(-1e9, 1e9), value => String(Number(value) / 7)),
  },
  {
    type: 'int4multirange',
    extremes: ['{[1,3),[5,7)}', '{}', '{(,)}'],
    random: range(int4, String).map(value => `{${value}}`),
  },
  { type: 'int8multirange', extremes: ['{[1,3),[9007199254740993,9223372036854775807)}', '{}'] },
  { type: 'tsmultirange', extremes: ['{["2024-01-01 00:00:00.000001","2024-07-01 00:00:00"]}'] },
  {
    type: 'nummultirange',
    extremes: ['{[1.10,1.2],(3,)}', '{}'],
    random: range(int8, String).map(value => `{${value}}`),
  },
  { type: 'datemultirange', extremes: ['{[2024-01-01,2024-02-01),["0044-03-15 BC",0001-01-01)}'] },
  {
    type: 'tstzmultirange',
    extremes: ['{["2024-01-01 00:00:00+00","2024-07-01 00:00:00+00"]}', '{}'],
    random: range(epochMs, value => `"${instantOf(value)}"`).map(value => `{${value}}`),
  },
  {
    type: 'pg_lsn',
    extremes: ['16/B374D848', '0/0', 'FFFFFFFF/FFFFFFFF'],
    random: fc.tuple(uint32, uint32).map(([a, b]) => `${a.toString(16)}/${b.toString(16)}`),
  },
  { type: 'xid', extremes: ['0', '4294967295'], random: uint32.map(String) },
  {
    type: 'xid8',
    extremes: ['0', '18446744073709551615'],
    random: int8.map(value => String(BigInt.asUintN(64, value))),
  },
  { type: 'cid', extremes: ['0', '4294967295'] },
  { type: 'tid', extremes: ['(0,0)', '(4294967295,65535)'] },
  { type: 'regclass', extremes: ['pg_class', '"T 0"', '4294967295', '-'] },
  { type: 'regtype', extremes: ['int4', 'timestamptz', 'pair', '4294967295'] },
  { type: 'regproc', extremes: ['now', '4294967295'] },
  { type: 'regrole', extremes: ['postgres', '-'] },
  { type: 'aclitem', extremes: ['postgres=arwdDxt/postgres', '=r/postgres'] },
  { type: 'pg_snapshot', extremes: ['10:20:10,14,15', '1:1:'] },
  { type: 'refcursor', extremes: ['', 'a cursor'] },
  { type: 'int2vector', extremes: ['1 2 3', '', '-32768'] },
  { type: 'oidvector', extremes: ['1 4294967295', ''] },
  { type: 'mood', kind: 'enums', extremes: ['happy', 'a "quoted", one', '☃'] },
  {
    type: 'pair',
    kind: 'composites',
    extremes: ['(1,"a,""b""")', '(,)', '(,"")', '(-1,"\\\\ ☃")'],
    random: fc.tuple(int4, text).map(([n, t]) => `(${n},${quoted(t)})`),
  },
  {
    type: 'moment',
    kind: 'composites',
    extremes: ['("2024-07-01 00:00:00+00",2024-01-01,1.10,"\\\\x00ff")', '(infinity,"0044-03-15 BC",NaN,)'],
    random: fc.tuple(epochMs, numeric).map(([ms]) => `("${instantOf(ms)}",,,)`),
  },
  { type: 'amount', kind: 'domains', extremes: ['1.50', 'NaN', 'Infinity', '0.10'], random: numeric },
  { type: 'price', kind: 'domains', extremes: ['1.50', '12345678901234567890.10'] },
  { type: 'counted', kind: 'domains', extremes: ['9223372036854775807', '-1'], random: int8.map(String) },
  { type: 'flag', kind: 'domains', extremes: ['t', 'f'] },
  {
    type: 'bytes',
    kind: 'domains',
    extremes: ['\\x00ff', '\\x'],
    random: hex(30).map(value => `\\x${value}`),
  },
  {
    type: 'instant',
    kind: 'domains',
    extremes: ['2024-02-03 04:05:06.789+00', 'infinity', '0044-03-15 00:00:00+00 BC'],
    random: timestamp.map(value => `${value}+00`),
  },
  { type: 'day', kind: 'domains', extremes: ['2024-02-29', 'infinity', '0044-03-15 BC'], random: date },
  { type: 'ratio', kind: 'domains', extremes: ['0.1', '-0', 'NaN', '-Infinity'], random: double.map(String) },
  { type: 'ints', kind: 'domains', extremes: ['{1,NULL,-3}', '{}', '[2:3]={1,2}'] },
  { type: 'feeling', kind: 'domains', extremes: ['sad', 'a "quoted", one'] },
  {
    type: 'hstore',
    extremes: ['', '"a"=>"1", "b"=>NULL', '"quo\\"te"=>"back\\\\slash", "☃"=>""'],
    random: fc
      .array(fc.tuple(text, text), { maxLength: 3 })
      .map(list => list.map(([key, value]) => `${quoted(key)}=>${quoted(value)}`).join(', ')),
  },
  {
    type: 'ltree',
    extremes: ['', 'Top.Science.Astronomy', 'a'.repeat(255)],
    random: fc.array(word, { minLength: 1, maxLength: 5 }).map(words => words.join('.')),
  },
  {
    type: 'cube',
    extremes: ['(1,2),(3,4)', '(0.1)', '()', '(-0,1e300)'],
    random: fc.array(double, { minLength: 1, maxLength: 4 }).map(list => `(${list.join(',')})`),
  },
  { type: 'seg', extremes: ['1.5', '1 .. 2', '1(+-)0.5', '~1', '5 ..'] },
  {
    type: 'isbn',
    extremes: ['978-0-11-000533-1', '0-11-000533-3'],
    random: fc.stringMatching(/^[0-9]{9}$/).map(isbn),
  },
  { type: 'isbn13', extremes: ['978-0-11-000533-1'], random: fc.stringMatching(/^[0-9]{9}$/).map(isbn) },
  { type: 'ean13', extremes: ['978-0-11-000533-1', '220-5-00896-101-0'] },
  { type: 'issn', extremes: ['1436-4522'] },
  { type: 'upc', extremes: ['220500896105'] },
]

/** The system's own types that are not listed: they have no input, or read as a listed one does. */
export const NOT_LISTED: ReadonlySet<string> = new Set(
  `gtsvector pg_brin_bloom_summary pg_brin_minmax_multi_summary pg_dependencies pg_mcv_list pg_ndistinct pg_node_tree
   regcollation regconfig regdictionary regnamespace regoper regoperator regprocedure txid_snapshot`.split(
    /\s+/,
  ),
)

/** One type of the matrix: a column. */
export interface MatrixColumn {
  /** The type's, so names have every character that has to be quoted. */
  readonly name: string
  readonly type: string
  /** Whether values of it are not finite, which some decoders lose. */
  readonly isFinite: boolean
  /** NULL is the first. */
  readonly values: readonly (string | null)[]
}

/** Some types, of about as many values: a value has a row, and shares it with one of each other column. */
export interface MatrixTable {
  readonly name: string
  readonly columns: readonly MatrixColumn[]
}

const COLUMNS_MAX = 12

/** The whole matrix; the same seed gives the same random values. */
export function matrixTables(seed: number): MatrixTable[] {
  const columns = SCALARS.flatMap(scalar => [
    { type: scalar.type, isFinite: true, values: valuesOf(scalar, seed) },
    ...(scalar.notFinite === undefined
      ? []
      : [{ type: scalar.type, isFinite: false, values: scalar.notFinite }]),
    { type: `${scalar.type}[]`, isFinite: true, values: arraysOf(scalar, seed) },
  ])
    .map(({ type, isFinite, values }) => ({
      name: isFinite ? type : `${type} not finite`,
      type,
      isFinite,
      values: [null, ...values],
    }))
    .toSorted((a, b) => a.values.length - b.values.length)
  return Array.from({ length: Math.ceil(columns.length / COLUMNS_MAX) }, (_table, i) => ({
    name: `T ${i}`,
    columns: columns.slice(i * COLUMNS_MAX, (i + 1) * COLUMNS_MAX),
  }))
}

function valuesOf({ extremes, random, randoms = RANDOM_VALUES }: ListedType, seed: number): string[] {
  return [...extremes, ...(random === undefined ? [] : fc.sample(random, { seed, numRuns: randoms }))]
}

/** Arrays of a type: of all its values, none, in two dimensions, from another lower bound, and random ones. */
function arraysOf({ extremes, random, notFinite = [], separator = ',' }: ListedType, seed: number): string[] {
  // A huge element is tried by itself.
  const elements = [...extremes, ...notFinite].filter(value => value.length < 1_000).map(quoted)
  const literal = (list: readonly string[]): string => `{${list.join(separator)}}`
  const [first, last] = [elements[0]!, elements.at(-1)!]
  const values = [
    '{}',
    literal([...elements, 'NULL']),
    literal([literal([first, last]), literal(['NULL', first])]),
    `[2:3]=${literal([last, first])}`,
  ]
  if (random === undefined) return values
  const list = fc.array(fc.oneof(random.map(quoted), fc.constant('NULL')), { maxLength: 5 }).map(literal)
  return [...values, ...fc.sample(list, { seed, numRuns: RANDOM_ARRAYS })]
}
