import { describe, expect, test } from 'vitest'
import { LSN_ZERO, type Lsn } from '../../src/change/lsn.js'
import { ClosedError, WaitTimeoutError } from '../../src/errors.js'
import { PositionWaiters } from '../../src/freshness/waiters.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

function open() {
  const runtime = new VirtualRuntime()
  let position = LSN_ZERO
  const waiters = new PositionWaiters(runtime.timers, () => position)
  const moveTo = (lsn: bigint): void => {
    position = lsn as Lsn
    waiters.moved()
  }
  return { runtime, waiters, moveTo }
}

describe('PositionWaiters', () => {
  test('lets go those whose position has been reached, and no others', async () => {
    const { waiters, moveTo, runtime } = open()
    const reached: number[] = []
    const all = [10, 20, 30].map(lsn => waiters.wait(BigInt(lsn) as Lsn, 1000).then(() => reached.push(lsn)))
    moveTo(20n)
    await Promise.all(all.slice(0, 2))
    expect(reached).toEqual([10, 20])
    expect(waiters.size).toBe(1)
    moveTo(30n)
    await Promise.all(all)
    expect(runtime.timersPending).toBe(0)
    await waiters.wait(30n as Lsn, 1000)
  })

  test('ends a wait after its time, by its signal, or when nothing moves any more, and leaves no timer', async () => {
    const { waiters, runtime } = open()
    const late = waiters.wait(10n as Lsn, 50).catch((error: unknown) => error)
    await runtime.advance(50)
    expect(await late).toBeInstanceOf(WaitTimeoutError)
    const stop = new AbortController()
    const aborted = waiters.wait(10n as Lsn, 1000, stop.signal)
    stop.abort(new Error('enough'))
    await expect(aborted).rejects.toThrow('enough')
    await expect(waiters.wait(10n as Lsn, 1000, stop.signal)).rejects.toThrow('enough')
    const left = waiters.wait(10n as Lsn, 1000)
    waiters.failAll(new ClosedError())
    await expect(left).rejects.toThrow(ClosedError)
    expect(waiters.size).toBe(0)
    expect(runtime.timersPending).toBe(0)
  })
})
