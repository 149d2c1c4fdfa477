import assert from 'node:assert/strict'
import fc from 'fast-check'
import { test } from 'vitest'
import { FrameQueue } from '../../src/wire/frames.js'
import { shows } from '../support/shows.js'

class RecordingFlow {
  readonly calls: string[] = []
  pause(): void {
    this.calls.push('pause')
  }
  resume(): void {
    this.calls.push('resume')
  }
}

const text = (queue: FrameQueue): string =>
  queue.isKeepalive
    ? `keepalive ${queue.lsnHigh}/${queue.lsnLow}`
    : `${queue.lsnHigh}/${queue.lsnLow} ${Buffer.from(queue.bytes.subarray(queue.start, queue.end)).toString()}`

test('change frames and keepalives come out in the order in which they went in', () => {
  shows('I26')
  const queue = new FrameQueue(new RecordingFlow())
  const chunk = Buffer.from('--one-two')
  queue.pushData(0, 0xffff_ffff, chunk, 2, 5)
  queue.pushKeepalive(0xffff_ffff, 7)
  queue.pushData(1, 2, chunk, 6, 9)
  const out: string[] = []
  while (queue.shift()) out.push(text(queue))
  assert.deepEqual(out, ['0/4294967295 one', 'keepalive 4294967295/7', '1/2 two'])
  assert.equal(queue.shift(), false)
})

test('a chunk is held once, however many frames lie in it, and freed with its last frame', () => {
  const queue = new FrameQueue(new RecordingFlow())
  const chunk = Buffer.alloc(1000)
  for (let frame = 0; frame < 10; frame++) queue.pushData(0, frame, chunk, frame, frame + 1)
  assert.equal(queue.heldBytes, 1000 + 10 * 16)
  for (let frame = 0; frame < 9; frame++) queue.shift()
  assert.equal(queue.heldBytes, 1000 + 16)
  queue.shift()
  assert.equal(queue.heldBytes, 0)
})

test('the flow pauses above the high mark and resumes below the low one, once each', () => {
  const flow = new RecordingFlow()
  const queue = new FrameQueue(flow, 1000, 300)
  for (let frame = 0; frame < 5; frame++) queue.pushData(0, frame, Buffer.alloc(240), 0, 240)
  assert.deepEqual(flow.calls, ['pause'])
  assert.ok(queue.isPaused)
  queue.shift()
  queue.shift()
  queue.shift()
  assert.deepEqual(flow.calls, ['pause'])
  queue.shift()
  assert.deepEqual(flow.calls, ['pause', 'resume'])
  assert.ok(!queue.isPaused)
})

test('a frame larger than the high mark passes through', () => {
  const flow = new RecordingFlow()
  const queue = new FrameQueue(flow, 1000, 300)
  queue.pushData(0, 1, Buffer.alloc(5000), 0, 5000)
  assert.ok(queue.shift())
  assert.equal(queue.end, 5000)
  assert.deepEqual(flow.calls, ['pause', 'resume'])
})

test('a cleared queue holds nothing, and can be used again', () => {
  const queue = new FrameQueue(new RecordingFlow())
  queue.pushData(0, 1, Buffer.from('old'), 0, 3)
  queue.clear()
  assert.equal(queue.heldBytes, 0)
  assert.equal(queue.shift(), false)
  queue.pushData(0, 2, Buffer.from('new'), 0, 3)
  queue.shift()
  assert.equal(text(queue), '0/2 new')
})

test('whatever is pushed and shifted in whatever order, the queue is an array', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('data' as const),
      sameChunk: fc.boolean(),
      count: fc.integer({ min: 1, max: 3000 }),
    }),
    fc.record({ kind: fc.constant('keepalive' as const) }),
    fc.record({ kind: fc.constant('shift' as const), count: fc.integer({ min: 1, max: 3000 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), steps => {
      const queue = new FrameQueue(new RecordingFlow())
      const expected: string[] = []
      let chunk = Buffer.from('chunk')
      let lsn = 0
      for (const next of steps) {
        if (next.kind === 'keepalive') {
          queue.pushKeepalive(1, ++lsn)
          expected.push(`keepalive 1/${lsn}`)
        } else if (next.kind === 'data') {
          for (let frame = 0; frame < next.count; frame++) {
            if (!next.sameChunk) chunk = Buffer.from('chunk')
            queue.pushData(1, ++lsn, chunk, 1, 3)
            expected.push(`1/${lsn} hu`)
          }
        } else {
          for (let frame = 0; frame < next.count; frame++) {
            const wanted = expected.shift()
            assert.equal(queue.shift(), wanted !== undefined)
            if (wanted !== undefined) assert.equal(text(queue), wanted)
          }
        }
      }
      assert.equal(queue.length, expected.length)
      while (queue.shift()) assert.equal(text(queue), expected.shift())
      assert.equal(queue.heldBytes, 0)
    }),
    { numRuns: 50 },
  )
})
