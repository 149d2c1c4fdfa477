import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LSN_MAX, type Lsn } from '../../src/change/lsn.js'
import { TokenError } from '../../src/errors.js'
import { TokenCodec } from '../../src/freshness/token.js'

const codec = new TokenCodec([])
const here = { systemId: '7412345678901234567', timeline: 1 }

describe('a token', () => {
  test('gives its position back on every server of the same history, and fits a cookie', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: LSN_MAX }),
        fc.integer({ min: 1, max: 2 ** 31 }),
        (position, timeline) => {
          const incarnation = { systemId: '18446744073709551615', timeline }
          const token = codec.encode(incarnation, position as Lsn)
          expect(token).toMatch(/^[0-9a-z.]{1,64}$/)
          expect(codec.decode(token)).toEqual({ ...incarnation, lsn: position })
          const signed = new TokenCodec(['a secret of some length']).encode(incarnation, position as Lsn)
          expect(signed).toMatch(/^[\w.~-]{1,64}$/)
        },
      ),
    )
  })

  test('that is signed is good with its secret, also when that is no longer the first, and with no other', () => {
    const [old, young] = ['the secret of last year', 'the secret of this year']
    const token = new TokenCodec([old!]).encode(here, 500n as Lsn)
    for (const secrets of [[old!], [young!, old!]])
      expect(new TokenCodec(secrets).decode(token).lsn).toBe(500n)
    const signed = new TokenCodec([old!])
    for (const forged of [
      codec.encode(here, 500n as Lsn),
      token.replace('.dw~', '.dx~'),
      token.slice(0, -2),
      `${token}AAAA`,
      `${token.split('~')[0]}~`,
      new TokenCodec([young!]).encode(here, 500n as Lsn),
    ])
      expect(() => signed.decode(forged)).toThrow(/signature/)
    expect(() => codec.decode(token)).toThrow(/tokenSecret/)
  })

  test('that is none is refused, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), text => {
        expect(() => codec.decode(text)).toThrow(TokenError)
      }),
    )
    for (const value of [undefined, null, 7, {}])
      expect(() => codec.decode(value as unknown as string)).toThrow(TokenError)
    const beyond = `1.${BigInt(here.systemId).toString(36)}.1.${'z'.repeat(13)}`
    expect(() => codec.decode(beyond)).toThrow(TokenError)
  })
})
