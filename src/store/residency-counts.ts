/** What a bounded table has done, counted since the generation began. */
export interface ResidencyCounts {
  evictedForRows: number
  evictedForBytes: number
  /** Keys known to be absent that were forgotten. */
  evictedAbsent: number
  /** Rows that went with another one of their group. */
  evictedWithGroup: number
  /** By `evict()`. */
  evictedByCall: number
  /** Rows that a change left incomplete, or made too large. */
  uncovered: number
  /** Rows that were too large to be kept. */
  bypassed: number
}

export function noCounts(): ResidencyCounts {
  return {
    evictedForRows: 0,
    evictedForBytes: 0,
    evictedAbsent: 0,
    evictedWithGroup: 0,
    evictedByCall: 0,
    uncovered: 0,
    bypassed: 0,
  }
}
