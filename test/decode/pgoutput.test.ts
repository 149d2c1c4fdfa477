import assert from 'node:assert/strict'
import { test } from 'vitest'
import { parseLsn } from '../../src/change/lsn.js'
import { PgoutputDecoder } from '../../src/decode/pgoutput.js'
import { DecodeError } from '../../src/errors.js'
import { notSent, RecordingSink, unchanged } from '../support/recording-sink.js'
import * as f from './pgoutput-frames.js'

const USERS = 16_384
const columns = [{ name: 'id', type: 23, key: true }, { name: 'email' }, { name: 'bio', modifier: 204 }]
const users = f.relation(USERS, 'public', 'users', 'd', columns)

function decode(frames: readonly Uint8Array[], sink = new RecordingSink()): RecordingSink {
  const decoder = newDecoder()
  for (const payload of frames) decoder.decode(0, 0x2a, payload, 0, payload.length, sink)
  return sink
}

function newDecoder(publication = 'p'): PgoutputDecoder<import('../../src/change/relation.js').Relation> {
  return new PgoutputDecoder({ publication, relations: [] })
}

test('a transaction is its begin, its changes and its commit', () => {
  const { all } = decode([
    f.begin(0x1_0000_0010n, 0n, 4_000_000_000),
    users,
    f.insert(USERS, ['1', 'ada@example.com', null]),
    f.commit(0x1_0000_0010n, 0xffff_fffe_ffff_ffffn, 1_500n),
  ])
  assert.deepEqual(
    all.filter(({ kind }) => kind !== 'relation'),
    [
      { kind: 'begin', xid: 4_000_000_000, commitLsn: '1/10' },
      { kind: 'insert', table: 'users', row: { id: '1', email: 'ada@example.com', bio: null } },
      { kind: 'commit', endLsn: 'FFFFFFFE/FFFFFFFF', commitTimeMs: Date.UTC(2000, 0, 1) + 1 },
    ],
  )
})

test('a commit before the year 2000 has its time', () => {
  const { all } = decode([f.commit(1n, 2n, -1_000n)])
  assert.deepEqual(all, [{ kind: 'commit', endLsn: '0/2', commitTimeMs: Date.UTC(2000, 0, 1) - 1 }])
})

test('a relation carries its identity, types and modifiers', () => {
  const { all } = decode([
    users,
    f.relation(7, '', 'odd', 'f', [{ name: 'ключ', type: 4_294_967_295, key: true }]),
  ])
  assert.deepEqual(all, [
    {
      kind: 'relation',
      relation: {
        oid: USERS,
        schema: 'public',
        name: 'users',
        replicaIdentity: 'default',
        columns: [
          { name: 'id', typeOid: 23, typeModifier: -1, isKey: true },
          { name: 'email', typeOid: 25, typeModifier: -1, isKey: false },
          { name: 'bio', typeOid: 25, typeModifier: 204, isKey: false },
        ],
      },
    },
    {
      kind: 'relation',
      relation: {
        oid: 7,
        schema: 'pg_catalog',
        name: 'odd',
        replicaIdentity: 'full',
        columns: [{ name: 'ключ', typeOid: 4_294_967_295, typeModifier: -1, isKey: true }],
      },
    },
  ])
})

test.each([
  ['d', 'default'],
  ['n', 'nothing'],
  ['f', 'full'],
  ['i', 'index'],
])('the replica identity %s is %s', (letter, replicaIdentity) => {
  const [recorded] = decode([f.relation(1, 's', 't', letter, [{ name: 'a' }])]).all
  assert.ok(recorded?.kind === 'relation')
  assert.equal(recorded.relation.replicaIdentity, replicaIdentity)
})

test('an update without an old tuple keeps the key, and says which values it did not send', () => {
  assert.deepEqual(decode([users, f.update(USERS, ['1', '', f.toast])]).changes, [
    {
      kind: 'update',
      table: 'users',
      old: null,
      oldIsFull: false,
      row: { id: '1', email: '', bio: unchanged },
    },
  ])
})

