import { expect, test } from 'vitest'
import { Pacer } from '../../src/query/pacer.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'

test('a loop of reads is to leave a turn once it has gone on for so long, and not with each read', async () => {
  const runtime = new VirtualRuntime()
  const pacer = new Pacer(runtime, 5)
  /** Of so many reads, how many are to wait. */
  const waits = (reads: number): number =>
    Array.from({ length: reads }, () => pacer.turn()).filter(turn => turn !== null).length
  // Nobody knows when the last one was.
  expect(waits(1_000)).toBe(1)
  await runtime.advance(4)
  expect(waits(1_000)).toBe(0)
  await runtime.advance(1)
  expect(waits(1_000)).toBe(1)
})
