import pg from 'pg'
import { expect, test } from 'vitest'
import { parsesInteger } from '../../src/mapping/integer-parser.js'

const parser = (oid: number): ((text: string) => unknown) => pg.types.getTypeParser(oid, 'text')

test("integers are made of their bytes where the parser is pg's own, or does the same", () => {
  for (const oid of [21, 23, 26]) expect(parsesInteger(parser(oid), oid)).toBe(true)
  expect(parsesInteger(Number, 23)).toBe(true)
  expect(parsesInteger(text => parseInt(text, 10), 23)).toBe(true)
})

test('any other parser is called', () => {
  expect(parsesInteger(parser(20), 20)).toBe(false)
  expect(parsesInteger(parser(25), 23)).toBe(false)
  expect(parsesInteger(BigInt, 23)).toBe(false)
  expect(parsesInteger(text => parseInt(text, 16), 23)).toBe(false)
  expect(parsesInteger(text => parseInt(text, 10) + 1, 23)).toBe(false)
  const parseAs =
    (parseInt: (text: string, radix: number) => unknown) =>
    (text: string): unknown =>
      parseInt(text, 10)
  expect(parsesInteger(parseAs(parseInt), 23)).toBe(true)
  expect(
    parsesInteger(
      parseAs(text => BigInt(text)),
      23,
    ),
  ).toBe(false)
  const times = 2
  expect(parsesInteger(text => times * parseInt(text, 10), 23)).toBe(false)
})
