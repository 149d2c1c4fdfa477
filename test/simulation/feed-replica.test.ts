import { LSN_ZERO } from '../../src/change/lsn.js'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { FeedReplica } from '../../simulation/feed-replica.js'
import { simulatedTables } from '../../simulation/tables.js'
import type { RowChange, TableChange } from '../../src/index.js'

const items = simulatedTables.find(table => table.name === 'items')!
type Shown = Record<string, unknown>
type Commit = Pick<RowChange<Shown>, 'lsn' | 'position' | 'last'>

const commit = (lsn: number, last = true): Commit => ({
  lsn: BigInt(lsn) as Commit['lsn'],
  position: '',
  last,
})
const insert = (row: Shown, at: Commit): TableChange<Shown> => ({
  kind: 'insert',
  key: { id: row['id'] },
  old: null,
  new: row,
  ...at,
})
const update = (old: Shown, row: Shown, at: Commit): TableChange<Shown> => ({
  kind: 'update',
  key: { id: old['id'] },
  old,
  new: row,
  ...at,
})

/** What the table holds when it is read again. */
const read: Shown[] = [{ id: 7, title: 'read' }]

async function replicaOf(...changes: TableChange<Shown>[]): Promise<FeedReplica> {
  async function* told() {
    yield* changes
  }
  const replica = new FeedReplica(items, told(), () => read)
  await nextTurn()
  return replica
}

describe('a replica of a change feed', () => {
  test('holds what the changes leave', async () => {
    const replica = await replicaOf(
      insert({ id: 1, title: 'a' }, commit(1, false)),
      insert({ id: 2, title: 'b' }, commit(1)),
      update({ id: 1, title: 'a' }, { id: 3, title: 'c' }, commit(2)),
      { kind: 'delete', key: { id: 2 }, old: { id: 2, title: 'b' }, new: null, ...commit(3) },
    )
    expect([...replica.rows()]).toEqual([{ id: 3, title: 'c' }])
    expect(replica.get({ id: 3 })).toEqual({ id: 3, title: 'c' })
    expect(replica.get({ id: 1 })).toBeUndefined()
  })

  test('is empty after a TRUNCATE', async () => {
    const replica = await replicaOf(insert({ id: 1 }, commit(1)), { kind: 'truncate', ...commit(2) })
    expect(replica.size).toBe(0)
  })

  test('reads the table again after a reload, and takes what it is told twice until it is settled', async () => {
    const changes = [
      insert({ id: 1 }, commit(1)),
      { kind: 'gap', reason: 'reload', position: '', lsn: LSN_ZERO } as const,
      insert({ id: 7, title: 'told again' }, commit(2)),
      update({ id: 7, title: 'told again' }, { id: 7, title: 'read' }, commit(3)),
    ]
    const replica = await replicaOf(...changes)
    expect([...replica.rows()]).toEqual(read)
  })

  const contradictions: Record<string, TableChange<Shown>[]> = {
    'an old row that was told otherwise': [
      insert({ id: 1, title: 'a' }, commit(1)),
      update({ id: 1, title: 'b' }, { id: 1, title: 'c' }, commit(2)),
    ],
    'an old row that was never told': [update({ id: 1 }, { id: 1, title: 'c' }, commit(1))],
    'a row in the place of another': [insert({ id: 1 }, commit(1)), insert({ id: 1 }, commit(2))],
    'a commit that comes after a later one': [insert({ id: 1 }, commit(2)), insert({ id: 2 }, commit(1))],
    'a commit told in two pieces': [insert({ id: 1 }, commit(1)), insert({ id: 2 }, commit(1))],
    'a commit that begins before the last one ended': [
      insert({ id: 1 }, commit(1, false)),
      insert({ id: 2 }, commit(2)),
    ],
    'a gap that came of being slow': [{ kind: 'gap', reason: 'slow reader', position: '', lsn: LSN_ZERO }],
  }
  test.each(Object.entries(contradictions))('can not be read after %s', async (_, changes) => {
    const replica = await replicaOf(...changes)
    expect(() => replica.size).toThrow("can't be followed")
    expect(() => replica.rows()).toThrow("can't be followed")
    expect(() => replica.get({ id: 1 })).toThrow("can't be followed")
  })
})
