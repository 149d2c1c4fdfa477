import type { MismatchKind } from '../audit/comparison.js'
import type { OnTurn } from '../freshness/gates.js'
import { isolated, type Logger } from '../observe.js'

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

/** Tells when a bound is no longer kept, and when it is again. */
export function turnsTold(logger: Logger, events: Emitter<CacheEvents>): OnTurn {
  return (isStale, gate, table) => {
    const { maxStalenessMs } = gate
    const what = table === null ? 'Memory' : `Table ${table}`
    if (isStale) {
      logger.warn(`${what} may be older than maxStaleness allows.`)
      events.emit('stale', { stalenessMs: gate.stalenessMs(), maxStalenessMs, table })
    } else {
      logger.info(`${what} is shown to be fresh again.`)
      events.emit('fresh', { maxStalenessMs, table })
    }
  }
}
