/** Of times, in milliseconds. */
export interface Percentiles {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** All 0 if there are none. */
export function percentiles(timesMs: readonly number[]): Percentiles {
  const sorted = timesMs.toSorted((a, b) => a - b)
  const at = (share: number): number =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(3))
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) }
}
