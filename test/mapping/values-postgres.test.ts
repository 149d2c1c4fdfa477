import assert from 'node:assert/strict'
import fc from 'fast-check'
import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { createRowFactory } from '../../src/mapping/values.js'
import { queryConnection } from '../support/query-connection.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { asIs, decodeWith, mappingOf, parserFor, type Row } from './rows.js'

describe('a row is what pg SELECTs', () => {
  let db: TestDatabase
  let client: pg.Client

  beforeAll(async () => {
    db = await testDatabase()
    await db.query(`
      create type mood as enum ('sad', 'ok');
      create type pair as (a int, b text);
      create domain amount as numeric(10,2);
      create extension hstore; create extension citext;
    `)
    client = await db.connect({ options: '-c timezone=UTC' })
  })

  async function expectSame(select: string): Promise<void> {
    const { rows, fields } = await client.query<Row>(select)
    const connection = await queryConnection(db.url)
    const texts = await connection.query(select)
    await connection.close()
    const factory = createRowFactory(
      mappingOf(fields.map(field => [field.name, parserFor(field.dataTypeID)])),
    )
    rows.forEach((row, i) => {
      const decoded = decodeWith(
        factory,
        fields.map(field => texts[i]![field.name] ?? null),
      )
      for (const ours of [factory.read(decoded), factory.read(decoded)]) {
        // Not with expect, which stumbles over columns called "constructor".
        assert.deepStrictEqual(comparable(ours), comparable(row))
        expect(Object.keys(ours)).toEqual(Object.keys(row))
        expect(Object.getPrototypeOf(ours)).toBe(Object.prototype)
        expect(Object.isFrozen(ours)).toBe(true)
      }
    })
  }

  /** An invalid Date is not equal to itself. */
  const comparable = (row: object): object =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [
        name,
        value instanceof Date && Number.isNaN(value.getTime()) ? 'Invalid Date' : (value as unknown),
      ]),
    )

  test.each<[string, readonly string[]]>([
    ['bool', ['t', 'f']],
    ['int2', ['-32768']],
    ['int4', ['2147483647', '0']],
    ['int8', ['9223372036854775807']],
    ['oid', ['4294967295']],
    ['float4', ['1.1', '-0', 'NaN', '-Infinity', '1e-45']],
    ['float8', ['0.30000000000000004', '-0', 'NaN', 'Infinity', '1e308']],
    ['numeric', ['0.10', 'NaN', 'Infinity', '12345678901234567890.12345']],
    ['amount', ['1.5']],
    ['money', ['-1234.56']],
    ['text', ['', 'a', '\ufeffbom', '🐘é', "it''s"]],
    ['varchar(9)', ['abc']],
    ['char(5)', ['ab']],
    ['"char"', ['a']],
    ['name', ['n']],
    ['citext', ['Ab']],
    ['xml', ['<a/>']],
    ['bytea', ['\\x', '\\x00ff']],
    ['date', ['2024-02-29', 'infinity', '0044-03-15 BC', '5874897-12-31']],
    ['time', ['24:00:00', '12:34:56.123456']],
    ['timetz', ['12:34:56.123456+05:30']],
    [
      'timestamp',
      ['2024-02-03 04:05:06.789123', 'infinity', '0044-03-15 00:00:00 BC', '294276-12-31 23:59:59.999999'],
    ],
    ['timestamptz', ['2024-02-03 04:05:06.789123+05:30', '-infinity']],
    ['interval', ['1 year 2 mons -3 days 04:05:06.789', '0']],
    ['uuid', ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']],
    ['json', ['{"a": [1, 2.50, null], "__proto__": {"x": 1}, "a": 2}', 'null', '1e400', '"\\u0000"']],
    ['jsonb', ['{"n": 12345678901234567890, "__proto__": 1}', '[]', '{}', 'null', '"text"']],
    ['inet', ['10.0.0.1', '::1/128']],
    ['cidr', ['10.0.0.0/8']],
    ['macaddr', ['08:00:2b:01:02:03']],
    ['bit(3)', ['101']],
    ['varbit', ['']],
    ['point', ['(1.5,-2)']],
    ['circle', ['<(1,2),3.5>']],
    ['box', ['(1,2),(3,4)']],
    ['polygon', ['((0,0),(1,1))']],
    ['tsvector', ['a b']],
    ['int4range', ['[1,5)']],
    ['tstzrange', ['[2024-01-01,)']],
    ['int4multirange', ['{[1,2),[3,4)}']],
    ['pg_lsn', ['0/16B3748']],
    ['mood', ['sad']],
    ['pair', ['(1,"a,b")']],
    ['hstore', ['a=>1']],
    ['int4[]', ['{1,NULL,3}', '{{1,2},{3,4}}', '[2:4]={7,8,9}', '{}']],
    ['int8[]', ['{9223372036854775807}']],
    ['numeric[]', ['{0.10,12345678901234567890.12345}']],
    ['text[]', ['{a,"b,c","d\\"e",NULL}']],
    ['bytea[]', ['{"\\\\x00ff"}']],
    ['timestamptz[]', ['{"2024-01-01 00:00:00+00",NULL}']],
    ['interval[]', ['{1 day}']],
    ['jsonb[]', ['{"{\\"a\\": 1}"}']],
    ['point[]', ['{"(1,2)"}']],
    ['mood[]', ['{sad,ok}']],
  ])('%s', async (type, values) => {
    const columns = [...values.map((value, i) => `'${value}'::${type} as c${i}`), `null::${type} as nothing`]
    await expectSame(`select ${columns.join(', ')}`)
  })

  test('whatever its columns are called', async () => {
    const names = [
      '__proto__',
      'constructor',
      'toString',
      'hasOwnProperty',
      'then',
      'valueOf',
      '2',
      '1',
      'a.b',
      "it's",
      'prototype',
    ]
    await expectSame(`select ${names.map((name, i) => `${i} as "${name}"`).join(', ')}`)
    await expectSame(`select ${names.map(name => `'2024-01-01'::timestamptz as "${name}"`).join(', ')}`)
  })

  test('whatever its texts are', async () => {
    const texts = fc.sample(
      fc.string({ unit: 'binary' }).map(text => text.replaceAll('\0', '')),
      300,
    )
    const connection = await queryConnection(db.url)
    const sent = await connection.query(
      'select t as text from unnest($1::text[]) with ordinality u(t, n) order by n',
      [arrayLiteral(texts)],
    )
    await connection.close()
    const { rows } = await client.query<Row>(
      'select t as text from unnest($1::text[]) with ordinality u(t, n) order by n',
      [texts],
    )
    const factory = createRowFactory(mappingOf([['text', asIs]]))
    expect(sent.map(row => factory.read(decodeWith(factory, [row['text']!])))).toEqual(rows)
    expect(factory.shared).toBe(true)
  })

  const arrayLiteral = (texts: readonly string[]): string =>
    `{${texts.map(text => `"${text.replaceAll(/["\\]/g, '\\$&')}"`).join(',')}}`
})
