import { expect, test } from 'vitest'
import { OverloadedError } from '../../src/errors.js'
import { DatabaseGate } from '../../src/query/gate.js'

test('so many run, so many wait in line, and the next one is refused; an abort leaves the line', async () => {
  const gate = new DatabaseGate(2, 2)
  const finish: (() => void)[] = []
  const started: number[] = []
  const read = (n: number, signal?: AbortSignal): Promise<number> =>
    gate.pass(async () => {
      started.push(n)
      await new Promise<void>(resolve => finish.push(resolve))
      return n
    }, signal)
  const stop = new AbortController()
  const reads = [read(1), read(2), read(3, stop.signal), read(4)]
  await expect(read(5)).rejects.toThrow(OverloadedError)
  expect([gate.running, gate.waiting]).toEqual([2, 2])
  stop.abort(new Error('gone'))
  await expect(reads[2]).rejects.toThrow('gone')
  finish[0]!()
  expect(await reads[0]).toBe(1)
  await expect.poll(() => started).toEqual([1, 2, 4])
  finish[1]!()
  finish[2]!()
  expect(await Promise.all([reads[1], reads[3]])).toEqual([2, 4])
  expect([gate.running, gate.waiting]).toEqual([0, 0])
})
