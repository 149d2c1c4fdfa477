import { expect, test } from 'vitest'
import { hashOf } from '../../src/sql/encode.js'
import { isNoValueType, type ValueType, valueTypeOf } from '../../src/sql/value-type.js'
import { mappingOf } from '../support/table.js'

const [TEXT] = mappingOf('t', ['text'], []).columns

/** The type of a column with this OID. */
function typeOf(baseTypeOid: number, foldsAscii = false): ValueType {
  const type = valueTypeOf({ ...TEXT!, baseTypeOid, foldsAscii })
  if (isNoValueType(type)) throw new Error(`${baseTypeOid} is not compared here.`)
  return type
}

const CITEXT = typeOf(25, true)
const VALUES: readonly (readonly [ValueType, readonly string[]])[] = [
  [CITEXT, ['', 'a', 'A']],
  [typeOf(25), ['', 'a', 'naïve']],
  [typeOf(1042), ['', ' ', 'a ']],
  [typeOf(17), ['\\x', '\\x00']],
  [typeOf(1700), ['0', '0.00', 'NaN', '-1.5']],
  [typeOf(701), ['0', '-0', 'NaN', 'Infinity']],
  [typeOf(1184), ['2024-01-01 00:00:00+00', 'infinity']],
  [typeOf(23), ['0', '-1']],
]
const SEEDS = [0, 1, -1, -123_456_789, 2 ** 31, 2 ** 32 - 1]

const hash = (type: ValueType, text: string, seed: number): number => {
  const bytes = Buffer.from(text)
  return hashOf(type, bytes, 0, bytes.length, seed)
}

test('a hash is an unsigned 32-bit integer, whatever the seed, also of a text that has no bytes', () => {
  for (const [type, texts] of VALUES)
    for (const text of texts)
      for (const seed of SEEDS) {
        const value = hash(type, text, seed)
        expect(value, `${type.name} '${text}', seed ${seed}`).toBe(value >>> 0)
      }
})

test('texts of equal values have one hash', () => {
  for (const seed of SEEDS) {
    expect(hash(CITEXT, 'Walcache', seed)).toBe(hash(CITEXT, 'wALCACHE', seed))
    expect(hash(typeOf(1042), 'a', seed)).toBe(hash(typeOf(1042), 'a  ', seed))
    expect(hash(typeOf(1700), '1.50', seed)).toBe(hash(typeOf(1700), '1.5', seed))
    expect(hash(typeOf(701), '-0', seed)).toBe(hash(typeOf(701), '0', seed))
  }
})
