import assert from 'node:assert/strict'
import { test } from 'vitest'
import { UNCHANGED } from '../../src/change/change.js'
import { formatLsn } from '../../src/change/lsn.js'
import type { Relation } from '../../src/change/relation.js'
import { InternalError } from '../../src/errors.js'
import { ScriptSource } from '../../src/source/script-source.js'
import { notSent, RecordingSink, unchanged } from '../support/recording-sink.js'

const users: Relation = {
  oid: 1,
  schema: 'public',
  name: 'users',
  replicaIdentity: 'default',
  columns: [
    { name: 'id', typeOid: 23, typeModifier: -1, isKey: true },
    { name: 'name', typeOid: 25, typeModifier: -1, isKey: false },
  ],
}

async function readAll(source: ScriptSource<Relation>, maxChanges = 100): Promise<RecordingSink> {
  const sink = new RecordingSink()
  for await (const batch of source.batches(new AbortController().signal)) {
    while (batch.deliver(sink, maxChanges));
    await source.close()
  }
  return sink
}

test('a script’s transactions are said as a decoder would say them', async () => {
  const source = new ScriptSource<Relation>([
    {
      changes: [
        { kind: 'insert', relation: users, row: { id: '1', name: null } },
        { kind: 'update', relation: users, old: { id: '1' }, row: { id: '2', name: UNCHANGED } },
      ],
    },
    {
      changes: [
        { kind: 'delete', relation: users, old: { id: '2' } },
        { kind: 'truncate', relations: [users] },
        { kind: 'message', prefix: 'p', content: 'c' },
      ],
    },
  ])
  const { all } = await readAll(source)
  assert.deepEqual(all, [
    { kind: 'begin', xid: 701, commitLsn: '0/0' },
    { kind: 'relation', relation: users },
    { kind: 'insert', table: 'users', row: { id: '1', name: null } },
    {
      kind: 'update',
      table: 'users',
      old: { id: '1', name: notSent },
      oldIsFull: false,
      row: { id: '2', name: unchanged },
    },
    { kind: 'commit', endLsn: '0/100', commitTimeMs: 0 },
    { kind: 'begin', xid: 702, commitLsn: '0/100' },
    { kind: 'delete', table: 'users', old: { id: '2', name: notSent }, oldIsFull: false },
    { kind: 'truncate', tables: ['users'], cascade: false, restartIdentity: false },
    { kind: 'message', prefix: 'p', content: 'c', transactional: true },
    { kind: 'commit', endLsn: '0/200', commitTimeMs: 0 },
  ])
})

test('a batch is delivered in pieces of the asked size', async () => {
  const insert = (id: string) => ({ kind: 'insert', relation: users, row: { id, name: '' } }) as const
  const source = new ScriptSource<Relation>([{ changes: [insert('1'), insert('2')] }])
  const sink = new RecordingSink()
  const { value } = await source.batches(new AbortController().signal)[Symbol.asyncIterator]().next()
  assert.equal(value.deliver(sink, 2), true)
  assert.equal(sink.changes.length, 1)
  assert.equal(value.deliver(sink, 2), false)
  assert.equal(sink.changes.length, 2)
})

test('what is added while it runs arrives, then its failure', async () => {
  const source = new ScriptSource<Relation>()
  const sink = new RecordingSink()
  const reading = (async () => {
    for await (const batch of source.batches(new AbortController().signal)) while (batch.deliver(sink, 100));
  })()
  const lsn = source.commit({ changes: [] })
  source.fail(new Error('cut'))
  await assert.rejects(reading, /cut/)
  assert.deepEqual(sink.all.at(-1), { kind: 'commit', endLsn: formatLsn(lsn), commitTimeMs: 0 })
})

test('an abort rejects with its reason', async () => {
  const source = new ScriptSource<Relation>()
  const abort = new AbortController()
  const waiting = source.batches(abort.signal)[Symbol.asyncIterator]().next()
  abort.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
})

test('nothing beyond the script can be confirmed', () => {
  const source = new ScriptSource<Relation>([{ changes: [] }])
  source.confirm(source.lsn)
  assert.equal(source.confirmed, source.lsn)
  assert.throws(() => source.confirm((source.lsn + 1n) as typeof source.lsn), InternalError)
})

test('a column that the relation does not have is refused', async () => {
  const source = new ScriptSource<Relation>([
    { changes: [{ kind: 'insert', relation: users, row: { nme: '' } }] },
  ])
  await assert.rejects(readAll(source), InternalError)
})
