import { LSN_MAX, type Lsn } from '../change/lsn.js'
import { TokenError } from '../errors.js'

/** Which history a position belongs to: positions of different ones can't be compared. */
export interface Incarnation {
  /** `IDENTIFY_SYSTEM`'s system identifier, in decimal. */
  readonly systemId: string
  readonly timeline: number
}

const TOKEN = /^1\.([0-9a-z]{1,13})\.([0-9a-z]{1,7})\.([0-9a-z]{1,13})$/
const TOKEN_LENGTH_MAX = 64

/** `position` as a short text that may travel in a cookie and is good on every server that caches the same database. */
export function encodeToken({ systemId, timeline }: Incarnation, position: Lsn): string {
  return `1.${BigInt(systemId).toString(36)}.${timeline.toString(36)}.${position.toString(36)}`
}

/**
 * The position that `token` names.
 *
 * @throws {TokenError} if it is no token, or one of another database cluster or timeline.
 */
export function decodeToken(token: string, { systemId, timeline }: Incarnation): Lsn {
  // From a cookie it may be anything.
  const parts = typeof token === 'string' && token.length <= TOKEN_LENGTH_MAX ? TOKEN.exec(token) : null
  if (parts === null)
    throw new TokenError(
      'it is not a token of this cache. Pass the text as cache.token() or cache.position gave it.',
    )
  if (parts[1] !== BigInt(systemId).toString(36))
    throw new TokenError('it belongs to another database cluster.')
  if (parts[2] !== timeline.toString(36))
    throw new TokenError(
      'it belongs to another timeline: the server was failed over or restored since, and the write may be lost.',
    )
  const position = parseBase36(parts[3]!)
  if (position > LSN_MAX) throw new TokenError('it names a position that can not be.')
  return position as Lsn
}

function parseBase36(text: string): bigint {
  let value = 0n
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36))
  return value
}
