import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LSN_MAX, type Lsn } from '../../src/change/lsn.js'
import { TokenError } from '../../src/errors.js'
import { decodeToken, encodeToken } from '../../src/freshness/token.js'

const here = { systemId: '7412345678901234567', timeline: 1 }

describe('a token', () => {
  test('gives its position back on every server of the same history, and fits a cookie', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: LSN_MAX }), fc.nat(2 ** 31), (position, timeline) => {
        const incarnation = { systemId: '18446744073709551615', timeline }
        const token = encodeToken(incarnation, position as Lsn)
        expect(token).toMatch(/^[0-9a-z.]{1,64}$/)
        expect(decodeToken(token, incarnation)).toBe(position)
      }),
    )
  })

  test('of another cluster or timeline is refused, and says which', () => {
    const token = encodeToken(here, 500n as Lsn)
    expect(() => decodeToken(token, { ...here, systemId: '7412345678901234568' })).toThrow(
      /another database cluster/,
    )
    expect(() => decodeToken(token, { ...here, timeline: 2 })).toThrow(/another timeline/)
  })

  test('that is none is refused, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 100 }), text => {
        expect(() => decodeToken(text, here)).toThrow(TokenError)
      }),
    )
    for (const value of [undefined, null, 7, {}])
      expect(() => decodeToken(value as unknown as string, here)).toThrow(TokenError)
    const beyond = `1.${BigInt(here.systemId).toString(36)}.1.${'z'.repeat(13)}`
    expect(() => decodeToken(beyond, here)).toThrow(TokenError)
  })
})
