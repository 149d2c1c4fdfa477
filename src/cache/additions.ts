import { asError, NotReadyError } from '../errors.js'
import { pause, type Runtime, unlessAborted } from '../runtime.js'
import { type Backoff, backoffMs } from '../source/backoff.js'
import type { JoiningTables } from './joining-tables.js'
import type { AddTableOptions } from './types.js'

/** A table whose stream is lost meanwhile is added to the next one, so often. */
const ATTEMPTS_MAX = 20
const AGAIN: Backoff = { firstMs: 100, longestMs: 5_000 }

/** A stream that tables can be added to. */
export interface Growing {
  /** Aborts when the stream ends; null while there is none. */
  readonly streaming: AbortSignal | null
  /** Resolves when the table can be read. With some decoders the stream ends instead, once `onLoad` was told that the next load is to have the table. */
  addTable(declaration: object, signal: AbortSignal, onLoad: () => void): Promise<void>
}

export interface AdditionsContext {
  readonly runtime: Runtime
  readonly closing: AbortSignal
  /** Resolves when there is something to add to. */
  readonly ready: () => Promise<void>
  /** The generation that is read and streams; null while there is none. */
  readonly growing: () => Growing | null
  readonly has: (declaration: object) => boolean
  readonly joining: JoiningTables
}

/** Adds tables that are declared later, one after another, across reconnects. */
export class Additions {
  readonly #context: AdditionsContext
  #line: Promise<unknown> = Promise.resolve()

  constructor(context: AdditionsContext) {
    this.#context = context
  }

  /** Resolves when the table can be read; at once if it could already. Throws as `Cache.addTable` does. */
  async add(declaration: object, { signal }: AddTableOptions): Promise<void> {
    const { closing, has } = this.#context
    const either = signal === undefined ? closing : AbortSignal.any([closing, signal])
    const turn = this.#line.then(async () => {
      either.throwIfAborted()
      if (!has(declaration)) await this.#add(declaration, either)
    })
    this.#line = turn.catch(() => undefined)
    await unlessAborted(turn, either)
  }

  async #add(declaration: object, signal: AbortSignal): Promise<void> {
    const { runtime, ready, joining } = this.#context
    await unlessAborted(ready(), signal)
    for (let attempt = 1; ; attempt++) {
      const error = await this.#try(declaration, signal)
      if (error === null) return joining.joined(declaration, signal)
      if (attempt === ATTEMPTS_MAX) throw error
      await pause(
        runtime.timers,
        backoffMs(AGAIN, attempt, () => runtime.random()),
        signal,
      )
      signal.throwIfAborted()
    }
  }

  /** Null if it is done; else why it has to be tried again. @throws what does not go with the stream. */
  async #try(declaration: object, signal: AbortSignal): Promise<Error | null> {
    const { joining } = this.#context
    const growing = this.#context.growing()
    const streaming = growing?.streaming ?? null
    if (growing === null || streaming === null) return new NotReadyError()
    try {
      await growing.addTable(declaration, signal, () => joining.begin(declaration))
      return null
    } catch (error) {
      signal.throwIfAborted()
      if (!streaming.aborted) throw error
      return asError(error)
    }
  }
}
