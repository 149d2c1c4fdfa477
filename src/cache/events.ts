import type { MismatchKind } from '../audit/report.js'

/** What a cache tells whoever listens; nothing of any row is in it. */
export interface CacheEvents {
  /** Memory may be older than its bound allows, and reads follow `onStale`. `table` is one with a bound of its own; null: the cache's bound. */
  readonly stale: {
    readonly stalenessMs: number
    readonly maxStalenessMs: number
    readonly table: string | null
  }
  /** Memory is shown to be within that bound again. */
  readonly fresh: { readonly maxStalenessMs: number; readonly table: string | null }
  /**
   * The audit, or `verify`, has found `count` keys of a table whose state in memory is not PostgreSQL's: memory lacks the row ('missing'), has one too
   * many ('extra') or has other values in it ('different'). They are being mended.
   */
  readonly mismatch: { readonly table: string; readonly kind: MismatchKind; readonly count: number }
}
