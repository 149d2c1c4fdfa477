/** The cookie that carries a user's token. It is `HttpOnly` always. */
export interface CookieOptions {
  /** Default `walcache`. */
  readonly name?: string
  /** Default `/`. */
  readonly path?: string
  readonly domain?: string
  /** Send it over TLS only. Default false. */
  readonly secure?: boolean
  /** Default `lax`. */
  readonly sameSite?: 'strict' | 'lax' | 'none'
  /** Seconds that the browser keeps it: longer than any server may be behind. Default 3,600. */
  readonly maxAge?: number
}

/** A token's characters; whatever else a cookie may hold is none. */
const TOKEN = /^[\w.~-]{1,64}$/
const NAME = /^[\w!#$%&'*+.^`|~-]+$/

/** The cookie that carries a token: read from a request's header, written into a response's. */
export class TokenCookie {
  readonly #name: string
  readonly #attributes: string
  readonly #maxAge: number

  constructor(options: CookieOptions = {}) {
    const {
      name = 'walcache',
      path = '/',
      domain,
      secure = false,
      sameSite = 'lax',
      maxAge = 3_600,
    } = options
    if (!NAME.test(name)) throw new TypeError(`"${name}" can't be the name of a cookie.`)
    this.#name = name
    this.#maxAge = maxAge
    this.#attributes = [
      `Path=${path}`,
      ...(domain === undefined ? [] : [`Domain=${domain}`]),
      'HttpOnly',
      ...(secure ? ['Secure'] : []),
      `SameSite=${sameSite[0]!.toUpperCase()}${sameSite.slice(1)}`,
    ].join('; ')
  }

  /** What the header has for it; null if that is nothing, or can't be a token. */
  read(header: string | undefined): string | null {
    for (const pair of header?.split(';') ?? []) {
      const equals = pair.indexOf('=')
      if (equals < 0 || pair.slice(0, equals).trim() !== this.#name) continue
      const value = pair.slice(equals + 1).trim()
      return TOKEN.test(value) ? value : null
    }
    return null
  }

  /** A `Set-Cookie` header that keeps the token. */
  set(token: string): string {
    return `${this.#name}=${token}; Max-Age=${this.#maxAge}; ${this.#attributes}`
  }

  /** One that forgets it. */
  clear(): string {
    return `${this.#name}=; Max-Age=0; ${this.#attributes}`
  }
}
