import assert from 'node:assert/strict'
import fc from 'fast-check'
import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { NULL, TEXT, TupleView } from '../../src/change/change.js'
import type { MappedColumn, TableMapping } from '../../src/mapping/mapping.js'
import { createRowFactory, type RowFactory } from '../../src/mapping/values.js'
import { queryConnection } from '../support/query-connection.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'

type Row = Record<string, unknown>
type Parse = (text: string) => unknown

const asIs: Parse = text => text
const parserFor = (oid: number): Parse => pg.types.getTypeParser(oid, 'text')

/** A mapping of which only what rows are made from is real. */
function mappingOf(
  columns: readonly (readonly [property: string, parse: Parse])[],
  more: Partial<Pick<TableMapping, 'prototype' | 'construct'>> = {},
): TableMapping {
  const mapped = columns.map(
    ([property, parse], i): MappedColumn => ({
      property,
      column: property,
      attnum: i + 1,
      typeOid: 25,
      baseTypeOid: 25,
      typeModifier: -1,
      typeName: 'text',
      typeKind: 'b',
      notNull: false,
      deterministic: true,
      parse,
    }),
  )
  return {
    name: 'public.things',
    oid: 20_000,
    schema: 'public',
    table: 'things',
    replicaIdentity: 'default',
    declaration: {},
    prototype: null,
    construct: null,
    columns: mapped,
    key: [0],
    indexes: [],
    keep: 'all',
    estimatedRows: -1,
    blocks: 0,
    ...more,
  }
}

/** The texts as the store hands them over: one run of bytes, here in reverse order and amid other bytes. */
function viewOf(texts: readonly (string | null)[]): { view: TupleView; ascii: boolean } {
  const view = new TupleView()
  view.count = texts.length
  const parts: Buffer[] = [Buffer.from('é before')]
  let at = parts[0]!.length
  for (let i = texts.length - 1; i >= 0; i--) {
    const text = texts[i]
    view.kinds[i] = text == null ? NULL : TEXT
    const bytes = Buffer.from(text ?? '')
    view.starts[i] = at
    at += bytes.length
    view.ends[i] = at
    parts.push(bytes)
  }
  view.bytes = Buffer.concat([...parts, Buffer.from('é behind')])
  return { view, ascii: texts.every(text => text === null || /^[\0-\x7f]*$/.test(text)) }
}

function decodeWith(factory: RowFactory, texts: readonly (string | null)[]): object {
  const { view, ascii } = viewOf(texts)
  return factory.decode(view, ascii)
}

function rowOf(mapping: TableMapping, texts: readonly (string | null)[]): Row {
  const factory = createRowFactory(mapping)
  return factory.read(decodeWith(factory, texts)) as Row
}

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

describe('a row of a class', () => {
  test('has its prototype and own data properties, and none of its code has run', () => {
    const ran: string[] = []
    class Base {
      set name(_: string) {
        ran.push('setter')
      }
      get fixed(): string {
        return 'inherited'
      }
    }
    class User extends Base {
      id = ran.push('field')
      constructor() {
        super()
        ran.push('constructor')
      }
      get label(): string {
        return `${Reflect.get(this, 'name')} (${this.id})`
      }
      override toString(): string {
        return 'method'
      }
    }
    const columns = ['id', 'name', 'fixed', 'toString', 'constructor'].map(name => [name, asIs] as const)
    const row = rowOf(mappingOf(columns, { prototype: User.prototype }), [
      '7',
      'Ada',
      'own',
      'shadowed',
      'too',
    ])
    expect(ran).toEqual([])
    expect(Object.getPrototypeOf(row)).toBe(User.prototype)
    expect(row).toBeInstanceOf(User)
    expect(Object.getOwnPropertyDescriptors(row)).toEqual(
      Object.fromEntries(
        Object.entries({ id: '7', name: 'Ada', fixed: 'own', toString: 'shadowed', constructor: 'too' }).map(
          ([name, value]) => [name, { value, writable: false, enumerable: true, configurable: false }],
        ),
      ),
    )
    expect(Object.keys(row)).toEqual(['id', 'name', 'fixed', 'toString', 'constructor'])
    expect((row as unknown as User).label).toBe('Ada (7)')
  })

  test('that makes its own rows gets a plain one each time, and what it returns is handed out', () => {
    class Secret {
      readonly #id: number
      constructor(id: number) {
        this.#id = id
      }
      get id(): number {
        return this.#id
      }
    }
    const given: Row[] = []
    const construct = (row: Readonly<Row>): Secret => {
      given.push(row)
      return new Secret(Number(row['id']))
    }
    const factory = createRowFactory(mappingOf([['id', Number]], { prototype: Secret.prototype, construct }))
    expect(factory.shared).toBe(false)
    const decoded = decodeWith(factory, ['7'])
    const [first, second] = [factory.read(decoded) as Secret, factory.read(decoded) as Secret]
    expect([first.id, second.id]).toEqual([7, 7])
    expect(first).not.toBe(second)
    expect(given).toEqual([{ id: 7 }, { id: 7 }])
    expect(given.every(row => Object.isFrozen(row) && Object.getPrototypeOf(row) === Object.prototype)).toBe(
      true,
    )
  })
})

