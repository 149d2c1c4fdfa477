import type { CacheError } from '../errors.js'
import type { Runtime } from '../runtime.js'
import { FreshnessGate } from './gate.js'

/** How old reads may be, and what local ones do about it. */
export interface Bound {
  readonly maxStalenessMs: number
  readonly whenStale: 'throw' | 'serve'
}

/** A gate has been found to be stale, or fresh again; `table` has a bound of its own, null: the cache's. */
export type OnTurn = (isStale: boolean, gate: FreshnessGate, table: string | null) => void

/** The gates of one cache: one for all tables, and one for each table with a bound of its own. What is proven, or refused, holds for all. */
export class FreshnessGates {
  readonly common: FreshnessGate
  readonly #runtime: Runtime
  readonly #onTurn: OnTurn
  readonly #all: FreshnessGate[] = []

  constructor(runtime: Runtime, bound: Bound, onTurn: OnTurn) {
    this.#runtime = runtime
    this.#onTurn = onTurn
    this.common = this.#add(bound, null)
  }

  /** A gate for this table alone. */
  own(table: string, bound: Bound): FreshnessGate {
    const gate = this.#add(bound, table)
    const { provenMs } = this.common
    if (Number.isFinite(provenMs)) gate.restart(provenMs)
    return gate
  }

  #add({ maxStalenessMs, whenStale }: Bound, table: string | null): FreshnessGate {
    const gate: FreshnessGate = new FreshnessGate(this.#runtime, maxStalenessMs, whenStale, isStale =>
      this.#onTurn(isStale, gate, table),
    )
    this.#all.push(gate)
    return gate
  }

  /** @see FreshnessGate.prove */
  prove(atMs: number): void {
    for (const gate of this.#all) gate.prove(atMs)
  }

  /** @see FreshnessGate.restart */
  restart(atMs: number): void {
    for (const gate of this.#all) gate.restart(atMs)
  }

  /** @see FreshnessGate.doubt */
  doubt(): void {
    for (const gate of this.#all) gate.doubt()
  }

  /** @see FreshnessGate.refuse */
  refuse(error: CacheError): void {
    for (const gate of this.#all) gate.refuse(error)
  }
}
