import { expect, test } from 'vitest'
import { latin } from '../../src/sql/latin.js'

test('bytes become the characters of their numbers, whatever their count and place', () => {
  const bytes = Uint8Array.from({ length: 400 }, (_, i) => i % 256)
  for (let start = 0; start < 300; start += 7) {
    for (let length = 0; length <= 100; length++) {
      const expected = Array.from(bytes.subarray(start, start + length), byte => String.fromCharCode(byte))
      expect(latin(bytes, start, start + length)).toBe(expected.join(''))
    }
  }
})
