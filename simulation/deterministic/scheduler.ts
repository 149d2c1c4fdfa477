import { pause, type Clock, type Timers } from '../../src/runtime.js'
import type { Random } from '../random.js'
import type { Trace } from './trace.js'

interface Event {
  readonly atMs: number
  /** Among events of the same moment, chance decides; then the order in which they were made. */
  readonly chance: number
  readonly number: number
  /** Null once it is cancelled. */
  run: (() => void) | null
}

/** Far more than any history needs: a run that goes on beyond it would never end. */
const EVENTS_MAX = 200_000_000

/**
 * The one clock and the one queue of a simulation. Time moves only from event to event; between two events everything that the first one began
 * goes on as far as it can. Nothing else may happen: no socket, no timer of the machine's.
 */
export class Scheduler {
  readonly #random: Random
  readonly #trace: Trace
  readonly #heap: Event[] = []
  #nowMs = 0
  #number = 0
  /** What a look at the clock costs: so work takes time, and long work is cut into slices. */
  #lookMs = 0
  /** The machine's clock, as people set it; nothing may go by it. */
  #wallMs = Date.UTC(2026, 0, 1)
  #events = 0

  constructor(random: Random, trace: Trace) {
    this.#random = random
    this.#trace = trace
  }

  readonly clock: Clock = {
    monotonicMs: () => {
      this.#nowMs += this.#lookMs
      return this.#nowMs
    },
    wallMs: () => this.#wallMs + this.#nowMs,
  }

  readonly timers: Timers = {
    after: (delayMs, callback) => this.after(delayMs, callback),
    yield: () =>
      new Promise(resolve => {
        this.after(0, resolve)
      }),
    microtask: queueMicrotask,
  }

  get nowMs(): number {
    return this.#nowMs
  }

  get events(): number {
    return this.#events
  }

  /** Looks at the clock cost so much from now on. */
  set lookMs(costMs: number) {
    this.#lookMs = costMs
  }

  /** Somebody sets the machine's clock. */
  jumpWall(byMs: number): void {
    this.#wallMs += byMs
  }

  /** The event loop stands still: time passes, and nothing is done. */
  stall(forMs: number): void {
    this.#nowMs += forMs
  }

  /** Calls `run` in `delayMs`; returns what cancels it. */
  after(delayMs: number, run: () => void): () => void {
    const delay = Number.isFinite(delayMs) ? Math.max(0, delayMs) : 2 ** 31
    const event: Event = {
      atMs: this.#nowMs + delay,
      chance: this.#random.uint32(),
      number: this.#number++,
      run,
    }
    push(this.#heap, event)
    return () => {
      event.run = null
    }
  }

  /** Goes on for so long in virtual time. */
  pause(delayMs: number): Promise<void> {
    return pause(this.timers, delayMs, new AbortController().signal)
  }

  /** Runs events until `isOver`, or until `untilMs`; false in the latter case, and if nothing is left to happen. */
  async run(isOver: () => boolean, untilMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    await drained()
    while (!isOver()) {
      const event = pop(this.#heap)
      if (event === undefined) return false
      if (event.atMs > untilMs) {
        push(this.#heap, event)
        this.#nowMs = Math.max(this.#nowMs, untilMs)
        return false
      }
      if (event.run === null) continue
      if (++this.#events > EVENTS_MAX) throw new Error('The simulation does not come to an end.')
      this.#nowMs = Math.max(this.#nowMs, event.atMs)
      this.#trace.number(this.#nowMs)
      event.run()
      await drained()
    }
    return true
  }
}

/** All that was begun has gone on as far as it can: this turn of the real event loop is over. */
function drained(): Promise<void> {
  return new Promise(resolve => {
    setImmediate(resolve)
  })
}

function isBefore(a: Event, b: Event): boolean {
  if (a.atMs !== b.atMs) return a.atMs < b.atMs
  return a.chance === b.chance ? a.number < b.number : a.chance < b.chance
}

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!isBefore(event, heap[parent]!)) break
    heap[at] = heap[parent]!
    at = parent
  }
  heap[at] = event
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0]
  const last = heap.pop()
  if (first === undefined || last === undefined || first === last) return first
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
    if (!isBefore(heap[child]!, last)) break
    heap[at] = heap[child]!
    at = child
  }
  heap[at] = last
  return first
}
