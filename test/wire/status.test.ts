import assert from 'node:assert/strict'
import { test } from 'vitest'
import { LSN_MAX, parseLsn } from '../../src/change/lsn.js'
import { standbyStatus } from '../../src/wire/status.js'

test('a status has one position three times, microseconds since 2000, and whether a reply is asked for', () => {
  const status = standbyStatus(parseLsn('16/B374D848'), Date.UTC(2000, 0, 1) + 1_500, true)
  assert.equal(Buffer.from(status).toString('hex'), `72${'00000016b374d848'.repeat(3)}000000000016e36001`)
})

test('a clock before 2000 gives a negative time, and the largest position fits', () => {
  const status = Buffer.from(standbyStatus(LSN_MAX, Date.UTC(2000, 0, 1) - 1, false))
  assert.equal(status.length, 34)
  assert.equal(status.readBigUInt64BE(1), 2n ** 64n - 1n)
  assert.equal(status.readBigInt64BE(25), -1000n)
  assert.equal(status[33], 0)
})
