export interface QueriesReport {
  readonly queries: number
  /** Answered in memory. */
  readonly local: number
  readonly differences: number
  /** Queries that memory left to PostgreSQL, by its reason. */
  readonly notLocal: Readonly<Record<string, number>>
  /** Queries by the way in which memory found the rows. */
  readonly plans: Readonly<Record<string, number>>
  /** Queries that were also answered by PostgreSQL through the cache. */
  readonly fallThrough: number
  readonly tables: number
  readonly commits: number
  /** Indexes that were made while their table was read and written. */
  readonly indexesMade: number
}

/** What has been asked so far, and the first answer that differed. */
export class Tally {
  queries = 0
  local = 0
  differences = 0
  fallThrough = 0
  tables = 0
  commits = 0
  indexesMade = 0
  first: string | undefined
  readonly notLocal: Record<string, number> = {}
  readonly plans: Record<string, number> = {}

  count(counts: Record<string, number>, name: string): void {
    counts[name] = (counts[name] ?? 0) + 1
  }

  report(): QueriesReport {
    const { queries, local, differences, notLocal, plans, fallThrough, tables, commits, indexesMade } = this
    return { queries, local, differences, notLocal, plans, fallThrough, tables, commits, indexesMade }
  }
}
