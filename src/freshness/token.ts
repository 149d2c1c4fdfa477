import { createHmac, timingSafeEqual } from 'node:crypto'
import { LSN_MAX, type Lsn } from '../change/lsn.js'
import { TokenError } from '../errors.js'

/** Which history a position belongs to: positions of different ones can't be compared. */
export interface Incarnation {
  /** `IDENTIFY_SYSTEM`'s system identifier, in decimal. */
  readonly systemId: string
  readonly timeline: number
}

/** A place in the log of one cluster's one history. */
export interface LogPosition extends Incarnation {
  readonly lsn: Lsn
}

/** Whether `a` lies beyond `b` in one cluster; one of a later timeline is taken to. */
export function isBeyond(a: LogPosition, b: LogPosition): boolean {
  return a.timeline > b.timeline || (a.timeline === b.timeline && a.lsn > b.lsn)
}

const TOKEN = /^1\.([0-9a-z]{1,13})\.([0-9a-z]{1,7})\.([0-9a-z]{1,13})$/
const SIGNATURE_SEPARATOR = '~'
/** 128 of SHA-256's bits: 22 characters. */
const SIGNATURE_BYTES = 16
const TOKEN_LENGTH_MAX = 64

/** Positions as short texts that may travel in a cookie and are good on every server that caches the same database. */
export class TokenCodec {
  readonly #secrets: readonly string[]

  /** Tokens are signed with the first secret, and good if any of them signed them; with none, they are not signed. */
  constructor(secrets: readonly string[]) {
    this.#secrets = secrets
  }

  encode({ systemId, timeline }: Incarnation, position: Lsn): string {
    const text = `1.${BigInt(systemId).toString(36)}.${timeline.toString(36)}.${position.toString(36)}`
    const [secret] = this.#secrets
    if (secret === undefined) return text
    return text + SIGNATURE_SEPARATOR + signatureOf(text, secret).toString('base64url')
  }

  /**
   * The position that `token` names.
   *
   * @throws {TokenError} if it is no token, or not signed by us.
   */
  decode(token: string): LogPosition {
    // From a cookie it may be anything.
    const parts =
      typeof token === 'string' && token.length <= TOKEN_LENGTH_MAX ? TOKEN.exec(this.#opened(token)) : null
    if (parts === null)
      throw new TokenError(
        'it is not a token of this cache. Pass the text as cache.token() or cache.position gave it.',
      )
    const timeline = Number.parseInt(parts[2]!, 36)
    const lsn = parseBase36(parts[3]!)
    if (lsn > LSN_MAX || timeline === 0) throw new TokenError('it names a position that can not be.')
    return { systemId: parseBase36(parts[1]!).toString(), timeline, lsn: lsn as Lsn }
  }

  /** The token without its signature. @throws {TokenError} if that is not ours. */
  #opened(token: string): string {
    const end = token.indexOf(SIGNATURE_SEPARATOR)
    const isSigned = end >= 0
    if (this.#secrets.length === 0) {
      if (isSigned)
        throw new TokenError('it is signed, and this cache has no tokenSecret to check that with.')
      return token
    }
    const text = isSigned ? token.slice(0, end) : token
    const signature = Buffer.from(isSigned ? token.slice(end + 1) : '', 'base64url')
    const isOurs = this.#secrets.some(
      secret => signature.length === SIGNATURE_BYTES && timingSafeEqual(signature, signatureOf(text, secret)),
    )
    if (!isOurs) throw new TokenError('its signature is not one of this cache’s tokenSecret.')
    return text
  }
}

function signatureOf(text: string, secret: string): Buffer {
  return createHmac('sha256', secret).update(text).digest().subarray(0, SIGNATURE_BYTES)
}

function parseBase36(text: string): bigint {
  let value = 0n
  for (const digit of text) value = value * 36n + BigInt(Number.parseInt(digit, 36))
  return value
}
