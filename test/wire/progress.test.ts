import assert from 'node:assert/strict'
import { test } from 'vitest'
import { type Lsn, parseLsn } from '../../src/change/lsn.js'
import { InternalError } from '../../src/errors.js'
import { Progress } from '../../src/wire/progress.js'
import { shows } from '../support/shows.js'

const START = parseLsn('1/0')

test('before anything is applied, the start is confirmed, and no news', () => {
  const progress = new Progress(START)
  assert.equal(progress.confirmed, START)
  assert.equal(progress.isNews, false)
})

test('what was received is not confirmed by itself', () => {
  const progress = new Progress(START)
  progress.received(1, 0x500)
  assert.equal(progress.confirmed, START)
})

test('what was applied is confirmed, and news until it was reported', () => {
  const progress = new Progress(START)
  progress.received(1, 0x500)
  progress.confirm(parseLsn('1/300'))
  assert.equal(progress.confirmed, parseLsn('1/300'))
  assert.ok(progress.isNews)
  progress.reported()
  assert.ok(!progress.isNews)
})

test('confirming never goes beyond what was received: the server would skip it', () => {
  shows('C41')
  const progress = new Progress(START)
  progress.received(1, 0x500)
  assert.throws(() => progress.confirm(parseLsn('1/501')), InternalError)
  progress.received(2, 0)
  progress.confirm(parseLsn('1/FFFFFFFF'))
})

test('a position that goes back, of a frame or a confirmation, changes nothing', () => {
  const progress = new Progress(START)
  progress.received(3, 0x8000_0001)
  progress.received(0, 0)
  progress.received(3, 0x7fff_ffff)
  progress.confirm(parseLsn('3/80000001'))
  progress.confirm(parseLsn('2/0'))
  assert.equal(progress.confirmed, parseLsn('3/80000001'))
})

test('positions of the log’s last half compare as unsigned', () => {
  const progress = new Progress(parseLsn('FFFFFFFE/0'))
  progress.received(0xffff_ffff, 0xffff_ffff)
  progress.confirm(0xffff_ffff_ffff_ffffn as Lsn)
  assert.equal(progress.confirmed, 0xffff_ffff_ffff_ffffn)
})
