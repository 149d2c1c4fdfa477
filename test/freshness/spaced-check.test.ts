import { expect, test } from 'vitest'
import { SpacedCheck } from '../../src/freshness/spaced-check.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

function spacedCheck() {
  const runtime = new VirtualRuntime()
  const started: number[] = []
  const errors: unknown[] = []
  const running: { resolve: () => void; reject: (error: Error) => void }[] = []
  const check = new SpacedCheck({
    runtime,
    everyMs: 100,
    check: () =>
      new Promise<void>((resolve, reject) => {
        started.push(runtime.clock.monotonicMs())
        running.push({ resolve, reject })
      }),
    onError: error => errors.push(error),
  })
  return { runtime, started, errors, running, check, signal: new AbortController() }
}

/** Lets time pass after what has settled has been heard of. */
async function pass(runtime: VirtualRuntime, delayMs: number): Promise<void> {
  await new Promise(resolve => setImmediate(resolve))
  await runtime.advance(delayMs)
}

test('the first check is made at once, the next one not before its time, however many want it', async () => {
  const { runtime, started, running, check, signal } = spacedCheck()
  const zero = runtime.clock.monotonicMs()
  for (let times = 0; times < 5; times++) check.want(signal.signal)
  expect(started).toEqual([zero])
  await runtime.advance(30)
  running[0]!.resolve()
  await pass(runtime, 69)
  expect(started).toEqual([zero])
  await pass(runtime, 1)
  expect(started).toEqual([zero, zero + 100])
  running[1]!.resolve()
  await pass(runtime, 1000)
  expect(started).toHaveLength(2)
})

test('who wants it while one is under way gets another one after it', async () => {
  const { runtime, started, running, check, signal } = spacedCheck()
  check.want(signal.signal)
  await runtime.advance(500)
  check.want(signal.signal)
  expect(started).toHaveLength(1)
  running[0]!.resolve()
  await pass(runtime, 0)
  expect(started).toHaveLength(2)
  running[1]!.resolve()
  await pass(runtime, 1000)
  expect(started).toHaveLength(2)
})

test('a check that fails is told, and the next one is made all the same', async () => {
  const { runtime, started, running, errors, check, signal } = spacedCheck()
  check.want(signal.signal)
  running[0]!.reject(new Error('no server'))
  await pass(runtime, 200)
  expect(errors).toEqual([new Error('no server')])
  check.want(signal.signal)
  expect(started).toHaveLength(2)
})

test('none is made after the end', async () => {
  const { runtime, started, running, check, signal } = spacedCheck()
  check.want(signal.signal)
  check.want(signal.signal)
  signal.abort()
  running[0]!.resolve()
  await pass(runtime, 1000)
  check.want(signal.signal)
  await pass(runtime, 1000)
  expect(started).toHaveLength(1)
})
