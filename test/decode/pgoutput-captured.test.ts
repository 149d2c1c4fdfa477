import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatLsn, parseLsn } from '../../src/change/lsn.js'
import type { Relation } from '../../src/change/relation.js'
import { PgoutputDecoder } from '../../src/decode/pgoutput.js'
import { DecodeError } from '../../src/errors.js'
import { notSent, RecordingSink, unchanged } from '../support/recording-sink.js'

interface Fixture {
  readonly server: string
  readonly frames: readonly { readonly lsn: string; readonly hex: string }[]
}

const long = 'long '.repeat(500)

describe.each([14, 18])('what PostgreSQL %i sent for the statements beside it', major => {
  const { frames } = JSON.parse(
    readFileSync(new URL(`fixtures/pgoutput-${major}.json`, import.meta.url), 'utf8'),
  ) as Fixture

  test('is decoded to the changes that the statements made', () => {
    const sink = new RecordingSink()
    const decoder = newDecoder()
    for (const frame of frames) decodeFrame(decoder, sink, parseLsn(frame.lsn), Buffer.from(frame.hex, 'hex'))
    assert.deepEqual(sink.changes, [
      insert('users', { id: '1', name: 'Ada', bio: long }),
      insert('users', { id: '2', name: null, bio: '' }),
      update('users', null, { id: '1', name: 'Ada L.', bio: unchanged }),
      update('users', { id: '1', name: notSent, bio: notSent }, { id: '10', name: 'Ada L.', bio: unchanged }),
      insert('users', { id: '3', name: 'kept', bio: null }),
      update('users', null, { id: '3', name: 'späte', bio: null }),
      insert('logs', { id: '1', note: null }),
      { ...update('logs', { id: '1', note: null }, { id: '1', note: 'x' }), oldIsFull: true },
      { kind: 'delete', table: 'logs', old: { id: '1', note: 'x' }, oldIsFull: true },
      insert('tags', { id: '1', label: 'a', n: '1' }),
      update('tags', null, { id: '1', label: 'a', n: '2' }),
      update('tags', { id: notSent, label: 'a', n: notSent }, { id: '1', label: 'b', n: '2' }),
      { kind: 'delete', table: 'tags', old: { id: notSent, label: 'b', n: notSent }, oldIsFull: false },
      { kind: 'delete', table: 'users', old: { id: '2', name: notSent, bio: notSent }, oldIsFull: false },
      { kind: 'message', prefix: 'ours', content: 'content', transactional: true },
      { kind: 'truncate', tables: ['users', 'logs'], cascade: true, restartIdentity: true },
    ])
  })

  test('ends each commit at its frame’s own position', () => {
    const decoder = newDecoder()
    const sink = new RecordingSink()
    for (const frame of frames) {
      const before = sink.all.length
      decodeFrame(decoder, sink, parseLsn(frame.lsn), Buffer.from(frame.hex, 'hex'))
      const said = sink.all[before]
      if (said?.kind === 'commit') assert.equal(said.endLsn, formatLsn(parseLsn(frame.lsn)))
    }
  })

  // The seed of a failure is printed by fast-check, with the smallest mutation that fails.
  test('altered anywhere, it is a change or a DecodeError, and nothing else', () => {
    const payloads = frames.map(({ hex }) => Buffer.from(hex, 'hex'))
    const relations = payloads.filter(payload => payload[0] === 0x52)
    const mutation = fc.record({
      frame: fc.nat(payloads.length - 1),
      edits: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }),
      keep: fc.nat(250),
      append: fc.uint8Array({ maxLength: 3 }),
    })
    fc.assert(
      fc.property(mutation, ({ frame, edits, keep, append }) => {
        const decoder = newDecoder()
        const sink = new BoundedSink()
        for (const payload of relations) decodeFrame(decoder, sink, 0n, payload)
        const altered = Buffer.concat([payloads[frame]!.subarray(0, keep), append])
        for (const [at, byte] of edits) if (at < altered.length) altered[at] = byte
        try {
          decodeFrame(decoder, sink, 42n, altered)
        } catch (error) {
          assert.ok(error instanceof DecodeError, String(error))
          assert.equal(error.lsn, 42n)
        }
      }),
      { numRuns: 5_000 },
    )
    expect(relations.length).toBeGreaterThan(0)
  })
})

/** Sees to it that no value reaches beyond the payload. */
class BoundedSink extends RecordingSink {
  override insert(...[table, row]: Parameters<RecordingSink['insert']>): void {
    for (let column = 0; column < row.count; column++) {
      if (row.kinds[column] !== 1) continue
      assert.ok(row.starts[column]! <= row.ends[column]! && row.ends[column]! <= row.bytes.length)
    }
    super.insert(table, row)
  }
}

function newDecoder(): PgoutputDecoder<Relation> {
  return new PgoutputDecoder({ publication: 'p', relations: [] })
}

function decodeFrame(
  decoder: PgoutputDecoder<Relation>,
  sink: RecordingSink,
  lsn: bigint,
  payload: Buffer,
): void {
  decoder.decode(Number(lsn >> 32n), Number(lsn & 0xffff_ffffn), payload, 0, payload.length, sink)
}

const insert = (table: string, row: object) => ({ kind: 'insert', table, row })
const update = (table: string, old: object | null, row: object) => ({
  kind: 'update',
  table,
  old,
  oldIsFull: false,
  row,
})