test('an old key has only its key columns: the others were not sent, and are not null', () => {
  const old = { tag: 'K', row: ['1', null, null] } as const
  assert.deepEqual(decode([users, f.update(USERS, ['2', null, null], old)]).changes, [
    {
      kind: 'update',
      table: 'users',
      old: { id: '1', email: notSent, bio: notSent },
      oldIsFull: false,
      row: { id: '2', email: null, bio: null },
    },
  ])
})

test('a full old row has nulls', () => {
  const old = { tag: 'O', row: ['1', null, 'b'] } as const
  const { changes } = decode([
    users,
    f.update(USERS, ['1', 'x', f.toast], old),
    f.remove(USERS, 'O', ['1', 'x', 'b']),
  ])
  assert.deepEqual(changes, [
    {
      kind: 'update',
      table: 'users',
      old: { id: '1', email: null, bio: 'b' },
      oldIsFull: true,
      row: { id: '1', email: 'x', bio: unchanged },
    },
    { kind: 'delete', table: 'users', old: { id: '1', email: 'x', bio: 'b' }, oldIsFull: true },
  ])
})

test('a delete by key', () => {
  assert.deepEqual(decode([users, f.remove(USERS, 'K', ['9', null, null])]).changes, [
    { kind: 'delete', table: 'users', old: { id: '9', email: notSent, bio: notSent }, oldIsFull: false },
  ])
})

test('one TRUNCATE names the wanted tables at once, with its flags', () => {
  const orders = f.relation(2, 'public', 'orders', 'd', [{ name: 'id', key: true }])
  const audit = f.relation(3, 'public', 'audit', 'd', [{ name: 'id', key: true }])
  const sink = new RecordingSink(({ name }) => name !== 'audit')
  decode([users, orders, audit, f.truncate(3, [USERS, 3, 2]), f.truncate(0, [3])], sink)
  assert.deepEqual(sink.changes, [
    { kind: 'truncate', tables: ['users', 'orders'], cascade: true, restartIdentity: true },
  ])
})

test('a logical message has its prefix and content', () => {
  assert.deepEqual(decode([f.message(1, 5n, 'pfx', 'héllo'), f.message(0, 6n, '', '')]).changes, [
    { kind: 'message', prefix: 'pfx', content: 'héllo', transactional: true },
    { kind: 'message', prefix: '', content: '', transactional: false },
  ])
})

test('types and origins are passed over', () => {
  assert.deepEqual(decode([f.type(90_000, 'public', 'mood'), f.origin(3n, 'elsewhere')]).all, [])
})

test('changes of a relation that nobody wants are skipped before their columns are looked at', () => {
  const sink = new RecordingSink(() => false)
  const nonsense = f.frame('I', f.int32(USERS), 'N', f.int16(3), 'zzz')
  decode([users, nonsense, f.update(USERS, ['1']), f.remove(USERS, 'K', [])], sink)
  assert.deepEqual(sink.changes, [])
})

test('a relation announced again has its new columns from then on', () => {
  const wider = f.relation(USERS, 'public', 'users', 'd', [...columns, { name: 'age' }])
  const { changes } = decode([
    users,
    f.insert(USERS, ['1', 'a', 'b']),
    wider,
    f.insert(USERS, ['2', 'a', 'b', '3']),
  ])
  assert.deepEqual(
    changes.map(change => (change.kind === 'insert' ? Object.keys(change.row).length : 0)),
    [3, 4],
  )
})

test('a payload may lie anywhere in a larger block', () => {
  const payload = f.insert(USERS, ['1', 'mid', 'dle'])
  const block = Buffer.concat([Buffer.from('leading'), payload, Buffer.from('trailing')])
  const decoder = newDecoder()
  const sink = new RecordingSink()
  decoder.decode(0, 0, users, 0, users.length, sink)
  decoder.decode(0, 0, block, 7, 7 + payload.length, sink)
  assert.deepEqual(sink.changes, [
    { kind: 'insert', table: 'users', row: { id: '1', email: 'mid', bio: 'dle' } },
  ])
})

