/** How memory differs: it lacks a row that PostgreSQL has, has one that PostgreSQL lacks, or has other values in it. */
export type MismatchKind = 'missing' | 'extra' | 'different'

/** How many keys were compared with PostgreSQL, and what came of it. */
export interface AuditCounts {
  /** Keys that were compared. */
  audited: number
  /** Keys whose state in memory was not PostgreSQL's. */
  mismatched: number
  /** Keys that could not be compared then, since they were just being changed. */
  excluded: number
}

/** How many keys differ, and how: memory lacks a row, has one too many, or has other values in it. */
export type Mismatches = Readonly<Record<MismatchKind, number>>

/** What `verify()` found in one table. */
export interface TableVerification {
  /** `schema.table`. */
  readonly name: string
  /** Rows that were compared, and are the same but for those in `mismatches`. */
  readonly rows: number
  /** Keys that a bounded table knows to be absent, and that are. */
  readonly absent: number
  /** Keys that could not be compared, however often they were tried: they were changed all the time. */
  readonly excluded: number
  readonly mismatches: Mismatches
}

/** What `verify()` found. Memory is mended by then, or is being read anew. */
export interface Verification {
  readonly tables: readonly TableVerification[]
  /** Keys that differed, in all tables. */
  readonly mismatched: number
}

/** How far `verify()` is. */
export interface VerifyProgress {
  /** `schema.table`. */
  readonly table: string
  readonly tables: number
  readonly tablesDone: number
  /** Rows and absent keys of this table that were compared so far. */
  readonly rows: number
}

export function countMismatches(found: readonly { readonly kind: MismatchKind }[]): Mismatches {
  const counts = { missing: 0, extra: 0, different: 0 }
  for (const { kind } of found) counts[kind]++
  return counts
}
