import { setImmediate as nextTurn } from 'node:timers/promises'
import { compileFunction } from 'node:vm'

/** Reads `count` keys from `from` on, and returns the sum of one number of each row that is there. */
type ReadLoop = (subject: unknown, keys: readonly number[], from: number, count: number) => number

export interface Reads {
  readonly name: string
  readonly subject: unknown
  /** How to read one key, as JavaScript over `subject` and `key`. */
  readonly read: string
  /** The row's property that is summed. */
  readonly property: string
  /** A power of two of them. */
  readonly keys: readonly number[]
  /** How many reads follow each other before the event loop, or a microtask, may come between. */
  readonly readsPerRun: number
}

const TURN_MS = 100
/** Other places that read from the subject, before it is measured. */
const OTHER_PLACES = 2_000
/** Runs between two looks at the clock. */
const RUNS_PER_LOOK = 32

/**
 * The same loop for each subject, but each compiled by itself: V8 would let one function be shared by all learn from all of them,
 * and slow down each.
 */
function compileLoop({ name, read, property }: Reads): ReadLoop {
  const source = `// ${name}
    let sum = 0
    const end = from + count
    for (let i = from; i < end; i++) {
      const key = keys[i]
      const row = ${read}
      if (row !== undefined) sum += row.${property}
    }
    return sum`
  return compileFunction(source, ['subject', 'keys', 'from', 'count']) as ReadLoop
}

const resolved = Promise.resolve()

/**
 * Reads from many places, a little from each, as a server does. V8 then compiles the subject's own `get` by itself, with all that it calls. Read from
 * one loop alone it would be compiled as a part of that, as far as the loop's budget goes: too little for what lies behind one more call.
 */
async function readFromElsewhere(reads: Reads): Promise<void> {
  const { subject, keys, readsPerRun } = reads
  for (let place = 0; place < OTHER_PLACES; place++) {
    const loop = compileLoop({ ...reads, name: `${reads.name}, place ${place}` })
    const from = (place * readsPerRun) % (keys.length - readsPerRun)
    loop(subject, keys, from, readsPerRun)
    await resolved
  }
  await nextTurn()
}

/**
 * One turn: nanoseconds of this process's CPU time a read, the collector's included. (Time on the wall would be that of whatever else
 * runs on the machine, too.) The rows' sum is used, so that no compiler may leave the reads out.
 */
export function readTurn(reads: Reads): () => Promise<number> {
  const { subject, keys, readsPerRun } = reads
  const loop = compileLoop(reads)
  let isKnown = false
  // A turn goes on where the last one ended: one that began anew would have the slower subject read fewer keys, which its caches then hold.
  let from = 0
  return async () => {
    if (!isKnown) await readFromElsewhere(reads)
    isKnown = true
    let sum = 0
    let runs = 0
    await nextTurn()
    const usedBefore = process.cpuUsage()
    const ends = performance.now() + TURN_MS
    while (performance.now() < ends) {
      for (let run = 0; run < RUNS_PER_LOOK; run++) {
        sum += loop(subject, keys, from, readsPerRun)
        from += readsPerRun
        if (from + readsPerRun > keys.length) from = 0
        // The end of a synchronous run, as a request's `await` is.
        await resolved
      }
      runs += RUNS_PER_LOOK
    }
    const { user, system } = process.cpuUsage(usedBefore)
    if (!Number.isFinite(sum)) throw new Error(`${reads.name} read something that has no ${reads.property}.`)
    return ((user + system) * 1000) / (runs * readsPerRun)
  }
}

/** Numbers in [0, below), the same in each run of the benchmark. */
export function randomIntegers(seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** `count` keys, each one of `from` at random. */
export function pick(from: readonly number[], count: number, random: (below: number) => number): number[] {
  return Array.from({ length: count }, () => from[random(from.length)]!)
}
