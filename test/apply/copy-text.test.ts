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

/** A row as COPY sends it. */
function message(row: readonly (string | null)[]): Buffer {
  const fields = row.map(value =>
    value === null ? '\\N' : value.replaceAll(/[\\\b\f\n\r\t\v]/g, found => ESCAPED[found]!),
  )
  return copyData(`${fields.join('\t')}\n`)
}

function copyData(text: string): Buffer {
  const bytes = Buffer.from(`d....${text}`)
  bytes.writeUInt32BE(bytes.length - 1, 1)
  return bytes
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
  return rows
}

describe('CopyTextReader', () => {
  test('gives back every row, whatever is in it and however many come together', () => {
    const value = fc.option(
      fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('\\N', '\\', '\t\n\r\b\f\v\\', 'N', '')),
    )
    const rows = fc
      .integer({ min: 1, max: 5 })
      .chain(columns =>
        fc.array(fc.array(value, { minLength: columns, maxLength: columns }), { minLength: 1 }),
      )
    fc.assert(
      fc.property(rows, fc.integer({ min: 1, max: 10 }), (expected, together) => {
        const messages = expected.map(message)
        const chunks: Buffer[] = []
        while (messages.length > 0) chunks.push(Buffer.concat(messages.splice(0, together)))
        expect(readAll(chunks, expected[0]!.length)).toEqual(expected)
      }),
    )
  })

  test('reads a large row', () => {
    const big = 'x'.repeat(2_000_000)
    expect(readAll([message(['1', big])], 2)).toEqual([['1', big]])
  })

  test.each(['1\t2\t3\n', '1\n', '1\\\\\n', 'a\\tb\tc\td\n', '1\n2\n', '1\t2', ''])(
    'refuses a message that is not one row of the columns asked for: %j',
    text => {
      const reader = new CopyTextReader(2)
      reader.push(copyData(text))
      expect(() => reader.next(new TupleView())).toThrow(DecodeError)
    },
  )
})
