import type {
  FastifyInstance,
  FastifyPluginCallback,
  FastifyReply,
  FastifyRequest,
  HookHandlerDoneFunction,
} from 'fastify'
import {
  type Cache,
  CacheError,
  type RequestScope,
  type Session,
  TokenError,
  TokenLostError,
} from '../../index.js'
import { type CookieOptions, TokenCookie } from './cookie.js'
import { healthRoutes, type HealthRouteOptions } from './health.js'

/** Options of the plugin. */
export interface WalcacheOptions extends HealthRouteOptions {
  /** It closes with the application, unless `close` is false. */
  readonly cache: Cache
  /** Default true. */
  readonly close?: boolean
  readonly cookie?: CookieOptions
  /**
   * Send a token after every request that has a scope, and not only after writes: then a user never sees an older state than before, whichever server
   * answers. Where PostgreSQL had to be asked, that costs a question more. Default false, since a response with a cookie is not kept by proxies.
   */
  readonly monotonicReads?: boolean
}

/** What the plugin knows of a request. */
export interface RequestCache {
  /** The commit that the request's reads see; null on a route without a scope, and once the response is sent. */
  readonly scope: RequestScope | null
  /** The token that the request came with; null if there was none, or none of this database. */
  readonly token: string | null
  /**
   * Says which commit the handler has made, as `cache.write` told it: the response then carries this token, or the newest of several, and none has to be
   * asked for. @throws {TokenError}
   */
  wrote(token: string): void
}

declare module 'fastify' {
  interface FastifyInstance {
    readonly cache: Cache
  }
  interface FastifyRequest {
    readonly walcache: RequestCache
  }
  interface FastifyContextConfig {
    /** `scope: false` on routes whose responses last, such as event streams: what a scope reads is kept in memory for as long. */
    readonly walcache?: { readonly scope?: boolean }
  }
}

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])
const UNAVAILABLE = 503

class RequestState implements RequestCache {
  scope: RequestScope | null = null
  /** Whether the browser keeps a token that is good for nothing. */
  isTokenRefused = false

  constructor(
    public token: string | null,
    /** The newest of what was written, and of what it was shown. */
    readonly seen: Session,
  ) {}

  wrote(token: string): void {
    this.seen.observe(token)
  }
}

/**
 * A Fastify plugin: `await app.register(walcache, { cache })`.
 *
 * Each request runs in `cache.run`: its asynchronous reads, and those of wrapped repositories, see one commit, at or after the token of the
 * cookie that it came with. After every method but GET, HEAD, OPTIONS and TRACE the response carries a new token, so that the user's next
 * request sees what this one wrote, on whatever server. A cookie that is no token, or one of another database, is forgotten.
 *
 * Decorates the application with `cache` and requests with `walcache`; adds `GET /health` and `GET /ready`.
 */
export const walcache: FastifyPluginCallback<WalcacheOptions> = (app, options, done) => {
  const { cache, cookie, close = true, monotonicReads = false } = options
  const plugin = new Plugin(cache, new TokenCookie(cookie), monotonicReads)
  app.decorate('cache', cache)
  app.decorateRequest('walcache', {
    getter(this: FastifyRequest) {
      return plugin.stateOf(this)
    },
  })
  app.addHook('onRequest', (request, reply, next) => plugin.enter(request, reply, next))
  app.addHook('onSend', (request, reply) => plugin.sendToken(app, request, reply))
  if (close) app.addHook('onClose', () => cache.close())
  healthRoutes(app, cache, options)
  done()
}

// What fastify-plugin would set: hooks and decorators are for the whole application, and not for a part of it.
Object.assign(walcache, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'walcache',
  [Symbol.for('plugin-meta')]: { name: 'walcache', fastify: '5.x' },
})

class Plugin {
  readonly #cache: Cache
  readonly #cookie: TokenCookie
  readonly #monotonicReads: boolean
  readonly #states = new WeakMap<FastifyRequest, RequestState>()

  constructor(cache: Cache, cookie: TokenCookie, monotonicReads: boolean) {
    this.#cache = cache
    this.#cookie = cookie
    this.#monotonicReads = monotonicReads
  }

  stateOf(request: FastifyRequest): RequestState {
    let state = this.#states.get(request)
    if (state === undefined) {
      state = new RequestState(this.#cookie.read(request.headers.cookie), this.#cache.session())
      this.#states.set(request, state)
    }
    return state
  }

  enter(request: FastifyRequest, reply: FastifyReply, next: HookHandlerDoneFunction): void {
    if (request.routeOptions.config.walcache?.scope === false) next()
    else void this.#runOrFail(request, reply, next)
  }

  async #runOrFail(
    request: FastifyRequest,
    reply: FastifyReply,
    next: HookHandlerDoneFunction,
  ): Promise<void> {
    try {
      await this.#run(request, reply, next)
    } catch (error) {
      void reply.code(error instanceof CacheError ? UNAVAILABLE : 500)
      next(error as Error)
    }
  }

  /** Resolves when the response is sent; rejects only if the request has not begun. */
  async #run(request: FastifyRequest, reply: FastifyReply, next: HookHandlerDoneFunction): Promise<void> {
    const state = this.stateOf(request)
    // From now on: it may come while the token is waited for. A hook before this one may have waited for longer than the browser did.
    const isOver = reply.raw.closed
      ? Promise.resolve()
      : new Promise<void>(resolve => reply.raw.once('close', resolve))
    const work = async (scope: RequestScope): Promise<void> => {
      state.scope = scope
      next()
      await isOver
      state.scope = null
    }
    if (state.token === null) return this.#cache.run({}, work)
    try {
      await this.#cache.run({ token: state.token }, work)
    } catch (error) {
      if (!isRefused(error)) throw error
      state.token = null
      state.isTokenRefused = true
      await this.#cache.run({}, work)
    }
  }

  async sendToken(app: FastifyInstance, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const state = this.stateOf(request)
    const token = await this.#tokenAfter(app, request, state)
    if (token !== null && token !== state.token) reply.header('set-cookie', this.#cookie.set(token))
    else if (state.isTokenRefused) reply.header('set-cookie', this.#cookie.clear())
  }

  async #tokenAfter(
    app: FastifyInstance,
    request: FastifyRequest,
    state: RequestState,
  ): Promise<string | null> {
    const { scope, seen } = state
    const isWrite = !SAFE_METHODS.has(request.method)
    try {
      if (isWrite && seen.token === null) return await this.#cache.token()
      if (this.#monotonicReads && scope !== null) seen.observe(await scope.token())
    } catch (error) {
      // What was written is written: an error would say the opposite.
      app.log.error(
        { err: error },
        `no token after a ${isWrite ? 'write' : 'read'}: its user may not see the same at once on other servers`,
      )
    }
    return seen.token
  }
}

/** Whether the token is at fault, and the request itself is not. */
function isRefused(error: unknown): boolean {
  return error instanceof TokenError || error instanceof TokenLostError
}
