import type { TableMapping } from '../mapping/mapping.js'
import { declarationOf } from '../mapping/declared.js'
import type { ResolvedOptions } from './options.js'
import type { StalePolicy } from './types.js'

/** How old a table's reads may be, and what is done about it. */
export interface TableBounds {
  readonly maxStalenessMs: number
  readonly whenStale: 'throw' | 'serve'
  readonly onStale: StalePolicy
}

/** A table's own bounds, with the cache's where it says nothing; null if it says nothing at all. */
export function ownBounds({ declaration }: TableMapping, options: ResolvedOptions): TableBounds | null {
  const { maxStaleness, onStale } = declarationOf(declaration) ?? {}
  if (maxStaleness === undefined && onStale === undefined) return null
  return {
    maxStalenessMs: maxStaleness ?? options.maxStalenessMs,
    whenStale: onStale?.local ?? options.onStaleLocal,
    onStale: onStale?.asynchronous ?? options.onStale,
  }
}

/** The tightest bound of any table: what probes go by. */
export function tightestMs(mappings: readonly TableMapping[], options: ResolvedOptions): number {
  const own = mappings.map(mapping => ownBounds(mapping, options)?.maxStalenessMs ?? options.maxStalenessMs)
  return Math.min(options.maxStalenessMs, ...own)
}
