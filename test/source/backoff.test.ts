import assert from 'node:assert/strict'
import { test } from 'vitest'
import { backoffMs } from '../../src/source/backoff.js'

const backoff = { firstMs: 100, longestMs: 5_000 }

test('each attempt waits twice as long, up to the longest', () => {
  const longest = (attempt: number) => backoffMs(backoff, attempt, () => 1)
  assert.deepEqual([1, 2, 3, 6, 7, 1_000_000].map(longest), [100, 200, 400, 3_200, 5_000, 5_000])
})

test('chance takes at most half of it', () => {
  assert.equal(
    backoffMs(backoff, 3, () => 0),
    200,
  )
  assert.equal(
    backoffMs(backoff, 3, () => 0.5),
    300,
  )
})
