import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { formatLsn, LSN_ZERO, lsnFromHalves } from '../../src/change/lsn.js'
import type { ConnectionError } from '../../src/errors.js'
import { Standby } from '../../src/source/standby.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'
import { shows } from '../support/shows.js'

class Scene {
  readonly runtime = new VirtualRuntime()
  readonly sent: string[] = []
  readonly deaths: ConnectionError[] = []
  isBehind = false
  isPaused = false
  isServerBusy: (signal: AbortSignal) => Promise<boolean> = () => Promise.resolve(false)
  readonly standby: Standby

  constructor(walSenderTimeoutMs = 60_000) {
    this.standby = new Standby({
      connection: { sendStatus: status => void this.sent.push(readable(Buffer.from(status))) },
      runtime: this.runtime,
      start: LSN_ZERO,
      walSenderTimeoutMs,
      isBehind: () => this.isBehind,
      isPaused: () => this.isPaused,
      isServerBusy: signal => this.isServerBusy(signal),
      onDead: error => this.deaths.push(error),
    })
    this.standby.run()
  }

  apply(low: number): void {
    this.standby.received(0, low)
    this.standby.confirm(lsnFromHalves(0, low))
  }

  /** What was sent since the last look. */
  look(): string[] {
    return this.sent.splice(0)
  }
}

const readable = (status: Buffer): string =>
  formatLsn(lsnFromHalves(status.readUInt32BE(1), status.readUInt32BE(5))) + (status[33] === 1 ? '?' : '')

describe('positions', () => {
  test('are reported at once when all that arrived is applied', () => {
    const scene = new Scene()
    scene.apply(0x10)
    scene.apply(0x20)
    assert.deepEqual(scene.look(), ['0/10', '0/20'])
  })

  test('that did not move are not reported again', () => {
    const scene = new Scene()
    scene.apply(0x10)
    scene.apply(0x10)
    assert.deepEqual(scene.look(), ['0/10'])
  })

  test('are reported together, and seldom, while more waits to be applied', async () => {
    const scene = new Scene()
    scene.isBehind = true
    for (let low = 1; low <= 0x30; low++) scene.apply(low)
    assert.deepEqual(scene.look(), [])
    await scene.runtime.advance(100)
    assert.deepEqual(scene.look(), ['0/30'])
    await scene.runtime.advance(1_000)
    assert.deepEqual(scene.look(), [])
  })
})

test('a keepalive that asks is answered with what was applied, not with what was received', () => {
  const scene = new Scene()
  scene.apply(0x10)
  scene.look()
  scene.standby.received(0, 0x99)
  scene.standby.asked()
  assert.deepEqual(scene.look(), ['0/10'])
})

describe('signs of life', () => {
  test.each([
    [60_000, 4_000],
    [6_000, 2_000],
    [0, 4_000],
    [1, 50],
  ])('with wal_sender_timeout = %i ms are sent every %i ms', async (timeoutMs, everyMs) => {
    if (timeoutMs === 0) shows('C6')
    const scene = new Scene(timeoutMs)
    for (let round = 0; round < 3; round++) {
      scene.standby.received(0, 0)
      await scene.runtime.advance(everyMs - 1)
      assert.deepEqual(scene.look(), [])
      await scene.runtime.advance(1)
      assert.deepEqual(scene.look(), ['0/0'])
    }
  })

  test('end with the standby, and leave no timer', async () => {
    const scene = new Scene()
    scene.isBehind = true
    scene.apply(1)
    await scene.standby.stop()
    assert.equal(scene.runtime.timersPending, 0)
    await scene.runtime.advance(100_000)
    assert.deepEqual(scene.look(), [])
  })
})

describe('a silent server', () => {
  test('is asked, and is dead if it does not answer within five seconds', async () => {
    const scene = new Scene()
    await scene.runtime.advance(4_000)
    assert.deepEqual(scene.look(), ['0/0'])
    await scene.runtime.advance(4_000)
    assert.deepEqual(scene.look(), ['0/0?'])
    await scene.runtime.advance(4_999)
    assert.equal(scene.deaths.length, 0)
    await scene.runtime.advance(1)
    assert.equal(scene.deaths.length, 1)
    assert.equal(scene.deaths[0]!.failure, 'silent')
    assert.ok(scene.deaths[0]!.transient)
  })

  test('is alive if it answers', async () => {
    const scene = new Scene()
    await scene.runtime.advance(12_000)
    scene.standby.received(0, 0)
    await scene.runtime.advance(1_000)
    assert.equal(scene.deaths.length, 0)
    assert.equal(scene.runtime.timersPending, 1)
  })

  test('is not judged while we don’t read, nor after a stall of our own', async () => {
    shows('C9')
    const paused = new Scene()
    paused.isPaused = true
    await paused.runtime.advance(100_000)
    assert.deepEqual(paused.deaths, [])
    const stalled = new Scene()
    await stalled.runtime.advance(8_000)
    await stalled.runtime.stall(60_000)
    assert.deepEqual(stalled.deaths, [])
  })

  test('is left in peace while it decodes a huge transaction', async () => {
    shows('C7')
    const scene = new Scene()
    let busy = true
    scene.isServerBusy = () => Promise.resolve(busy)
    await scene.runtime.advance(100_000)
    assert.equal(scene.deaths.length, 0)
    busy = false
    await scene.runtime.advance(13_000)
    assert.equal(scene.deaths.length, 1)
  })

  test('is dead if nobody there can be asked', async () => {
    const scene = new Scene()
    scene.isServerBusy = () => Promise.reject(new Error('unreachable'))
    await scene.runtime.advance(13_000)
    assert.equal(scene.deaths.length, 1)
  })

  test('is asked nothing any more once the stream has stopped', async () => {
    const scene = new Scene()
    let isAsked = false
    scene.isServerBusy = signal =>
      new Promise((_, reject) => {
        isAsked = true
        signal.addEventListener('abort', () => {
          isAsked = false
          reject(signal.reason as Error)
        })
      })
    await scene.runtime.advance(13_500)
    assert.equal(isAsked, true)
    await scene.standby.stop()
    assert.equal(isAsked, false)
    assert.equal(scene.runtime.timersPending, 0)
    assert.deepEqual(scene.deaths, [])
  })

  test('is dead within 15 s of its last frame, also if the question what it does is never answered', async () => {
    shows('C5')
    for (const lastMs of [0, 1, 3_999, 4_000, 4_001, 7_777]) {
      const scene = new Scene()
      scene.isServerBusy = () => new Promise(() => undefined)
      await scene.runtime.advance(lastMs)
      scene.standby.received(0, 0)
      await scene.runtime.advance(15_000)
      assert.equal(scene.deaths.length, 1, `last frame at ${lastMs} ms`)
      assert.equal(scene.runtime.timersPending, 0)
    }
  })
})
