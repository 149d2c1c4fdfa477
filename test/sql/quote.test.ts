import { describe, expect, test } from 'vitest'
import { quoteIdentifier, quoteLiteral, quoteQualified } from '../../src/sql/quote.js'
import { testDatabase } from '../support/servers.js'

const NASTY = [
  'a',
  'A b',
  'we"ird',
  '"',
  "o'brien",
  'back\\slash',
  "\\'; drop table x --",
  'ünïcödé 🐘',
  'a.b',
  '$$',
  'x\ny',
]

describe('identifiers', () => {
  test('come back from the server as they were, whatever is in them', async () => {
    const db = await testDatabase()
    for (const name of NASTY) {
      const [row] = await db.query(`select 1 as ${quoteIdentifier(name)}`)
      expect(Object.keys(row!)).toEqual([name])
    }
  })

  test('can be neither empty nor hold a NUL', () => {
    expect(() => quoteIdentifier('')).toThrow(TypeError)
    expect(() => quoteIdentifier('a\0b')).toThrow(TypeError)
    expect(() => quoteQualified('public', '\0')).toThrow(TypeError)
  })

  test('with a schema are quoted part by part', () => {
    expect(quoteQualified('a.b', 'c"d')).toBe('"a.b"."c""d"')
  })
})

describe('literals', () => {
  test('come back from the server as they were, whatever standard_conforming_strings says', async () => {
    const db = await testDatabase()
    for (const conforming of ['on', 'off']) {
      await db.query(`set standard_conforming_strings = ${conforming}`)
      for (const text of ['', ...NASTY]) {
        expect(await db.query(`select ${quoteLiteral(text)} as text`)).toEqual([{ text }])
      }
    }
  })

  test('can hold no NUL', () => {
    expect(() => quoteLiteral('a\0')).toThrow(TypeError)
  })
})
