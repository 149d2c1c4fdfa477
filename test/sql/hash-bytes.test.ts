import { expect, test } from 'vitest'
import { hashBytes } from '../../src/sql/hash-bytes.js'
import { Random } from '../../simulation/random.js'
import { seed } from '../support/seed.js'

const hash = (bytes: Uint8Array, of: number): number => hashBytes(bytes, 0, bytes.length, of)

test('keys that others choose do not collide whatever the seed', () => {
  const random = new Random(seed)
  for (const [first, second] of [
    [0x8000_0000, 0x8001_0000],
    [0x0000_8000, 0x8000_8000],
    [0x8000_8000, 0x0001_0000],
  ] as const) {
    let same = 0
    for (let run = 0; run < 1_000; run++) {
      const key = Buffer.from(Array.from({ length: 12 }, () => random.below(256)))
      const like = Buffer.from(key)
      like.writeUInt32LE((key.readUInt32LE(0) ^ first) >>> 0, 0)
      like.writeUInt32LE((key.readUInt32LE(4) ^ second) >>> 0, 4)
      if (hash(key, run) === hash(like, run)) same++
    }
    expect(same, `SEED=${seed}`).toBeLessThan(2)
  }
})

test('the hashes of keys that are counted up, or differ in length, in zeros or in one place, are spread evenly', () => {
  const texts = Array.from({ length: 40_000 }, (_, i) => [
    `${i}`,
    `comment-number-${i}`,
    'x'.repeat(i % 300) + String.fromCharCode(33 + (i % 90)),
    `${'\0'.repeat(i % 9)}${i}`,
  ]).flat()
  const keys = [...new Set(texts)]
  const seen = new Set<number>()
  const slots = new Uint32Array(1_024)
  const segments = new Uint32Array(256)
  for (const key of keys) {
    const value = hash(Buffer.from(key), 7)
    expect(value >>> 0).toBe(value)
    seen.add(value)
    slots[value % 1_024]!++
    segments[value >>> 24]!++
  }
  // By chance alone about keys² / 2³³ of them are the same.
  expect(keys.length - seen.size).toBeLessThan(12)
  expect(Math.max(...slots) / (keys.length / 1_024)).toBeLessThan(1.6)
  expect(Math.max(...segments) / (keys.length / 256)).toBeLessThan(1.25)
})

test('only the bytes that are meant are hashed', () => {
  const bytes = Buffer.from('..some key..')
  expect(hashBytes(bytes, 2, 10, 3)).toBe(hash(Buffer.from('some key'), 3))
  expect(hashBytes(bytes, 2, 10, 4)).not.toBe(hash(Buffer.from('some key'), 3))
  expect(hash(Buffer.from('a\0'), 3)).not.toBe(hash(Buffer.from('a'), 3))
})
