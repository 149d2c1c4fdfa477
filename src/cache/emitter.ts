import type { OnTurn } from '../freshness/gates.js'
import { isolated, type Logger } from '../observe.js'
import type { CacheEvents } from './events.js'

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
