export type { CookieOptions } from './cookie.js'
export type { HealthRouteOptions } from './health.js'
export { type RequestCache, walcache, type WalcacheOptions } from './plugin.js'
