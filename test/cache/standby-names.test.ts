import { expect, test } from 'vitest'
import { namesUs } from '../../src/cache/standby-names.js'

test.each([
  ['', false],
  ['s1', false],
  ['walcache2, s1', false],
  ['FIRST 1 (s1, s2)', false],
  ['*', true],
  ['"*"', true],
  ['ANY 1 (s1, *)', true],
  ['walcache', true],
  ['FIRST 2 (s1, "WalCache")', true],
])('synchronous_standby_names = %s names us: %s', (names, expected) => {
  expect(namesUs(names)).toBe(expected)
})
