import { describe, expect, test } from 'vitest'
import type { Relation } from '../../src/change/relation.js'
import { Wal2jsonDecoder } from '../../src/decode/wal2json.js'
import { DecodeError } from '../../src/errors.js'
import { notSent, RecordingSink, unchanged } from '../support/recording-sink.js'

const users: Relation = {
  oid: 20_000,
  schema: 'public',
  name: 'users',
  replicaIdentity: 'default',
  columns: [
    { name: 'id', typeOid: 23, typeModifier: -1, isKey: true },
    { name: 'note', typeOid: 25, typeModifier: -1, isKey: false },
    { name: 'photo', typeOid: 17, typeModifier: -1, isKey: false },
    { name: 'isOn', typeOid: 16, typeModifier: -1, isKey: false },
    { name: 'total', typeOid: 1700, typeModifier: -1, isKey: false },
  ],
}

function decoded(message: string, relations: readonly Relation[] = [users], lsn = 0): RecordingSink {
  const sink = new RecordingSink()
  const decoder = new Wal2jsonDecoder<Relation>({ publication: '', relations })
  // In the middle of other bytes, as in a frame.
  const bytes = Buffer.from(`<<${message}>>`)
  const before = Buffer.from(bytes)
  decoder.decode(0, lsn, bytes, 2, bytes.length - 2, sink)
  expect(bytes, 'the payload is as it was').toEqual(before)
  return sink
}

const column = (name: string, typeoid: number, value: string): string =>
  `{"name":${JSON.stringify(name)},"typeoid":${typeoid},"value":${value}}`
const id = (value: string): string => column('id', 23, value)
const change = (action: string, rest: string): string =>
  `{"action":"${action}","xid":7,"timestamp":"2026-01-02 03:04:05+00","lsn":"0/1","schema":"public","table":"users",${rest}}`
const whole = (note: string, more = ''): string =>
  `"columns":[${id('1')},${column('note', 25, note)},${column('photo', 17, '"00ff"')},${column('isOn', 16, 'true')},${column('total', 1700, '12345678901234567890.10')}${more}]`

test('values are what PostgreSQL would print, to the last digit', () => {
  const sink = decoded(change('I', whole(String.raw`"a\"\\\n\t\u0001\u00fc☃\ud83d\ude00"`)))
  expect(sink.all).toEqual([
    { kind: 'relation', relation: users },
    {
      kind: 'insert',
      table: 'users',
      row: {
        id: '1',
        note: 'a"\\\n\t\u0001ü☃😀',
        photo: '\\x00ff',
        isOn: 't',
        total: '12345678901234567890.10',
      },
    },
  ])
})

test('columns that are not mapped are dropped by name, whatever they hold', () => {
  const more = `,${column('secret', 114, '"{}"')},{"name":"odd","typeoid":25,"value":{"a":[1,{"b":null}]}}`
  expect(decoded(change('I', whole('null', more))).changes).toEqual([
    {
      kind: 'insert',
      table: 'users',
      row: { id: '1', note: null, photo: '\\x00ff', isOn: 't', total: '12345678901234567890.10' },
    },
  ])
})

test('what an UPDATE left alone is unchanged, and what is not of the key was not sent', () => {
  const rest = `"columns":[${id('2')},${column('isOn', 16, 'false')}],"identity":[${id('1')}]`
  expect(decoded(change('U', rest)).changes).toEqual([
    {
      kind: 'update',
      table: 'users',
      oldIsFull: false,
      old: { id: '1', note: notSent, photo: notSent, isOn: notSent, total: notSent },
      row: { id: '2', note: unchanged, photo: unchanged, isOn: 'f', total: unchanged },
    },
  ])
})

test('a column that came with another type is announced anew', () => {
  const sink = decoded(change('I', whole('"x"').replace('"typeoid":25', '"typeoid":-1')))
  const [said] = sink.all
  expect(said).toMatchObject({
    kind: 'relation',
    relation: { columns: [{}, { typeOid: 4_294_967_295 }, {}, {}, {}] },
  })
})

test('a commit has its time in any zone, and ends at its frame’s position', () => {
  const commit = (timestamp: string): string =>
    `{"action":"C","xid":7,"timestamp":"${timestamp}","lsn":"0/10","nextlsn":"0/2A"}`
  for (const [timestamp, iso] of [
    ['2026-01-02 03:04:05.678912+00', '2026-01-02T03:04:05.678Z'],
    ['2026-01-02 08:34:05.6+05:30', '2026-01-02T03:04:05.600Z'],
    ['2026-01-01 22:04:05-05', '2026-01-02T03:04:05.000Z'],
  ] as const) {
    const { all } = decoded(commit(timestamp), [users], 42)
    expect(all).toEqual([{ kind: 'commit', endLsn: '0/2A', commitTimeMs: Date.parse(iso) }])
  }
  expect(() => decoded(commit('2026-01-02 03:04:05+00'), [users], 43)).toThrow('does not end at its frame')
})

test('tables are asked for by names of which no character is special', () => {
  const odd: Relation = { ...users, schema: 'We,ird S".', name: `T'a\\b.*c ü` }
  const decoder = new Wal2jsonDecoder({ publication: '', relations: [users, odd] })
  expect(decoder.startOptions()).toContain(
    String.raw`"add-tables" 'public.users,We\,ird\ S\"\..T\''a\\b\.\*c\ ü'`,
  )
  expect(decoder.startOptions()).not.toContain('numeric-data-types-as-string')
  const asText = new Wal2jsonDecoder({ publication: '', relations: [users], numbersAsText: true })
  expect(asText.startOptions()).toContain(`"numeric-data-types-as-string" 'true'`)
})

test('numbers that come as text are the same, and NaN is not lost', () => {
  const row = whole('"x"').replace('12345678901234567890.10', '"NaN"').replace('"value":1}', '"value":"1"}')
  expect(decoded(change('I', row)).changes).toMatchObject([{ row: { id: '1', total: 'NaN' } }])
})

describe('refused with a DecodeError', () => {
  test.each<[string, string]>([
    ['nothing', ''],
    ['no object', '[]'],
    ['half an object', change('I', whole('"x"')).slice(0, -1)],
    ['something after it', `${change('I', whole('"x"'))} `],
    ['no action', '{}'],
    ['an unknown action', change('Z', '"columns":[]')],
    ['a member twice', change('I', `${whole('"x"')},${whole('"x"')}`)],
    ['a row before its table', `{"action":"I","columns":[${id('1')}],"schema":"public","table":"users"}`],
    ['a row without its fixed-size columns', change('I', `"columns":[${id('1')}]`)],
    ['a column twice', change('I', `"columns":[${id('1')},${id('1')}]`)],
    ['no old key', change('D', '"identity":[]')],
    ['no identity', change('D', '"pk":[]')],
    ['a word that is none', change('I', whole('nul'))],
    ['true for a text', change('I', whole('true'))],
    ['a number without digits', change('I', whole('-'))],
    ['half a character', change('I', whole(String.raw`"\ud83d"`))],
    ['a zero byte', change('I', whole(String.raw`"\u0000"`))],
    ['an unknown escape', change('I', whole(String.raw`"\x"`))],
    ['a control character', change('I', whole('"\u0001"'))],
    ['values nested without end', change('I', `"pk":${'['.repeat(10_000)}`)],
    ['a position that is none', '{"action":"B","xid":7,"lsn":"x","nextlsn":"y"}'],
    ['a transaction without its id', '{"action":"B","xid":null,"lsn":"0/1"}'],
  ])('%s', (_what, message) => {
    expect(() => decoded(message)).toThrow(DecodeError)
  })
})
