import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CopyTextReader } from '../../src/apply/copy-text.js'
import { NULL, TupleView } from '../../src/change/change.js'
import { DecodeError } from '../../src/errors.js'

const ESCAPED: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
}

/** A row as COPY writes it. */
function line(row: readonly (string | null)[]): string {
  const fields = row.map(value =>
    value === null ? '\\N' : value.replaceAll(/[\\\b\f\n\r\t\v]/g, found => ESCAPED[found]!),
  )
  return `${fields.join('\t')}\n`
}

function readAll(chunks: readonly Uint8Array[], columns: number): (string | null)[][] {
  const reader = new CopyTextReader(columns)
  const view = new TupleView()
  const rows: (string | null)[][] = []
  for (const chunk of chunks) {
    reader.push(chunk)
    while (reader.next(view))
      rows.push(
        Array.from({ length: columns }, (_, column) =>
          view.kinds[column] === NULL
            ? null
            : Buffer.from(view.bytes).toString('utf8', view.starts[column], view.ends[column]),
        ),
      )
  }
  expect(reader.complete).toBe(true)
  return rows
}

describe('CopyTextReader', () => {
  test('gives back every row, whatever is in it and wherever the chunks end', () => {
    const value = fc.option(
      fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('\\N', '\\', '\t\n\r\b\f\v\\', 'N', '')),
    )
    const rows = fc
      .integer({ min: 1, max: 5 })
      .chain(columns =>
        fc.array(fc.array(value, { minLength: columns, maxLength: columns }), { minLength: 1 }),
      )
    fc.assert(
      fc.property(rows, fc.array(fc.nat(60), { minLength: 1 }), (expected, cuts) => {
        const bytes = Buffer.from(expected.map(line).join(''))
        const chunks: Buffer[] = []
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const next = at + 1 + cuts[i % cuts.length]!
          chunks.push(bytes.subarray(at, next))
          at = next
        }
        expect(readAll(chunks, expected[0]!.length)).toEqual(expected)
      }),
    )
  })

  test('puts a row of many chunks together once', () => {
    const big = 'x'.repeat(2_000_000)
    const bytes = Buffer.from(line(['1', big]))
    const chunks = Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, i) =>
      bytes.subarray(i * 1000, i * 1000 + 1000),
    )
    expect(readAll(chunks, 2)).toEqual([['1', big]])
  })

  test.each(['1\t2\t3\n', '1\n', '1\\\\\n', 'a\\tb\tc\td\n'])(
    'refuses a row that has not the columns asked for: %j',
    text => {
      const reader = new CopyTextReader(2)
      reader.push(Buffer.from(text))
      expect(() => reader.next(new TupleView())).toThrow(DecodeError)
    },
  )
})
