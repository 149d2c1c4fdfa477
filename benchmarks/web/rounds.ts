/** What was measured in one round. */
export interface WebRound {
  readonly requestsPerSecond: number
  readonly p99Ms: number
}

export type WebRounds = Readonly<Record<'database' | 'lru' | 'cache', readonly WebRound[]>>