describe('nothing that a reader does changes what another one sees', () => {
  test('a row of values that can not change is shared', () => {
    const factory = createRowFactory(
      mappingOf([
        ['id', Number],
        ['big', BigInt],
        ['name', asIs],
        ['gone', asIs],
      ]),
    )
    const decoded = decodeWith(factory, ['1', '9007199254740993', 'Ada', null])
    expect(factory.read(decoded)).toBe(decoded)
    expect(factory.shared).toBe(true)
    expect(decoded).toEqual({ id: 1, big: 9007199254740993n, name: 'Ada', gone: null })
  })

  test('plain json is frozen to its depths and shared', () => {
    const factory = createRowFactory(mappingOf([['doc', JSON.parse as Parse]]))
    const decoded = decodeWith(factory, ['{"a": [{"b": [1, {"c": null}]}], "d": {}, "e": []}'])
    const row = factory.read(decoded) as { doc: { a: [{ b: [number, object] }]; d: object; e: unknown[] } }
    expect(factory.shared).toBe(true)
    expect(factory.read(decoded)).toBe(row)
    for (const part of [
      row,
      row.doc,
      row.doc.a,
      row.doc.a[0],
      row.doc.a[0].b,
      row.doc.a[0].b[1],
      row.doc.d,
      row.doc.e,
    ]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  test('json may be nested deeper than the stack', () => {
    const depth = 200_000
    const row = rowOf(mappingOf([['doc', JSON.parse as Parse]]), ['['.repeat(depth) + ']'.repeat(depth)])
    let at = row['doc'] as unknown[]
    let frozen = Object.isFrozen(at)
    while (at.length > 0) {
      at = at[0] as unknown[]
      frozen &&= Object.isFrozen(at)
    }
    expect(frozen).toBe(true)
  })

  test('a Date is a new one for each reader', () => {
    const factory = createRowFactory(
      mappingOf([
        ['id', Number],
        ['at', parserFor(1184)],
      ]),
    )
    const decoded = decodeWith(factory, ['1', '2024-02-03 04:05:06.789+00'])
    expect(factory.shared).toBe(false)
    const first = factory.read(decoded) as { at: Date }
    first.at.setTime(0)
    expect(factory.read(decoded)).toEqual({ id: 1, at: new Date('2024-02-03T04:05:06.789Z') })
  })

  test('a Buffer is a new one for each reader, in memory of its own', () => {
    const factory = createRowFactory(mappingOf([['raw', parserFor(17)]]))
    const decoded = decodeWith(factory, ['\\x010203'])
    const first = factory.read(decoded) as { raw: Buffer }
    expect(first.raw.buffer.byteLength, 'no view into a shared slab').toBe(3)
    first.raw.fill(0)
    new Uint8Array(first.raw.buffer).fill(0)
    const second = factory.read(decoded) as { raw: Buffer }
    expect(second).toStrictEqual({ raw: Buffer.from([1, 2, 3]) })
    assert.deepStrictEqual(second.raw, Buffer.from([1, 2, 3]))
    expect(Buffer.isBuffer(second.raw)).toBe(true)
    expect(Object.getPrototypeOf(second.raw)).toBe(Buffer.prototype)
  })

  test("a custom parser's object is parsed anew for each reader, from the same text", () => {
    class Tags extends Set<string> {}
    const texts: string[] = []
    const parse: Parse = text => {
      texts.push(text)
      return new Tags(text.split(','))
    }
    const factory = createRowFactory(
      mappingOf([
        ['id', Number],
        ['tags', parse],
      ]),
    )
    const decoded = decodeWith(factory, ['1', 'a,é'])
    const first = factory.read(decoded) as { tags: Tags }
    first.tags.clear()
    expect((factory.read(decoded) as { tags: Tags }).tags).toEqual(new Tags(['a', 'é']))
    expect(new Set(texts)).toEqual(new Set(['a,é']))
  })

  test.each<[string, Parse]>([
    ['an array of Dates', () => [new Date(0)]],
    ['a Date in a document', () => ({ a: { b: new Date(0) } })],
    ['a Date with a property of its own', () => Object.assign(new Date(0), { zone: 'UTC' })],
    ['a Map', () => new Map()],
    ['a function', () => () => 1],
    ['an interval', parserFor(1186)],
    ['a Uint8Array', () => new Uint8Array(3)],
    ['an array of a class of its own', () => new (class extends Array<number> {})()],
    ['an object with a function', () => ({ a: () => 1 })],
  ])('%s is never shared', (_, parse) => {
    const factory = createRowFactory(mappingOf([['value', parse]]))
    const decoded = decodeWith(factory, ['1 day'])
    expect(factory.shared).toBe(false)
    const values = [factory.read(decoded), factory.read(decoded)].map(
      row => (row as { value: unknown }).value,
    )
    expect(values[0]).not.toBe(values[1])
  })

  test('an object that the parser shares, or that contains itself, is frozen once', () => {
    const cyclic: Row = { list: [] as unknown[] }
    ;(cyclic['list'] as unknown[]).push(cyclic)
    const factory = createRowFactory(
      mappingOf([
        ['a', () => cyclic],
        ['b', () => cyclic],
      ]),
    )
    const decoded = decodeWith(factory, ['', ''])
    expect(factory.read(decoded)).toBe(decoded)
    expect(factory.shared).toBe(true)
    expect(Object.isFrozen(cyclic) && Object.isFrozen(cyclic['list'])).toBe(true)
  })

  test('a shallowly frozen object is looked into', () => {
    const factory = createRowFactory(mappingOf([['a', () => Object.freeze({ at: new Date(0) })]]))
    decodeWith(factory, [''])
    expect(factory.shared).toBe(false)
  })

  test('rows that are kept do not get into each other', () => {
    const factory = createRowFactory(
      mappingOf([
        ['id', Number],
        ['at', parserFor(1184)],
      ]),
    )
    const kept = ['1', '2'].map(id => decodeWith(factory, [id, `2024-01-0${id} 00:00:00+00`]))
    expect(kept.map(decoded => factory.read(decoded))).toEqual([
      { id: 1, at: new Date('2024-01-01') },
      { id: 2, at: new Date('2024-01-02') },
    ])
  })

  test('a Date with a property of its own keeps it', () => {
    const parse: Parse = text => Object.assign(new Date(text), { zone: 'UTC' })
    expect(rowOf(mappingOf([['at', parse]]), ['2024-01-01'])['at']).toHaveProperty('zone', 'UTC')
  })

  test('rows without such a value are shared even after one with it', () => {
    const factory = createRowFactory(
      mappingOf([
        ['id', Number],
        ['at', parserFor(1184)],
      ]),
    )
    const withDate = decodeWith(factory, ['1', '2024-01-01 00:00:00+00'])
    const without = decodeWith(factory, ['2', null])
    expect(factory.read(without)).toBe(without)
    expect(factory.read(withDate)).not.toBe(factory.read(withDate))
  })
})

test('each text is parsed once', () => {
  let parsed = 0
  const count: Parse = text => {
    parsed++
    return text
  }
  const factory = createRowFactory(
    mappingOf([
      ['a', count],
      ['b', count],
    ]),
  )
  const decoded = decodeWith(factory, ['x', 'é'])
  factory.read(decoded)
  factory.read(decoded)
  expect(parsed).toBe(2)
})

test("what the caller's parser throws reaches the reader", () => {
  const failing: Parse = () => {
    throw new RangeError('mine')
  }
  expect(() => rowOf(mappingOf([['a', failing]]), ['x'])).toThrow(new RangeError('mine'))
})

test('a row of many columns, and one of none', () => {
  const names = Array.from({ length: 1600 }, (_, i) => `c${i}`)
  const row = rowOf(
    mappingOf(names.map(name => [name, Number])),
    names.map((_, i) => String(i)),
  )
  expect(Object.entries(row)).toEqual(names.map((name, i) => [name, i]))
  expect(rowOf(mappingOf([]), [])).toEqual({})
})

test('a row with a column "then" survives await', async () => {
  const row = rowOf(mappingOf([['then', asIs]]), ['x'])
  expect(await Promise.resolve(row)).toBe(row)
})
