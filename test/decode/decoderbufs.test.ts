import protobuf from 'protobufjs'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Relation } from '../../src/change/relation.js'
import { type Decoder, decoders } from '../../src/decode/index.js'
import { DecodeError } from '../../src/errors.js'
import { notSent, RecordingSink, unchanged } from '../support/recording-sink.js'

const relation: Relation = {
  oid: 20_000,
  schema: 'We.ird',
  name: 'T"1',
  replicaIdentity: 'default',
  columns: [
    { name: 'id', typeOid: 23, typeModifier: -1, isKey: true },
    { name: 'isOn', typeOid: 16, typeModifier: -1, isKey: false },
    { name: 'at', typeOid: 1114, typeModifier: -1, isKey: false },
  ],
}
const INSERT = 0
const UPDATE = 1
const DELETE = 2

let message: protobuf.Type
let decoder: Decoder<Relation>

beforeAll(async () => {
  const root = await protobuf.load(new URL('../../proto/decoderbufs.proto', import.meta.url).pathname)
  message = root.lookupType('walcache.decoderbufs.RowMessage')
  const makeDecoder = await decoders.decoderbufs.load()
  decoder = makeDecoder<Relation>({ publication: '', relations: [relation] })
})

function decoded(content: object): RecordingSink {
  const sink = new RecordingSink()
  const bytes = message
    .encode(message.fromObject({ transactionId: 7, table: '"We.ird"."T""1"', ...content }))
    .finish()
  decoder.reset()
  decoder.decode(0, 42, bytes, 0, bytes.length, sink)
  return sink
}

const id = { columnName: 'id', columnType: 23, datumInt32: 1 }
const isOn = { columnName: '"isOn"', columnType: 16, datumBool: true }
const at = { columnName: 'at', columnType: 1114, datumInt64: '0' }
const secret = { columnName: 'secret', columnType: 25, datumString: 'x' }

test('names are read as SQL quotes them, and what is not wanted is dropped by name', () => {
  expect(decoded({ op: INSERT, newTuple: [id, secret, isOn, at] }).all).toEqual([
    { kind: 'relation', relation },
    { kind: 'insert', table: 'T"1', row: { id: '1', isOn: 't', at: '1970-01-01 00:00:00' } },
  ])
  expect(decoded({ op: INSERT, table: 'public.others', newTuple: [id] }).all).toEqual([])
})

test('NULL, left alone and not sent are three things', () => {
  const newTuple = [
    id,
    { ...isOn, datumBool: undefined },
    { ...at, datumInt64: undefined, datumMissing: true },
  ]
  const oldTuple = [id, { columnName: '"isOn"', columnType: 16 }, { columnName: 'at', columnType: 1114 }]
  expect(decoded({ op: UPDATE, newTuple, oldTuple }).changes).toEqual([
    {
      kind: 'update',
      table: 'T"1',
      oldIsFull: false,
      old: { id: '1', isOn: notSent, at: notSent },
      row: { id: '1', isOn: null, at: unchanged },
    },
  ])
})

test.each([
  ['9223372036854775807', 'infinity'],
  ['-9223372036854775808', '-infinity'],
  // It has wrapped around.
  ['-9222426057709551617', '294276-12-31 23:59:59.999999'],
  ['-210866803200000000', '4714-11-24 00:00:00 BC'],
])('the timestamp %s is %s', (datumInt64, text) => {
  const { changes } = decoded({ op: INSERT, newTuple: [id, isOn, { ...at, datumInt64 }] })
  expect(changes).toMatchObject([{ row: { at: text } }])
})

test('a transaction begins without a position, and ends at its frame’s', () => {
  const begin = decoded({ op: 3, table: undefined, commitTime: '1767323045678912' })
  expect(begin.all).toEqual([{ kind: 'begin', xid: 7, commitLsn: null }])
  const commit = decoded({ op: 4, table: undefined, commitTime: '1767323045678912' })
  expect(commit.all).toEqual([{ kind: 'commit', endLsn: '0/2A', commitTimeMs: 1_767_323_045_678 }])
})

describe('refused with a DecodeError', () => {
  test.each<[string, object]>([
    ['no operation', {}],
    ['an operation without a row', { op: INSERT }],
    ['a DELETE without its key', { op: DELETE }],
    ['a column that is gone', { op: INSERT, newTuple: [id, isOn] }],
    ['a column twice', { op: INSERT, newTuple: [id, id, isOn, at] }],
    ['a key that was not sent', { op: DELETE, oldTuple: [isOn] }],
    [
      'a timestamp as text, as before 2.0',
      { op: INSERT, newTuple: [id, isOn, { columnName: 'at', columnType: 1114, datumString: 'x' }] },
    ],
    [
      'a numeric as double, as in old releases',
      { op: INSERT, newTuple: [id, isOn, { columnName: 'at', columnType: 1700, datumDouble: 1 }] },
    ],
    [
      'a bool in a timestamp',
      { op: INSERT, newTuple: [id, isOn, { ...isOn, columnName: 'at', columnType: 1114 }] },
    ],
    ['a name that is none', { op: INSERT, table: 'x', newTuple: [id, isOn, at] }],
  ])('%s', (_what, content) => {
    expect(() => decoded(content)).toThrow(DecodeError)
  })
})
