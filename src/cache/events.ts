import type { MismatchKind } from '../audit/comparison.js'
import { isolated } from '../observe.js'

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

/** Listeners, none of which can disturb us. */
export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(event: never) => void>>()

  /** Returns what ends it. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): () => void {
    const call = isolated(`listener of ${String(name)}`, listener)
    let listeners = this.#listeners.get(name)
    if (listeners === undefined) this.#listeners.set(name, (listeners = new Set()))
    listeners.add(call)
    return () => void listeners.delete(call)
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of this.#listeners.get(name) ?? []) (listener as (event: Events[Name]) => void)(event)
  }
}