test('after a reset the stream has to announce its relations again', () => {
  const decoder = newDecoder()
  const sink = new RecordingSink()
  decoder.decode(0, 0, users, 0, users.length, sink)
  decoder.reset()
  const row = f.insert(USERS, ['1', 'a', 'b'])
  assert.throws(() => decoder.decode(0, 0, row, 0, row.length, sink), DecodeError)
})

test('the publication is quoted as an identifier inside a literal', () => {
  assert.equal(
    newDecoder(`o'cl"ock`).startOptions(),
    `proto_version '1', publication_names '"o''cl""ock"', messages 'true'`,
  )
})

const giantCount = f.int32(0x7fff_ffff)
test.each<[string, readonly Uint8Array[]]>([
  ['an empty payload', [f.frame()]],
  ['an unknown tag', [f.frame('S', f.int32(1))]],
  ['a begin that is cut off', [f.begin(1n, 1n, 1).subarray(0, 20)]],
  ['a begin with bytes behind it', [f.frame([...f.begin(1n, 1n, 1)], [0])]],
  ['a commit that is cut off', [f.commit(1n, 2n, 3n).subarray(0, 25)]],
  ['an unknown replica identity', [f.relation(1, 's', 't', 'x', [])]],
  ['a name without an end', [f.frame('R', f.int32(1), 'public')]],
  ['more columns than a table can have', [f.frame('R', f.int32(1), 's\0t\0d', f.int16(1_601))]],
  ['more columns than the payload holds', [f.frame('R', f.int32(1), 's\0t\0d', f.int16(1_600))]],
  ['a relation with bytes behind it', [f.frame([...users], [0])]],
  ['a change of an unannounced relation', [f.insert(1, ['a'])]],
  ['a tuple with too few columns', [users, f.insert(USERS, ['1', '2'])]],
  ['a tuple with too many columns', [users, f.insert(USERS, ['1', '2', '3', '4'])]],
  [
    'a value of negative length',
    [users, f.frame('I', f.int32(USERS), 'N', f.int16(3), 't', f.int32(-1), 'nn')],
  ],
  [
    'a value beyond the payload',
    [users, f.frame('I', f.int32(USERS), 'N', f.int16(3), 't', giantCount, 'nn')],
  ],
  ['a tuple that is cut off', [users, f.insert(USERS, ['1', '2', '3']).subarray(0, 20)]],
  ['a binary value', [users, f.insert(USERS, ['1', '2', { kind: 'b' }])]],
  ['an unknown value kind', [users, f.insert(USERS, ['1', '2', { kind: 'x' }])]],
  ['an insert of an old tuple', [users, f.frame('I', f.int32(USERS), 'O', f.tuple(['1', '2', '3']))]],
  ['a delete of a new tuple', [users, f.frame('D', f.int32(USERS), 'N', f.tuple(['1', '2', '3']))]],
  ['an update without a new tuple', [users, f.frame('U', f.int32(USERS), 'K', f.tuple(['1', null, null]))]],
  ['a row with bytes behind it', [users, f.frame([...f.insert(USERS, ['1', '2', '3'])], [7])]],
  ['a TRUNCATE of more relations than it names', [users, f.frame('T', giantCount, [0], f.int32(USERS))]],
  [
    'a TRUNCATE of fewer relations than it names',
    [users, f.frame('T', f.int32(1), [0], f.int32(USERS), f.int32(USERS))],
  ],
  ['a message longer than its payload', [f.frame('M', [0], f.int64(1n), 'p\0', giantCount, 'abc')]],
  ['a message shorter than its payload', [f.frame('M', [0], f.int64(1n), 'p\0', f.int32(1), 'abc')]],
])('%s is refused, and the error names the position', (_, frames) => {
  assert.throws(
    () => decode(frames),
    (error: unknown) =>
      error instanceof DecodeError && error.lsn === parseLsn('0/2A') && / at 0\/2A: /.test(error.message),
  )
})
