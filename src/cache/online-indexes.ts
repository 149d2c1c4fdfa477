import { asError } from '../errors.js'
import type { Logger } from '../observe.js'
import { type AddedIndexes, indexColumns } from '../query/added-indexes.js'
import type { TableSource } from '../query/answer.js'
import { buildIndex } from '../query/build-index.js'
import type { CreateIndexOptions } from '../query/types.js'
import { type Runtime, unlessAborted } from '../runtime.js'

export interface OnlineIndexesContext {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly sliceMs: number
  readonly closing: AbortSignal
  readonly added: AddedIndexes
}

/** Makes indexes of running tables, one after another, and again where a table is replaced by one that was begun without them. */
export class OnlineIndexes {
  readonly #context: OnlineIndexesContext
  #line: Promise<unknown> = Promise.resolve()

  constructor(context: OnlineIndexesContext) {
    this.#context = context
  }

  /** Resolves when queries use the index. Throws as `Table.createIndex` does. */
  async create(
    source: TableSource,
    properties: readonly string[],
    options: CreateIndexOptions,
  ): Promise<void> {
    const { closing, added } = this.#context
    const { mapping } = source.live
    indexColumns(mapping, properties)
    const wanted = [...properties]
    const signal = options.signal === undefined ? closing : AbortSignal.any([closing, options.signal])
    const turn = this.#line.then(async () => {
      signal.throwIfAborted()
      if (this.#has(source, wanted)) return
      added.add(mapping, wanted)
      try {
        await this.#make(source, wanted, { ...options, signal })
      } catch (error) {
        added.remove(mapping, wanted)
        throw error
      }
    })
    this.#line = turn.catch(() => undefined)
    await unlessAborted(turn, signal)
  }

  #has({ live }: TableSource, properties: readonly string[]): boolean {
    return live.finder.hasIndex(indexColumns(live.mapping, properties))
  }

  async #make(
    source: TableSource,
    properties: readonly string[],
    { signal, onProgress }: CreateIndexOptions & { readonly signal: AbortSignal },
  ): Promise<void> {
    const { runtime, sliceMs } = this.#context
    while (!this.#has(source, properties)) {
      const { live } = source
      try {
        const columns = indexColumns(live.mapping, properties)
        await buildIndex(live, columns, { runtime, sliceMs, signal, onProgress })
      } catch (error) {
        signal.throwIfAborted()
        // What was begun is of a table that another one has taken the place of.
        if (source.live === live) throw error
      }
    }
  }

  /** Another table is read from now on, which may have been begun before an index was asked for. */
  followed(source: TableSource): void {
    const { added, closing, logger } = this.#context
    const { mapping } = source.live
    for (const properties of added.of(mapping)) {
      if (this.#has(source, properties)) continue
      const made = this.#line.then(() => this.#make(source, properties, { signal: closing }))
      this.#line = made.catch((error: unknown) => {
        if (!closing.aborted)
          logger.warn(
            `The index of ${mapping.name} on ${properties.join(', ')} could not be made again: ${asError(error).message}`,
          )
      })
    }
  }
}
