import { describe, expect, test } from 'vitest'
import { KeyError, NotLocalError } from '../../src/errors.js'
import { KeyReader } from '../../src/query/key.js'
import { KeyBuffer } from '../../src/store/record.js'
import { mappingOf } from '../support/table.js'

const buffer = new KeyBuffer()
const single = new KeyReader(mappingOf('t', ['id', 'name'], ['id']))
const composite = new KeyReader(mappingOf('t', ['a', 'b', 'name'], ['b', 'a']))

describe('KeyReader', () => {
  test('reads one value in any spelling, or an object of it, as the same key', () => {
    const keys = [7, '7', 7n, ' 7', '+7', { id: 7 }, { id: '7' }].map(key => {
      const decoded = single.read(key, buffer)
      return [decoded, buffer.bytes.toString('latin1', 0, buffer.length)]
    })
    for (const key of keys) expect(key).toEqual([7, '\x017'])
  })

  test('reads a composite key in the key’s order, whatever the object’s', () => {
    expect(composite.read({ a: 1, b: 22 }, buffer)).toBe('22\x001')
    expect(buffer.bytes.toString('latin1', 0, buffer.length)).toBe('\x0222\x011')
    expect(composite.read({ b: 22, a: 1 }, buffer)).toBe('22\x001')
  })

  test.each([
    [single, undefined],
    [single, null],
    [single, 1.5],
    [single, 'one'],
    [single, 2 ** 40],
    [single, {}],
    [single, { id: undefined }],
    [single, { id: 1, name: 'x' }],
    [composite, 1],
    [composite, { a: 1 }],
    [composite, { a: 1, b: null }],
  ])('refuses what can’t be a key (%#), without naming its value', (reader, key) => {
    expect(() => reader.read(key, buffer)).toThrow(KeyError)
  })

  test('sends a key that only PostgreSQL can compare to PostgreSQL', () => {
    const mapping = mappingOf('t', ['id'], ['id'])
    const price = { ...mapping.columns[0]!, baseTypeOid: 1700, typeOid: 1700 }
    const reader = new KeyReader({ ...mapping, columns: [price] })
    expect(() => reader.read('1.0', buffer)).toThrow(NotLocalError)
    expect(reader.parameters('1.0')).toEqual(['1.0'])
  })
})

test('an integer is spelled as its decimal text is', () => {
  for (const value of [0, -0, 7, -7, 10, 99, 100, -2_147_483_648, 2_147_483_647, 1_000_000]) {
    const decoded = single.read(value, buffer)
    const spelled = buffer.bytes.toString('latin1', 0, buffer.length)
    expect(single.read(String(value), buffer)).toBe(Number(value === 0 ? 0 : value))
    expect(decoded === value).toBe(true)
    expect(spelled).toBe(buffer.bytes.toString('latin1', 0, buffer.length))
  }
})
