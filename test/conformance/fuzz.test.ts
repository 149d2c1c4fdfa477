/**
 * Every decoder, given what a server sent with bytes of it altered: a change or a DecodeError, and nothing else. No loop without end,
 * no memory beyond what the payload is worth, no value outside of it.
 */
import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { createContext, Script } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TEXT, type TupleView } from '../../src/change/change.js'
import { parseLsn } from '../../src/change/lsn.js'
import type { Relation } from '../../src/change/relation.js'
import { type Decoder, type DecoderName, decoders } from '../../src/decode/index.js'
import { DecodeError } from '../../src/errors.js'
import { RecordingSink } from '../support/recording-sink.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { decoderNames, skipUnlessInstalled } from './installed.js'

const RUNS = 4_000
/** So many in one turn of the event loop. */
const BATCH = 250
/** What a decoder may keep from one payload to the next. */
const KEPT_BYTES = 1 << 20
/** What the engine takes at once for small objects, and what the sink makes of a change: strings, and an object a row. */
const HEAP_BYTES = 16 << 20
/** For a batch, which takes a tenth of a second. */
const HANGS_AFTER_MS = 25_000

interface Frame {
  readonly lsn: bigint
  readonly data: Buffer
}

const SQL = [
  `insert into "Us""ers" values (1, 'A"d\\a ☃', 1.5, '\\x00ff', '2024-02-03 04:05:06', '(1,2)', true, 9007199254740993, -0.1, '0044-03-15 BC', '04:05', 1.50, '{1,NULL}'); insert into "Us""ers" values (2, null)`,
  `update "Us""ers" set body = repeat('x', 5000) where id = 1`,
  `update "Us""ers" set id = 3 where id = 1`,
  `insert into logs values (1, null); update logs set note = 'x'; delete from logs`,
  'delete from "Us""ers" where id = 2',
  `select pg_logical_emit_message(true, 'ours', 'content')`,
  'truncate "Us""ers", logs',
]

