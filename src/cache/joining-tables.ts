import type { CacheError } from '../errors.js'
import type { LiveTable } from '../query/live.js'
import { unlessAborted } from '../runtime.js'
import type { DeclaredTables } from './declared-tables.js'
import { Deferred } from './deferred.js'
import type { Setup } from './setup.js'

/** Tables that come with the next load, since their decoder can't add them to a running stream. */
export class JoiningTables {
  readonly #tables: Pick<DeclaredTables, 'add' | 'has'>
  readonly #entities: object[]
  readonly #waiting = new Map<object, Deferred>()

  /** `entities`: what the next generation is loaded by. */
  constructor(tables: Pick<DeclaredTables, 'add' | 'has'>, entities: object[]) {
    this.#tables = tables
    this.#entities = entities
  }

  /** The next load is to have this table, which is known to fit. */
  begin(declaration: object): void {
    this.#waiting.set(declaration, new Deferred())
    this.#entities.push(declaration)
  }

  /**
   * Resolves when the table can be read; at once if it does not come with a load.
   *
   * @throws what keeps it from being read. Rejects with the signal's reason when it aborts. Then later loads are without it.
   */
  async joined(declaration: object, signal: AbortSignal): Promise<void> {
    const waiting = this.#waiting.get(declaration)
    if (waiting === undefined) return
    try {
      await unlessAborted(waiting.promise, signal)
    } finally {
      this.#waiting.delete(declaration)
      if (!this.#tables.has(declaration)) this.#entities.splice(this.#entities.indexOf(declaration), 1)
    }
  }

  /** These tables, which were not declared before, were loaded, and are read from now on; those do not fit any more. */
  loaded(loaded: readonly LiveTable[], out: Setup['out']): void {
    for (const live of loaded) {
      const { declaration } = live.mapping
      const { failed } = live.table
      if (failed !== null) this.#waiting.get(declaration)?.reject(failed)
      else if (this.#waiting.has(declaration)) {
        this.#tables.add(live)
        this.#waiting.get(declaration)!.resolve()
      }
    }
    for (const { mapping, error } of out)
      this.#waiting.get(mapping.declaration)?.reject(error satisfies CacheError)
  }
}
