import type { LoadResult } from '../load.js'

/** Measures until the returned function is called. */
export function startLoad(): () => LoadResult {
  const before = process.cpuUsage()
  const started = performance.now()
  return () => ({ elapsedMs: performance.now() - started, userMs: process.cpuUsage(before).user / 1000 })
}