async function captured(
  db: TestDatabase,
  name: DecoderName,
): Promise<{ frames: Frame[]; decoder: Decoder<Relation> }> {
  await db.query(`create table "Us""ers" (id int primary key, body text, "f""4" float4, photo bytea, at timestamp, place point, flag bool, big int8,
      f8 float8, day date, clock time, price numeric, list int[]);
    alter table "Us""ers" alter body set storage external;
    create table logs (id int primary key, note text); alter table logs replica identity full;
    create publication p for table "Us""ers", logs`)
  const relations = await db.query<Relation>(
    `select c.oid::int8::int, 'public' as schema, relname as name, case relreplident when 'f' then 'full' else 'default' end as "replicaIdentity",
       (select json_agg(json_build_object('name', attname, 'typeOid', atttypid::int8, 'typeModifier', atttypmod, 'isKey', attname = 'id') order by attnum)
          from pg_attribute where attrelid = c.oid and attnum > 0) as columns
     from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  )
  const makeDecoder = await decoders[name].load()
  const decoder = makeDecoder<Relation>({ publication: 'p', relations })
  await db.query(`select pg_create_logical_replication_slot('slot_${db.name}', '${name}')`)
  for (const sql of SQL) await db.query(sql)
  const options = [...decoder.startOptions().matchAll(/"?([\w-]+)"? '((?:[^']|'')*)'/g)].flatMap(
    ([, option, value]) => [option!, value!.replaceAll("''", "'")],
  )
  const frames = await db.query<{ lsn: string; data: Buffer }>(
    `select lsn::text, data from pg_logical_slot_peek_binary_changes('slot_${db.name}', null, null, variadic $1::text[])`,
    [options],
  )
  return { frames: frames.map(({ lsn, data }) => ({ lsn: parseLsn(lsn), data })), decoder }
}

/** Sees to it that values lie in what is handed over. */
class BoundedSink extends RecordingSink {
  payloadBytes = 0

  override insert(...[table, row]: Parameters<RecordingSink['insert']>): void {
    this.#check(row)
    super.insert(table, row)
  }

  override update(...[table, old, isFull, row]: Parameters<RecordingSink['update']>): void {
    if (old !== null) this.#check(old)
    this.#check(row)
    super.update(table, old, isFull, row)
  }

  override delete(...[table, old, isFull]: Parameters<RecordingSink['delete']>): void {
    this.#check(old)
    super.delete(table, old, isFull)
  }

  #check({ bytes, count, kinds, starts, ends }: TupleView): void {
    assert.ok(bytes.length <= KEPT_BYTES + 8 * this.payloadBytes, 'a buffer beyond the payload')
    for (let column = 0; column < count; column++) {
      if (kinds[column] !== TEXT) continue
      assert.ok(0 <= starts[column]! && starts[column]! <= ends[column]! && ends[column]! <= bytes.length)
    }
  }
}

/** Runs `work`, and ends it with an error that names `what` if it goes on for ever, which nothing else could. */
function unhung(work: () => void, what: () => string, limitMs = HANGS_AFTER_MS): void {
  try {
    new Script('work()').runInContext(createContext({ work }), { timeout: limitMs })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
    throw new Error(`Still at it after ${limitMs} ms: ${what()}`, { cause: error })
  }
}

/** Runs `work`, which may take no more memory than `payloadBytes` are worth. What is collected meanwhile makes it look less, never more. */
function frugally(payloadBytes: number, work: () => void): void {
  const before = getHeapStatistics()
  try {
    work()
  } finally {
    const after = getHeapStatistics()
    const buffers = after.external_memory - before.external_memory
    const heap = after.used_heap_size - before.used_heap_size
    assert.ok(buffers <= KEPT_BYTES + 8 * payloadBytes, `${buffers} bytes of buffers for ${payloadBytes}`)
    assert.ok(heap <= HEAP_BYTES + 64 * payloadBytes, `${heap} bytes of objects for ${payloadBytes}`)
  }
}

test('a loop without end, and memory beyond the payload, would be noticed', () => {
  const endless = (): void => {
    for (;;);
  }
  expect(() => unhung(endless, () => 'a loop', 50)).toThrow('Still at it after 50 ms: a loop')
  // So much that what is collected meanwhile can't hide it.
  expect(() => frugally(100, () => void Buffer.alloc(64 * KEPT_BYTES))).toThrow(/bytes of buffers for 100/)
  const kept: unknown[] = []
  expect(() => frugally(100, () => void kept.push(new Array(HEAP_BYTES).fill(0)))).toThrow(
    /bytes of objects for 100/,
  )
})

function decodeFrame(decoder: Decoder<Relation>, sink: BoundedSink, { lsn, data }: Frame): void {
  sink.payloadBytes = data.length
  decoder.decode(Number(lsn >> 32n), Number(lsn & 0xffff_ffffn), data, 0, data.length, sink)
}

const mutation = fc.record({
  frame: fc.nat(1_000),
  // Places counted from the beginning, and from anywhere.
  edits: fc.array(fc.tuple(fc.oneof(fc.nat(400), fc.nat(6_000)), fc.nat(255)), { maxLength: 4 }),
  keep: fc.oneof(fc.nat(400), fc.constant(10_000)),
  cut: fc.option(fc.tuple(fc.nat(400), fc.nat(20)), { nil: undefined }),
  append: fc.uint8Array({ maxLength: 3 }),
  // Lengths and counts as they must not be: of four bytes, and of a variable number.
  extremes: fc.array(
    fc.tuple(
      fc.nat(400),
      fc.constantFrom(
        'ffffffff',
        '7fffffff',
        '80000000',
        '7fff',
        'ffff',
        'ffffffff0f',
        'ffffffffffffffffff01',
      ),
    ),
    { maxLength: 2 },
  ),
  // The rest of another frame.
  splice: fc.option(fc.tuple(fc.nat(1_000), fc.nat(400)), { nil: undefined }),
})

describe.each(decoderNames)('%s', name => {
  // The seed of a failure is printed by fast-check, with the smallest mutation that fails.
  test('altered frames are changes or DecodeErrors', { timeout: 120_000 }, async ({ skip }) => {
    const db = await testDatabase({ major: 15 })
    skipUnlessInstalled(db, name, skip)
    const { frames, decoder } = await captured(db, name)
    const whole = new BoundedSink()
    for (const frame of frames) decodeFrame(decoder, whole, frame)
    expect(whole.changes.filter(({ kind }) => kind !== 'truncate' && kind !== 'message')).toHaveLength(8)

    // It goes on with what it knows: pgoutput announces a relation only once.
    let refused = 0
    let current = Buffer.alloc(0)
    const property = fc.property(mutation, ({ frame, edits, keep, cut, append, extremes, splice }) => {
      const { lsn, data } = frames[frame % frames.length]!
      const kept = data.subarray(0, keep)
      const parts = cut === undefined ? [kept] : [kept.subarray(0, cut[0]), kept.subarray(cut[0] + cut[1])]
      if (splice !== undefined) parts.push(frames[splice[0] % frames.length]!.data.subarray(splice[1]))
      const altered = Buffer.concat([...parts, append])
      for (const [at, byte] of edits) if (at < altered.length) altered[at] = byte
      for (const [at, bytes] of extremes) Buffer.from(bytes, 'hex').copy(altered, at)
      const sink = new BoundedSink()
      current = altered
      try {
        frugally(altered.length, () => decodeFrame(decoder, sink, { lsn, data: altered }))
      } catch (error) {
        assert.ok(error instanceof DecodeError, String((error as Error).stack))
        assert.equal(error.lsn, lsn)
        refused++
      }
    })
    for (let batch = 0; batch < RUNS / BATCH; batch++) {
      unhung(
        () => fc.assert(property, { numRuns: BATCH }),
        () => `${name} decoding ${current.toString('hex')}`,
      )
      await setImmediate()
    }
    expect(refused).toBeGreaterThan(RUNS / 4)

    // What was altered has left nothing behind.
    const again = new BoundedSink()
    decoder.reset()
    for (const frame of frames) decodeFrame(decoder, again, frame)
    expect(again.changes).toEqual(whole.changes)
  })
})
