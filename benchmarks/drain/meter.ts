import { monitorEventLoopDelay } from 'node:perf_hooks'

/** What a process that has drained a slot says about it. */
export interface DrainResult {
  readonly elapsedMs: number
  /** Time of this process on a processor, all its threads: the collector's and the compiler's too. */
  readonly userMs: number
  /** The longest time for which a timer of 1 ms was late. */
  readonly delayMaxMs: number
  /** Of what it holds then; absent if it keeps nothing. */
  readonly digest?: string
}

export interface DrainOrder {
  readonly url: string
  readonly slot: string
  readonly publication: string
  /** A position after the last change and before the message that ends the stream. */
  readonly end: string
}

/** What apply.ts asks of this process. */
export function drainOrder(): DrainOrder {
  const [url, slot, publication, end] = process.argv.slice(2)
  return { url: url!, slot: slot!, publication: publication!, end: end! }
}

const RESOLUTION_MS = 1

/** Measures until the returned function is called. */
export function startMeter(): () => DrainResult {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  const before = process.cpuUsage()
  const started = performance.now()
  return () => {
    const elapsedMs = performance.now() - started
    const { user } = process.cpuUsage(before)
    delay.disable()
    return { elapsedMs, userMs: user / 1000, delayMaxMs: Math.max(0, delay.max / 1e6 - RESOLUTION_MS) }
  }
}

export function say(result: DrainResult): void {
  console.log(JSON.stringify(result))
}
