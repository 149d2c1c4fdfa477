import { describe, expect, test } from 'vitest'
import { ClosedError, NotReadyError, StaleError } from '../../src/errors.js'
import { FreshnessGate } from '../../src/freshness/gate.js'
import { VirtualRuntime } from '../support/virtual-runtime.js'
import { shows } from '../support/shows.js'

describe('FreshnessGate', () => {
  test('lets a whole synchronous run pass on one look at the clock, and looks again in the next one', async () => {
    const runtime = new VirtualRuntime()
    const gate = new FreshnessGate(runtime, 100, 'throw', () => undefined)
    gate.prove(runtime.clock.monotonicMs())
    gate.pass()
    expect(gate.fresh).toBe(true)
    await Promise.resolve()
    expect(gate.fresh).toBe(false)
  })

  test('the first read after a stalled event loop knows that it may be stale', async () => {
    shows('C9')
    const runtime = new VirtualRuntime()
    const changes: boolean[] = []
    const gate = new FreshnessGate(runtime, 100, 'throw', stale => changes.push(stale))
    gate.prove(runtime.clock.monotonicMs())
    gate.pass()
    await runtime.stall(60_000)
    expect(gate.fresh).toBe(false)
    expect(() => gate.pass()).toThrow(StaleError)
    expect(changes).toEqual([true])
    gate.prove(runtime.clock.monotonicMs())
    gate.pass()
    expect(changes).toEqual([true, false])
  })

  test('is stale until something is proven, and then as old as the question that was asked', async () => {
    const runtime = new VirtualRuntime()
    const gate = new FreshnessGate(runtime, 100, 'throw', () => undefined)
    expect(gate.stalenessMs()).toBe(Number.POSITIVE_INFINITY)
    expect(() => gate.pass()).toThrow(StaleError)
    const askedMs = runtime.clock.monotonicMs()
    await runtime.advance(40)
    gate.prove(askedMs)
    expect(gate.stalenessMs()).toBe(40)
    gate.prove(askedMs - 10)
    expect(gate.stalenessMs()).toBe(40)
  })

  test('in doubt, nothing that was proven counts, in this synchronous run neither', () => {
    const runtime = new VirtualRuntime()
    const gate = new FreshnessGate(runtime, 100, 'throw', () => undefined)
    gate.prove(runtime.clock.monotonicMs())
    gate.pass()
    gate.doubt()
    expect(gate.fresh).toBe(false)
    expect(gate.stalenessMs()).toBe(Number.POSITIVE_INFINITY)
    expect(() => gate.pass()).toThrow(StaleError)
    gate.restart(runtime.clock.monotonicMs())
    gate.pass()
  })

  test('says what keeps it from reading, rather than how old nothing is', () => {
    const runtime = new VirtualRuntime()
    const gate = new FreshnessGate(runtime, 100, 'serve', () => undefined)
    gate.refuse(new NotReadyError())
    expect(() => gate.pass()).toThrow(NotReadyError)
    gate.restart(runtime.clock.monotonicMs())
    gate.pass()
    expect(gate.fresh).toBe(true)
    gate.refuse(new ClosedError())
    expect(gate.fresh).toBe(false)
    expect(() => gate.pass()).toThrow(ClosedError)
  })

  test('serves what is stale where that is the policy', () => {
    const gate = new FreshnessGate(new VirtualRuntime(), 100, 'serve', () => undefined)
    gate.pass()
    expect(gate.fresh).toBe(true)
  })

  test('tells that its bound is passed also while nobody reads, once, and leaves no timer behind', async () => {
    const runtime = new VirtualRuntime()
    const changes: [boolean, number][] = []
    const gate: FreshnessGate = new FreshnessGate(runtime, 100, 'throw', stale =>
      changes.push([stale, gate.stalenessMs()]),
    )
    gate.prove(runtime.clock.monotonicMs())
    await runtime.advance(60)
    gate.prove(runtime.clock.monotonicMs())
    await runtime.advance(100)
    expect(changes).toEqual([])
    await runtime.advance(1)
    expect(changes).toEqual([[true, 101]])
    await runtime.advance(1_000)
    expect(changes.length).toBe(1)
    gate.prove(runtime.clock.monotonicMs())
    expect(changes[1]).toEqual([false, 0])
    expect(runtime.timersPending).toBe(1)
    gate.refuse(new ClosedError())
    expect(runtime.timersPending).toBe(0)
    const endless = new FreshnessGate(runtime, Number.POSITIVE_INFINITY, 'throw', () => undefined)
    endless.prove(runtime.clock.monotonicMs())
    expect(runtime.timersPending).toBe(0)
  })
})
