import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { formatLsn, parseLsn } from '../../src/change/lsn.js'
import { ConnectionError, SetupError, SlotError } from '../../src/errors.js'
import { silentLogger } from '../../src/observe.js'
import { systemRuntime } from '../../src/runtime.js'
import { openSlotSource } from '../../src/source/slot-source.js'
import { notSent, RecordingSink, unchanged } from '../support/recording-sink.js'
import { type TestDatabase, testDatabase } from '../support/servers.js'
import { connectionsTo, decoder, openSource, Reader } from './reading.js'
import { shows } from '../support/shows.js'

const slotsOf = (db: TestDatabase) =>
  db.query('select slot_name from pg_replication_slots where database = current_database()')

describe.each([14, 18] as const)('PostgreSQL %i', major => {
  async function database(): Promise<TestDatabase> {
    const db = await testDatabase({ major })
    await db.query(`create table users (id int primary key, name text, bio text);
      alter table users alter bio set storage external;
      create publication p for table users`)
    return db
  }

  test('the exported snapshot has what the stream does not send, and nothing else', async () => {
    const db = await database()
    await db.query(`insert into users values (1, 'before', null)`)
    const source = await openSource(db.url)
    await db.query(`insert into users values (2, 'after', null)`)
    const reader = await db.connect()
    await reader.query('begin isolation level repeatable read')
    await reader.query(`set transaction snapshot '${source.start.snapshotName}'`)
    const { rows } = await reader.query('select id from users')
    assert.deepEqual(rows, [{ id: 1 }])
    await reader.query('commit')
    const changes = await new Reader(source).commits(1)
    assert.deepEqual(changes, [
      { kind: 'insert', table: 'users', row: { id: '2', name: 'after', bio: null } },
    ])
  })

  test('every kind of change arrives as the statements made it', async () => {
    const db = await database()
    const reader = new Reader(await openSource(db.url))
    await db.query(`insert into users values (1, 'Ada', repeat('x', 3000))`)
    await db.query(`update users set name = 'Grace'`)
    await db.query('update users set id = 2')
    const client = await db.connect()
    await client.query(`begin; insert into users values (3, 'kept', ''); savepoint s`)
    await client.query(
      `insert into users values (4, 'undone', ''); rollback to s; delete from users where id = 2; commit`,
    )
    await db.query('truncate users')
    const bio = 'x'.repeat(3000)
    assert.deepEqual(await reader.commits(5), [
      { kind: 'insert', table: 'users', row: { id: '1', name: 'Ada', bio } },
      {
        kind: 'update',
        table: 'users',
        old: null,
        oldIsFull: false,
        row: { id: '1', name: 'Grace', bio: unchanged },
      },
      {
        kind: 'update',
        table: 'users',
        old: { id: '1', name: notSent, bio: notSent },
        oldIsFull: false,
        row: { id: '2', name: 'Grace', bio: unchanged },
      },
      { kind: 'insert', table: 'users', row: { id: '3', name: 'kept', bio: '' } },
      { kind: 'delete', table: 'users', old: { id: '2', name: notSent, bio: notSent }, oldIsFull: false },
      { kind: 'truncate', tables: ['users'], cascade: false, restartIdentity: false },
    ])
  })

  test('a transaction larger than a socket’s chunks, with a row larger than the queue’s mark, arrives whole', async () => {
    const db = await database()
    const reader = new Reader(await openSource(db.url))
    await db.query(`insert into users select g, 'name ' || g, null from generate_series(1, 20000) g`)
    await db.query(`insert into users values (0, 'giant', repeat('g', 9 * 1024 * 1024))`)
    const changes = await reader.commits(2)
    assert.equal(changes.length, 20_001)
    changes.slice(0, -1).forEach((change, index) => {
      assert.ok(change.kind === 'insert')
      assert.deepEqual(change.row, { id: String(index + 1), name: `name ${index + 1}`, bio: null })
    })
    const giant = changes.at(-1)
    assert.ok(giant?.kind === 'insert' && giant.row['bio'] === 'g'.repeat(9 * 1024 * 1024))
  })

  test('what is confirmed reaches the slot, and what is merely received does not', async () => {
    const db = await database()
    const source = await openSource(db.url)
    const reader = new Reader(source)
    const confirmed = async (): Promise<Lsn> => {
      const [slot] = await db.query<{ lsn: string }>(
        'select confirmed_flush_lsn as lsn from pg_replication_slots where database = current_database()',
      )
      return parseLsn(slot!.lsn)
    }
    await db.query(`insert into users values (1, 'a', null)`)
    await reader.commits(1)
    const applied = reader.sink.position
    // The walsender reads our status when it wakes up: ask until it has.
    while ((await confirmed()) < applied);
    const slot = `select 1 from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid
      where s.database = current_database() and r.sent_lsn > $1`
    await db.query(`insert into users values (2, 'b', null)`)
    while ((await db.query(slot, [formatLsn(applied)])).length === 0);
    assert.equal(await confirmed(), applied)
  })

  test('a walsender that is ended ends the stream with one error, after what had arrived', async () => {
    shows('C1')
    const db = await database()
    const reader = new Reader(await openSource(db.url))
    await db.query(`insert into users values (1, 'a', null)`)
    await reader.commits(1)
    await db.query(
      `select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database()`,
    )
    await assert.rejects(
      () => reader.until(() => false),
      (error: unknown) => error instanceof ConnectionError && error.failure === 'lost' && error.transient,
    )
    // The server tells of the end before it has dropped the slot.
    while ((await slotsOf(db)).length > 0);
  })

  test('an abort while streaming rejects with its reason and leaves no slot', async () => {
    const db = await database()
    const reader = new Reader(await openSource(db.url))
    await db.query(`insert into users values (1, 'a', null)`)
    await reader.commits(1)
    const reason = new Error('enough')
    const waiting = reader.until(() => false)
    reader.abort.abort(reason)
    await assert.rejects(waiting, reason)
    await reader.source.close()
    assert.deepEqual(await slotsOf(db), [])
  })

  test('a close ends the iteration and leaves no slot', async () => {
    const db = await database()
    const source = await openSource(db.url)
    const iteration = (async () => {
      for await (const batch of source.batches(new AbortController().signal)) {
        while (batch.deliver(new RecordingSink(), 100));
      }
    })()
    await db.query(`insert into users values (1, 'a', null)`)
    await source.close()
    await iteration
    assert.deepEqual(await slotsOf(db), [])
  })

  test('an abort while the slot waits for a writer leaves no slot and no walsender', async () => {
    shows('C30')
    const db = await database()
    const writer = await db.connect()
    await writer.query(`begin; insert into users values (1, 'open', null)`)
    const abort = new AbortController()
    const opening = openSource(db.url, { signal: abort.signal })
    const walsenders = `select wait_event_type as waits from pg_stat_activity
      where datname = current_database() and backend_type = 'walsender'`
    while ((await db.query(walsenders))[0]?.['waits'] !== 'Lock');
    abort.abort(new Error('enough'))
    await assert.rejects(opening, /enough/)
    assert.deepEqual(await slotsOf(db), [])
    while ((await db.query(walsenders)).length > 0);
    await writer.query('rollback')
  })

  test('a slot that waits too long for writers says who they are', async () => {
    shows('C30')
    const db = await database()
    const writer = await db.connect()
    await writer.query(`begin; insert into users values (1, 'open', null)`)
    const { rows } = await writer.query<{ pid: number }>('select pg_backend_pid() as pid')
    const opening = openSlotSource(connectionsTo(db.url), systemRuntime, {
      decoder: decoder(),
      logger: silentLogger,
      lockTimeoutMs: 50,
    })
    await assert.rejects(opening, (error: unknown) => {
      return (
        error instanceof SlotError && error.transient && error.message.includes(`pid ${rows[0]!.pid} since`)
      )
    })
    await writer.query('rollback')
    assert.deepEqual(await slotsOf(db), [])
  })
})

test('a server too old is refused by name', async () => {
  const db = await testDatabase({ major: 13 })
  await assert.rejects(openSource(db.url), (error: unknown) => {
    return error instanceof SetupError && error.problems[0]?.kind === 'server-version'
  })
})
