import assert from 'node:assert/strict'
import { describe, expect, test } from 'vitest'
import { createRowFactory } from '../../src/mapping/values.js'
import { asIs, decodeWith, mappingOf, type Parse, parserFor, type Row, rowOf } from './rows.js'

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
