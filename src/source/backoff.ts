/** How long to wait between attempts. */
export interface Backoff {
  readonly firstMs: number
  /** Never longer than this. */
  readonly longestMs: number
}

/**
 * How long to wait before attempt `attempt` (the first repetition is 1): doubled each time, and anywhere between half of
 * that and all of it, so that many processes that lost the same server don't come back as one.
 */
export function backoffMs({ firstMs, longestMs }: Backoff, attempt: number, random: () => number): number {
  const ceiling = Math.min(longestMs, firstMs * 2 ** Math.min(attempt - 1, 30))
  return ceiling * (0.5 + random() / 2)
}
