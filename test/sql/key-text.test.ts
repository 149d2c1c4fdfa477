import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { databaseParameter, type KeyColumnType, keyTextOf } from '../../src/sql/key-text.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

const column = (baseTypeOid: number, more: Partial<KeyColumnType> = {}): KeyColumnType => ({
  baseTypeOid,
  typeModifier: -1,
  typeKind: 'b',
  deterministic: true,
  ...more,
})

/** numeric(p, s)'s modifier. */
const numericModifier = (precision: number, scale: number): number =>
  ((precision << 16) | (scale & 0x7ff)) + 4

const int2 = column(21)
const int4 = column(23)
const int8 = column(20)
const oid = column(26)
const bool = column(16)
const text = column(25)
const name = column(19)
const char5 = column(1042, { typeModifier: 9 })
const uuid = column(2950)
const numeric102 = column(1700, { typeModifier: numericModifier(10, 2) })
const bytea = column(17)
const date = column(1082)
const label = column(70_000, { typeKind: 'e' })

describe('a key has one text', () => {
  test.each<[string, KeyColumnType, unknown, string]>([
    ['a number', int4, 42, '42'],
    ['a negative zero', int4, -0, '0'],
    ['a bigint', int8, 9223372036854775807n, '9223372036854775807'],
    ['digits', int4, '42', '42'],
    ['digits with zeros, a sign and spaces', int4, ' \t+0042\n', '42'],
    ['a negative text', int4, '-007', '-7'],
    ['a text that is zero', int4, '-0', '0'],
    ['the smallest int2', int2, -32768, '-32768'],
    ['the largest oid', oid, 4294967295, '4294967295'],
    ['true', bool, true, 't'],
    ["bool's own text", bool, 'f', 'f'],
    ['a text', text, ' A\u{1f418}é', ' A\u{1f418}é'],
    ['an empty text', text, '', ''],
    ['a name', name, 'pg_class', 'pg_class'],
    ['an enum label', label, 'sad', 'sad'],
    ['a char(n) without its padding', char5, 'ab', 'ab   '],
    ['a char(n) with some of it', char5, 'ab  ', 'ab   '],
    ['a char(n) of two-unit characters', char5, '\u{1f418}', '\u{1f418}    '],
    ['a char(n) that is too long', char5, 'abcdef', 'abcdef'],
    ['a uuid', uuid, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    [
      'a uuid in upper case',
      uuid,
      'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    ],
    [
      'a uuid in braces',
      uuid,
      '{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}',
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    ],
    [
      'a uuid without hyphens',
      uuid,
      'a0eebc999c0b4ef8bb6d6bb9bd380a11',
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    ],
    ['a numeric with too few digits', numeric102, '1', '1.00'],
    ['a numeric with too many zeros', numeric102, '+001.5000', '1.50'],
    ['a numeric from a number', numeric102, 0.1, '0.10'],
    ['a numeric that is a negative zero', numeric102, '-.0', '0.00'],
    ['a numeric without a fraction', column(1700, { typeModifier: numericModifier(5, 0) }), '7.', '7'],
    ['bytes', bytea, new Uint8Array([0, 255]), '\\x00ff'],
    ['bytes that are part of a larger buffer', bytea, Buffer.from('abcd').subarray(1, 3), '\\x6263'],
    ["bytea's own text", bytea, '\\x00ff', '\\x00ff'],
    ['a leap day', date, '2024-02-29', '2024-02-29'],
    ['an IPv4 address', column(869), '10.0.0.1', '10.0.0.1'],
    ['a MAC address', column(829), '08:00:2b:01:02:03', '08:00:2b:01:02:03'],
  ])('%s', (_, type, value, expected) => {
    expect(keyTextOf(type)(value)).toBe(expected)
  })
})

describe('a value that the type can not have is told apart', () => {
  test.each<[string, KeyColumnType, unknown]>([
    ['nothing', int4, undefined],
    ['null', text, null],
    ['a text for an integer', int4, 'one'],
    ['an empty text for an integer', int4, ''],
    ['a fraction', int4, 1.5],
    ['a fraction as text', int4, '1.0'],
    ['a space that PostgreSQL does not skip', int4, '\u00a042'],
    ['NaN', int4, Number.NaN],
    ['infinity', int8, Number.POSITIVE_INFINITY],
    ['an int4 out of range', int4, 2147483648],
    ['an int4 text out of range', int4, '-2147483649'],
    ['an int2 text out of range', int2, '99999'],
    ['an int8 out of range', int8, 2n ** 63n],
    ['a number that is not exact', int8, 2 ** 53],
    ['a boolean for an integer', int4, true],
    ['a Date for an integer', int4, new Date(0)],
    ['a negative oid', oid, -1],
    ['a number for a boolean', bool, 1],
    ['a number for a text', text, 1],
    ['a text with a NUL', text, 'a\0'],
    ['half a surrogate pair', text, 'a\ud83d'],
    ['a number for a uuid', uuid, 1],
    ['a text that is no uuid', uuid, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1'],
    ['a uuid with one brace', uuid, '{a0eebc999c0b4ef8bb6d6bb9bd380a11'],
    ['a boolean for a numeric', numeric102, true],
    ['a number for bytes', bytea, 1],
    ['a day that is none', date, '2023-02-29'],
    ['a month that is none', date, '2023-13-01'],
  ])('%s', (_, type, value) => {
    expect(keyTextOf(type)(value)).toMatchObject({ kind: 'impossible' })
  })
})

describe('what only PostgreSQL can compare is left to it', () => {
  test.each<[string, KeyColumnType, unknown]>([
    ['a text under a nondeterministic collation', column(25, { deterministic: false }), 'a'],
    ['float8', column(701), 1],
    ['jsonb', column(3802), '{}'],
    ['an array', column(1007), '{1}'],
    ['a type of an extension', column(70_001), 'a'],
    ['numeric without a scale', column(1700), '1'],
    ['numeric rounded to tens', column(1700, { typeModifier: numericModifier(5, -1) }), '10'],
    ['a numeric of more digits than the scale', numeric102, '1.005'],
    ['a numeric with an exponent', numeric102, '1e2'],
    ['a numeric NaN', numeric102, 'NaN'],
    ['a number with an exponent', numeric102, 1e21],
    ['a hexadecimal integer', int4, '0x1F'],
    ['an integer with underscores', int4, '1_000'],
    ['an oid with a leading zero', oid, '010'],
    ['a negative oid text', oid, '-1'],
    ['another spelling of true', bool, 'yes'],
    ['a name beyond 63 bytes', name, 'é'.repeat(32)],
    ['char without a length', column(1042), 'a'],
    ['bytea in escape format', bytea, 'abc'],
    ['bytea in upper case', bytea, '\\xFF'],
    ['a Date for a date', date, new Date(0)],
    ['a date before Christ', date, '0044-03-15 BC'],
    ['a timestamp', column(1114), '2024-01-01 00:00:00'],
    ['a timestamptz', column(1184), new Date(0)],
    ['an address with a mask', column(869), '10.0.0.0/8'],
    ['an address with zeros', column(869), '10.0.0.01'],
    ['an address of three parts', column(869), '10.0.1'],
    ['an IPv6 address', column(869), '::1'],
    ['a MAC address with hyphens', column(829), '08-00-2b-01-02-03'],
  ])('%s', (_, type, value) => {
    expect(keyTextOf(type)(value)).toMatchObject({ kind: 'unprovable' })
  })
})

test('a reason never repeats the value', () => {
  for (const type of [int4, bool, text, uuid, numeric102, bytea, date]) {
    const outcome = keyTextOf(type)('secret\0')
    if (typeof outcome !== 'string') expect(outcome.reason).not.toContain('secret')
  }
})

test('a Date goes to PostgreSQL as pg sends it', async () => {
  const db = await testDatabase()
  for (const value of [
    new Date(0),
    new Date(2024, 1, 29, 23, 59, 58, 7),
    new Date(-1e14),
    new Date(8e14),
    new Date(-62135596800001),
  ]) {
    const [row] = await db.query<{ same: boolean }>(
      `select $1::timestamptz = $2::timestamptz and $1::timestamp = $3::timestamp and $1::date = $4::date as same`,
      [databaseParameter(value), value, value, value],
    )
    expect(row).toEqual({ same: true })
  }
  expect(() => databaseParameter(new Date(Number.NaN))).toThrow(TypeError)
})

test('what is no key value can not be sent', () => {
  for (const value of [undefined, null, {}, [], () => 1, Symbol('x')])
    expect(() => databaseParameter(value)).toThrow(TypeError)
})

describe.each([14, 18] as const)('Postgres %i agrees with every text that is given', major => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await testDatabase({ major })
    await db.query(`create type mood as enum ('sad', 'ok', 'happy')`)
  })

  const spaces = fc.constantFrom('', ' ', '\t', ' \n')
  const spelled = (integer: fc.Arbitrary<bigint>): fc.Arbitrary<unknown> =>
    fc.oneof(
      integer,
      integer.map(Number),
      fc
        .tuple(spaces, fc.constantFrom('', '+', '-'), fc.constantFrom('', '0', '00'), integer, spaces)
        .map(([a, sign, zeros, value, b]) => `${a}${sign}${zeros}${value < 0n ? -value : value}${b}`),
      fc.stringMatching(/^[\s+\-0-9xXoObB_a-f.]{0,8}$/),
    )
  const anyText = fc.oneof(fc.string({ unit: 'binary' }), fc.string(), fc.stringMatching(/^[ a-c]{0,7}$/))
  const hex = fc.stringMatching(/^\{?([0-9a-fA-F]{4}-?){8}\}?$/)
  const decimals = fc.oneof(
    fc.stringMatching(/^\s?[+-]?[0-9]{0,6}\.?[0-9]{0,4}(e[0-9])?$/),
    fc.double({ min: -1e6, max: 1e6 }),
    fc.maxSafeInteger(),
  )

  // The output function's text, which for some types differs from a cast's. How `where column = $1` reads the parameter: as the column's type, without its modifier but for numeric's scale.
  test.each<[string, KeyColumnType, fc.Arbitrary<unknown>]>([
    ['int2', int2, spelled(fc.bigInt(-40_000n, 40_000n))],
    ['int4', int4, spelled(fc.bigInt(-3_000_000_000n, 3_000_000_000n))],
    ['int8', int8, spelled(fc.bigInt(-(2n ** 64n), 2n ** 64n))],
    ['oid', oid, spelled(fc.bigInt(-10n, 5_000_000_000n))],
    [
      'bool',
      bool,
      fc.oneof(fc.boolean(), fc.constantFrom('t', 'true', 'f', 'false', 'TRUE', 'on', '1', 'x')),
    ],
    ['text', text, anyText],
    ['varchar', column(1043), anyText],
    ['name', name, anyText],
    ['mood', label, fc.constantFrom('sad', 'ok', 'happy')],
    ['char(5)', char5, anyText.filter(value => [...value.replace(/ +$/, '')].length <= 5)],
    ['uuid', uuid, hex],
    ['numeric(20,3)', column(1700, { typeModifier: numericModifier(20, 3) }), decimals],
    ['numeric(20,0)', column(1700, { typeModifier: numericModifier(20, 0) }), decimals],
    ['bytea', bytea, fc.oneof(fc.uint8Array(), fc.stringMatching(/^\\x([0-9a-fA-F]{2}){0,4}$/))],
    [
      'date',
      date,
      fc.oneof(
        fc.stringMatching(/^[0-9]{4}-[01][0-9]-[0-3][0-9]$/),
        fc
          .date({ noInvalidDate: true, min: new Date('0001-01-01'), max: new Date('9999-12-31') })
          .map(day => day.toISOString().slice(0, 10)),
      ),
    ],
    ['inet', column(869), fc.oneof(fc.ipV4(), fc.ipV6())],
    ['macaddr', column(829), fc.stringMatching(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/)],
  ])('%s', async (sqlType, type, values) => {
    const keyText = keyTextOf(type)
    const cases = fc
      .sample(values, 400)
      .map(value => ({ value, text: keyText(value) }))
      .filter((each): each is { value: unknown; text: string } => typeof each.text === 'string')
    expect(cases.length).toBeGreaterThan(20)
    const shown = await db.query<{ shown: string }>(
      `select format('%s', t.parameter::${sqlType}) as shown from unnest($1::text[]) with ordinality t(parameter, place) order by place`,
      [cases.map(({ value }) => databaseParameter(value))],
    )
    expect(shown.map(row => row.shown)).toEqual(cases.map(each => each.text))
  })
})
