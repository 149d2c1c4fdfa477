import { AsyncLocalStorage } from 'node:async_hooks'
import { OptionError } from '../errors.js'
import { ReadScope, type ScopeContext } from '../query/scope.js'
import { checkOptions, checkRead } from '../query/check-read.js'
import type { RequestScope, RunOptions } from '../query/types.js'

const RUN_OPTIONS: ReadonlySet<string> = new Set([
  'token',
  'snapshot',
  'maxStaleness',
  'onStale',
  'onUnknown',
  'timeoutMs',
  'onTimeout',
  'signal',
])

/** The requests that run now, each found by whatever it calls and awaits. */
export class RequestScopes {
  readonly #storage = new AsyncLocalStorage<ReadScope>()
  readonly #context: () => ScopeContext

  constructor(context: () => ScopeContext) {
    this.#context = context
  }

  /** The scope that the caller runs in. What goes on after its end is in none. */
  get current(): ReadScope | null {
    const scope = this.#storage.getStore()
    return scope === undefined || scope.hasEnded ? null : scope
  }

  /** @see Cache.run */
  async run<T>(options: RunOptions, work: (scope: RequestScope) => T | PromiseLike<T>): Promise<T> {
    checkOptions('cache.run', options, RUN_OPTIONS)
    if (typeof work !== 'function') throw new OptionError('run', 'give a function.')
    const { token, snapshot, ...reads } = options
    checkRead(reads)
    const scope = await ReadScope.open(
      this.#context(),
      token === undefined ? reads : { ...reads, after: token },
      snapshot,
    )
    try {
      return await this.#storage.run(scope, work, scope)
    } finally {
      scope.end()
    }
  }
}
