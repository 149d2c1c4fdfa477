/** What every decoder has to do, over the list of them: whoever joins that list is tested here. */
import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import type { ChangeBatch, ChangeSink, TupleView } from '../../src/change/change.js'
import { NOT_SENT, NULL, UNCHANGED } from '../../src/change/change.js'
import type { DecoderLimits } from '../../src/change/limits.js'
import { LSN_ZERO, type Lsn, parseLsn } from '../../src/change/lsn.js'
import type { Relation, ReplicaIdentity } from '../../src/change/relation.js'
import { type DecoderName, decoders } from '../../src/decode/index.js'
import { silentLogger } from '../../src/observe.js'
import { systemRuntime } from '../../src/runtime.js'
import { openSlotSource } from '../../src/source/slot-source.js'
import { afterTest, connectionsTo } from '../source/reading.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { decoderNames, skipUnlessInstalled } from './installed.js'

type Row = Record<string, string | null>

/** A table as a plain map, kept by the standard change alone. */
class MapSink implements ChangeSink<Relation> {
  readonly rows = new Map<string, Row>()
  readonly commits: Lsn[] = []
  readonly commitTimesMs: number[] = []
  position = LSN_ZERO
  #isOpen = false

  begin(xid: number): void {
    assert.ok(Number.isInteger(xid) && xid > 0, 'a transaction has its id')
    assert.ok(!this.#isOpen, 'a transaction begins after the one before has ended')
    this.#isOpen = true
  }

  relation(relation: Relation): Relation | null {
    return relation.name === 'items' ? relation : null
  }

  insert(table: Relation, row: TupleView): void {
    this.#put(table, row, undefined)
  }

  update(table: Relation, old: TupleView | null, _oldIsFull: boolean, row: TupleView): void {
    const key = keyOf(table, old ?? row)
    const before = this.rows.get(key)
    this.rows.delete(key)
    this.#put(table, row, before)
  }

  delete(table: Relation, old: TupleView): void {
    assert.ok(this.rows.delete(keyOf(table, old)), 'what is deleted was there')
  }

  truncate(): void {
    this.rows.clear()
  }

  message(): void {
    // Not of any table.
  }

  commit(endLsn: Lsn, commitTimeMs: number): void {
    assert.ok(this.#isOpen, 'what is committed was begun')
    this.#isOpen = false
    this.commits.push(endLsn)
    this.commitTimesMs.push(commitTimeMs)
    this.position = endLsn
  }

  progress(lsn: Lsn): void {
    this.position = lsn
  }

  #put(table: Relation, tuple: TupleView, before: Row | undefined): void {
    const row: Row = {}
    table.columns.forEach(({ name }, column) => {
      const value = valueOf(tuple, column)
      assert.notEqual(value, NOT_SENT)
      const text = value === UNCHANGED ? before?.[name] : (value as string | null)
      assert.notEqual(text, undefined, 'an unchanged value was there before')
      row[name] = text as string | null
    })
    this.rows.set(row['id']!, row)
  }
}

function keyOf(table: Relation, tuple: TupleView): string {
  const value = valueOf(
    tuple,
    table.columns.findIndex(({ name }) => name === 'id'),
  )
  assert.equal(typeof value, 'string', 'the key is always sent')
  return value as string
}

function valueOf(tuple: TupleView, column: number): string | null | number {
  const kind = tuple.kinds[column]!
  if (kind === NULL) return null
  if (kind === UNCHANGED || kind === NOT_SENT) return kind
  return Buffer.from(tuple.bytes.slice(tuple.starts[column], tuple.ends[column])).toString()
}

const identities = new Map<string, ReplicaIdentity>([
  ['d', 'default'],
  ['f', 'full'],
])

async function relationOf(db: TestDatabase): Promise<Relation> {
  const columns = await db.query<Relation['columns'][number]>(
    `select attname as name, atttypid::int8::int as "typeOid", atttypmod as "typeModifier", attname = 'id' as "isKey"
       from pg_attribute where attrelid = 'items'::regclass and attnum > 0 and not attisdropped order by attnum`,
  )
  const [table] = await db.query<{ oid: number; identity: string }>(
    `select oid::int8::int as oid, relreplident as identity from pg_class where oid = 'items'::regclass`,
  )
  const replicaIdentity = identities.get(table!.identity)!
  return { oid: table!.oid, schema: 'public', name: 'items', replicaIdentity, columns }
}

/** The plugins that come with PostgreSQL are tried on its oldest and newest, the others where they can be had. */
const majors: Record<DecoderName, readonly (14 | 15 | 18)[]> = {
  pgoutput: [14, 18],
  wal2json: [15],
  decoderbufs: [15],
}

const cases = decoderNames.flatMap(name =>
  majors[name].flatMap(major => (['default', 'full'] as const).map(identity => ({ name, major, identity }))),
)

const steps = [
  `insert into items select g, 'name ' || g, null, g / 3.0, array[g, null], g % 2 = 0, '2026-01-01'::timestamptz + g * interval '1 h'
     from generate_series(1, 50) g`,
  `update items set name = null, body = repeat('long ' || id, 2000) where id % 5 = 0`,
  `update items set name = 'ключ "quoted" \\ ''' || id where id % 10 = 0`,
  'update items set id = id + 1000 where id % 7 = 0',
  'delete from items where id % 3 = 0',
  `begin; insert into items (id, name) values (-1, 'kept'); savepoint s; insert into items (id) values (-2); rollback to s; commit`,
  'begin; insert into items (id) values (-3); rollback',
  'begin; truncate items; insert into items (id, name) values (7, $$$$), (8, $$after$$); commit',
]

describe.each(cases)(
  '$name on PostgreSQL $major, replica identity $identity',
  ({ name, major, identity }) => {
    test('a map that applies its changes equals the table after every step', async ({ skip }) => {
      const db = await testDatabase({ major })
      skipUnlessInstalled(db, name, skip)
      await db.query(`create table items (id int primary key, name text, body text, price numeric, list int[], flag bool, at timestamptz);
      alter table items replica identity ${identity}; alter table items alter body set storage external;
      create table others (id int primary key); create publication p for table items, others; set timezone = 'UTC'`)
      const limits: DecoderLimits = decoders[name].limits
      const makeDecoder = await decoders[name].load()
      const decoder = makeDecoder<Relation>({ publication: 'p', relations: [await relationOf(db)] })
      const source = await openSlotSource(connectionsTo(db.url), systemRuntime, {
        decoder,
        logger: silentLogger,
      })
      afterTest(() => source.close())
      const [began] = await db.query<{ ms: number }>(
        'select extract(epoch from clock_timestamp()) * 1000 - 1 as ms',
      )
      const batches = source.batches(new AbortController().signal)[Symbol.asyncIterator]()
      const sink = new MapSink()
      for (const step of steps) {
        await db.query('insert into others select count(*) from others')
        await db.query(limits.truncate ? step : step.replace('truncate items', 'delete from items'))
        const [log] = await db.query<{ end: string }>('select pg_current_wal_flush_lsn() as end')
        while (sink.position < parseLsn(log!.end)) {
          const { value } = (await batches.next()) as { value: ChangeBatch<Relation> }
          while (value.deliver(sink, 7));
          source.confirm(sink.position)
        }
        const texts = 'id::text, name, body, price::text, list::text, flag::text, at::text'
        const rows = await db.query<Row>(
          `select ${texts.replace('flag::text', `left(flag::text, 1) as flag`)} from items order by items.id`,
        )
        assert.deepEqual(
          [...sink.rows.values()].toSorted((a, b) => Number(a['id']) - Number(b['id'])),
          rows,
        )
      }
      const [ended] = await db.query<{ ms: number }>(
        'select extract(epoch from clock_timestamp()) * 1000 as ms',
      )
      assert.ok(
        sink.commitTimesMs.every(ms => Number(began!.ms) <= ms && ms <= Number(ended!.ms)),
        'commits have the server’s time',
      )
      assert.deepEqual(
        sink.commits,
        sink.commits.toSorted((a, b) => (a < b ? -1 : 1)),
        'commits come in order',
      )
    })
  },
)
