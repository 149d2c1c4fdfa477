const MICROSECONDS = 1000

/** The median time of one call, in microseconds: of `samples` samples, each of `calls` calls in a row. */
export function medianTime(samples: number, calls: number, run: () => unknown): number {
  return median(
    Array.from({ length: samples }, () => {
      const startedAt = performance.now()
      for (let call = 0; call < calls; call++) run()
      return ((performance.now() - startedAt) / calls) * MICROSECONDS
    }),
  )
}

/** The same for calls that are waited for, one sample each. */
export async function medianTimeAwaited(samples: number, run: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let sample = 0; sample < samples; sample++) {
    const startedAt = performance.now()
    await run()
    times.push((performance.now() - startedAt) * MICROSECONDS)
  }
  return median(times)
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)]!
}
