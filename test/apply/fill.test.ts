/** What may happen between a query and the change stream, step by step: each of these gave wrong rows to a simpler way of filling a cache. */
import { describe, expect, test } from 'vitest'
import { FILL_RULES, type FillRules } from '../../src/apply/fill-rules.js'
import type { Lsn } from '../../src/change/lsn.js'
import { SqlSnapshot } from '../../src/change/sql-snapshot.js'
import { UNCHANGED } from '../../src/change/change.js'
import { ConnectionError, DatabaseReadError, SnapshotMissError } from '../../src/errors.js'
import { evict, fillByKey, fillInSnapshot } from '../../src/query/fill.js'
import { lookUp } from '../../src/query/live.js'
import { shows } from '../support/shows.js'
import { open, row, tick } from './scripted-table.js'

/** The promise inside an object, so that an async function does not wait for it. */
const begun = async (table: ReturnType<typeof open>, id: number, fresh = false) => {
  const reading = table.missing(id, fresh)
  const answer = reading.then(
    found => (found === undefined ? 'late' : found.row),
    (error: unknown) => error,
  )
  await tick()
  return { answer }
}

describe('a fill', () => {
  test('gives what a commit made of the row that the stream brought before any query could see it', async () => {
    shows('I1')
    const wrong: Partial<FillRules>[] = [{ logFrom: 'miss' }, { merge: false }]
    for (const [rules, val] of [[{}, 'new'], ...wrong.map(rule => [rule, 'old'])] as const) {
      const table = open({ ...FILL_RULES, ...(rules as Partial<FillRules>) })
      table.begin(10)
      table.update('1', 'new', 'big')
      await table.commit(0x200)
      const { answer } = await begun(table, 1)
      await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x200, rows: [[5, '1', 'old', 'big']] })
      expect(await answer).toEqual(row(1, val as string))
      expect(table.local(1)).toEqual(row(1, val as string))
    }
  })

  test('is not misled by a later commit that the query does see', async () => {
    shows('I2')
    for (const [rules, val] of [
      [FILL_RULES, 'new'],
      [{ ...FILL_RULES, sees: (reply, entry) => entry.end <= reply.position } satisfies FillRules, 'old'],
    ] as const) {
      const table = open(rules)
      table.begin(10)
      table.update('1', 'new', 'big')
      await table.commit(0x200)
      table.begin(11)
      table.update('2', 'seen', 'big')
      await table.commit(0x300)
      const one = await begun(table, 1)
      await table.asked[0]!.reply({ snapshot: '10:12:10', position: 0x300, rows: [[5, '1', 'old', 'big']] })
      expect(await one.answer).toEqual(row(1, val))
      const two = await begun(table, 2)
      await table.asked[1]!.reply({ snapshot: '10:12:10', position: 0x300, rows: [[11, '2', 'seen', 'big']] })
      expect(await two.answer).toEqual(row(2, 'seen'))
    }
  })

  test('waits for the commit that the query saw, and then shows it together with all it did', async () => {
    shows('I3')
    const table = open()
    const first = await begun(table, 2)
    await table.asked[0]!.reply({ snapshot: '9:9:', position: 0x100, rows: [[5, '2', 'old', 'big']] })
    expect(await first.answer).toEqual(row(2, 'old'))
    const { answer } = await begun(table, 1)
    await table.asked[1]!.reply({ snapshot: '11:11:', position: 0x200, rows: [[10, '1', 'new', 'big']] })
    expect([table.local(1), table.local(2)]).toEqual(['unknown', row(2, 'old')])
    await table.runtime.advance(20)
    expect(table.nudges()).toBe(1)
    table.begin(10)
    table.update('1', 'new', 'big')
    table.update('2', 'new', 'big')
    expect([table.local(1), table.local(2)]).toEqual(['unknown', row(2, 'old')])
    await table.commit(0x200)
    expect(await answer).toEqual(row(1, 'new'))
    expect([table.local(1), table.local(2)]).toEqual([row(1, 'new'), row(2, 'new')])
    const hasty = open({ ...FILL_RULES, wait: false })
    await begun(hasty, 1)
    await hasty.asked[0]!.reply({ snapshot: '11:11:', position: 0x200, rows: [[10, '1', 'new', 'big']] })
    expect(hasty.local(1)).toEqual(row(1, 'new'))
  })

  test('does not wait for a row whose last writer is shown to have been published', async () => {
    const table = open()
    table.filler.confirm(SqlSnapshot.parse('8:8:'), 0x100n as Lsn)
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({ snapshot: '11:11:', position: 0x900, rows: [[7, '1', 'old', 'big']] })
    expect(await answer).toEqual(row(1, 'old'))
    expect(table.local(1)).toEqual(row(1, 'old'))
    expect(table.filler.countsOf(table.live).fast).toBe(1)
  })

  test('forgets what a crashed server showed and never wrote: its position is not reached before the stream is lost', async () => {
    shows('I4')
    const table = open()
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({ snapshot: '11:11:', position: 0x300, rows: [[10, '1', 'phantom', 'big']] })
    table.filler.end()
    expect(await answer).toBe('late')
    expect(table.local(1)).toBe('unknown')
    expect(table.log.size).toBe(0)
  })

  test('completes the row of one writer by that of the next, which left its TOASTed value alone', async () => {
    shows('I5')
    const table = open()
    const { answer } = await begun(table, 1)
    table.begin(10)
    table.update('1', 'first', 'BIG')
    await table.commit(0x200)
    table.begin(11)
    table.update('1', 'second', UNCHANGED)
    await table.commit(0x300)
    await table.asked[0]!.reply({ snapshot: '11:12:11', position: 0x200, rows: [[10, '1', 'first', 'BIG']] })
    expect(await answer).toEqual(row(1, 'second', 'BIG'))
    expect(table.local(1)).toEqual(row(1, 'second', 'BIG'))
  })

  test('a TRUNCATE that comes between the answer and its commit leaves a key that is known to be absent', async () => {
    shows('I6')
    const table = open()
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({ snapshot: '11:12:11', position: 0x400, rows: [[10, '1', 'old', 'big']] })
    table.begin(11)
    table.truncate()
    await table.commit(0x300)
    await table.keepalive(0x400)
    expect(await answer).toBeNull()
    expect(table.local(1)).toBeUndefined()
    expect(table.local(7)).toBeUndefined()
  })

  test('asks for the old key as well when the row under the new one lacks a value', async () => {
    shows('I7')
    const table = open()
    table.begin(10)
    table.move('1', '2', 'moved', UNCHANGED)
    await table.commit(0x200)
    const { answer } = await begun(table, 2)
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x200 })
    expect(table.local(2)).toBe('unknown')
    await table.runtime.advance(20)
    await tick()
    expect(table.asked[1]!.keys).toBe('{"2","1"}')
    await table.asked[1]!.reply({ snapshot: '10:11:10', position: 0x200, rows: [[5, '1', 'old', 'BIG']] })
    expect(await answer).toEqual(row(2, 'moved', 'BIG'))
    expect([table.local(1), table.local(2)]).toEqual([undefined, row(2, 'moved', 'BIG')])
  })

  test('that would have to ask again ends, and counts no more, where a fresh read has taken its place', async () => {
    const table = open()
    table.begin(10)
    table.move('1', '2', 'moved', UNCHANGED)
    await table.commit(0x200)
    const first = await begun(table, 2)
    const fresh = await begun(table, 2, true)
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x200 })
    await table.asked[1]!.reply({ snapshot: '11:11:', position: 0x200, rows: [[10, '2', 'moved', 'BIG']] })
    expect(await fresh.answer).toEqual(row(2, 'moved', 'BIG'))
    await table.runtime.advance(20)
    expect(table.filler.underWay).toBe(0)
    expect(await first.answer).toBe('late')
  })

  test('asks again for an inserted row that came with a hole', async () => {
    shows('I22')
    const table = open()
    table.begin(10)
    table.insert('3', 'came into the filter', UNCHANGED)
    await table.commit(0x200)
    const { answer } = await begun(table, 3)
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x200 })
    await table.runtime.advance(20)
    await tick()
    await table.asked[1]!.reply({
      snapshot: '11:11:',
      position: 0x200,
      rows: [[10, '3', 'came into the filter', 'BIG']],
    })
    expect(await answer).toEqual(row(3, 'came into the filter', 'BIG'))
  })

  test('answers who asked, and keeps nothing, for a key that was evicted meanwhile', async () => {
    shows('I10')
    const table = open()
    const { answer } = await begun(table, 1)
    expect(evict(table.live, 1)).toBe(false)
    await table.asked[0]!.reply({ snapshot: '9:9:', position: 0x100, rows: [[5, '1', 'old', 'big']] })
    expect(await answer).toEqual(row(1, 'old'))
    expect(table.local(1)).toBe('unknown')
    const second = await begun(table, 1)
    await table.asked[1]!.reply({ snapshot: '9:9:', position: 0x100, rows: [[5, '1', 'old', 'big']] })
    await second.answer
    table.begin(10)
    table.update('1', 'new', 'big')
    await table.commit(0x200)
    expect(table.local(1)).toEqual(row(1, 'new'))
  })

  test('tells commits apart that became visible in another order than they were written in', async () => {
    shows('I11')
    const table = open()
    table.begin(10)
    table.update('1', 'first', 'big')
    await table.commit(0x200)
    table.begin(11)
    table.update('2', 'second', 'big')
    await table.commit(0x300)
    const [one, two] = [begun(table, 1), begun(table, 2)]
    const answers = await Promise.all([one, two])
    expect(table.asked).toHaveLength(1)
    await table.asked[0]!.reply({
      snapshot: '10:12:10',
      position: 0x300,
      rows: [
        [5, '1', 'old', 'big'],
        [11, '2', 'second', 'big'],
      ],
    })
    expect([await answers[0].answer, await answers[1].answer]).toEqual([row(1, 'first'), row(2, 'second')])
  })

  test('refuses a standby, which shows running transactions as committed', async () => {
    shows('I15')
    const table = open()
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({
      snapshot: '11:11:',
      position: 0,
      rows: [[5, '1', 'x', 'y']],
      recovering: true,
    })
    expect(await answer).toBeInstanceOf(ConnectionError)
    expect(table.local(1)).toBe('unknown')
  })

  test('keeps nothing of another server, or of one that was restarted', async () => {
    const table = open()
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({
      snapshot: '9:9:',
      position: 0,
      rows: [[5, '1', 'x', 'y']],
      started: 'again',
    })
    expect(await answer).toBe('late')
    expect(table.local(1)).toBe('unknown')
  })

  test('fails by name, and leaves nothing half known, when its query does', async () => {
    const table = open()
    const { answer } = await begun(table, 1)
    await table.asked[0]!.fail(Object.assign(new Error('no'), { code: '57014' }))
    expect(await answer).toBeInstanceOf(DatabaseReadError)
    expect(table.local(1)).toBe('unknown')
    expect(table.filler.underWay).toBe(0)
    const again = await begun(table, 1)
    await table.asked[1]!.reply({ snapshot: '9:9:', position: 0x100 })
    expect(await again.answer).toBeNull()
  })

  test('is held back from a key that the transaction in progress has passed, and gives up waiting in time', async () => {
    const table = open()
    table.begin(10)
    table.update('1', 'giant', 'big')
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({ snapshot: '9:11:10', position: 0x100, rows: [[5, '1', 'old', 'big']] })
    expect(table.local(1)).toBe('unknown')
    await table.runtime.advance(100)
    expect(await answer).toBe('late')
    await table.commit(0x200)
    expect(table.local(1)).toEqual(row(1, 'giant'))
  })

  test('goes on when the transaction in progress is cut off', async () => {
    const table = open()
    table.begin(10)
    table.update('1', 'never', 'big')
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({ snapshot: '9:11:10', position: 0x100, rows: [[5, '1', 'old', 'big']] })
    await table.cutOff()
    expect(await answer).toEqual(row(1, 'old'))
    expect(table.local(1)).toEqual(row(1, 'old'))
  })

  test('answers a fresh read at once, with the commits that memory has shown', async () => {
    const table = open()
    table.begin(10)
    table.update('1', 'limbo', 'big')
    await table.commit(0x200)
    const { answer } = await begun(table, 1, true)
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x900, rows: [[5, '1', 'old', 'big']] })
    expect(await answer).toEqual(row(1, 'limbo'))
    expect(table.local(1)).toBe('unknown')
    await table.keepalive(0x900)
    expect(table.local(1)).toEqual(row(1, 'limbo'))
  })

  test('takes no answer of a query that sees less than the snapshot of the load did', async () => {
    // Transaction 10 was written before the slot's position, so the stream does not bring it, and waits for a standby.
    const table = open(FILL_RULES, '11:11:')
    const { answer } = await begun(table, 1)
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x100, rows: [[5, '1', 'old', 'big']] })
    expect(table.local(1)).toBe('unknown')
    await table.runtime.advance(20)
    await tick()
    await table.asked[1]!.reply({ snapshot: '11:11:', position: 0x100, rows: [[10, '1', 'new', 'big']] })
    expect(await answer).toEqual(row(1, 'new'))
    expect(SqlSnapshot.parse('10:10:').includes(SqlSnapshot.parse('9:12:9,10'))).toBe(false)
    expect(SqlSnapshot.parse('12:12:').includes(SqlSnapshot.parse('9:12:9,10'))).toBe(true)
  })

  test('one signal gives one reader up, and the others get their answer', async () => {
    const table = open()
    const controller = new AbortController()
    const given = fillByKey(table.live, { id: 1 }, false, controller.signal).catch((error: unknown) => error)
    const { answer } = await begun(table, 1)
    controller.abort(new Error('enough'))
    expect(await given).toEqual(new Error('enough'))
    await table.asked[0]!.reply({ snapshot: '9:9:', position: 0x100, rows: [[5, '1', 'old', 'big']] })
    expect(await answer).toEqual(row(1, 'old'))
  })
})

describe('a snapshot over a bounded table', () => {
  test('does not take the emptiness that a later TRUNCATE left for its own', async () => {
    const table = open()
    const first = table.store.snapshot()
    table.begin(10)
    table.update('1', 'new', 'big')
    await table.commit(0x200)
    const second = table.store.snapshot()
    const reading = fillInSnapshot(table.live, second, { id: 1 }).catch((error: unknown) => error)
    await tick()
    table.begin(11)
    table.truncate()
    await table.commit(0x300)
    await table.asked[0]!.reply({ snapshot: '12:12:', position: 0x300 })
    expect(await reading).toBeInstanceOf(SnapshotMissError)
    expect(table.local(1)).toBeUndefined()
    second.release()
    first.release()
  })

  test('gets a row that was not in memory if nothing has changed it since, and a miss by name otherwise', async () => {
    shows('I28')
    const table = open()
    const snapshot = table.store.snapshot()
    table.begin(10)
    table.update('1', 'new', 'big')
    table.insert('3', 'new', 'big')
    await table.commit(0x200)
    const read = async (id: number): Promise<unknown> => {
      const reading = fillInSnapshot(table.live, snapshot, { id }).catch((error: unknown) => error)
      await tick()
      await table.asked.at(-1)!.reply({
        snapshot: '11:11:',
        position: 0x200,
        rows:
          id === 1
            ? [[10, '1', 'new', 'big']]
            : id === 2
              ? [[5, '2', 'same', 'big']]
              : [[10, '3', 'new', 'big']],
      })
      return reading
    }
    expect(await read(1)).toBeInstanceOf(SnapshotMissError)
    expect(await read(2)).toEqual(row(2, 'same'))
    // That there was no row before its insert is known.
    expect(lookUp(table.live, 3, snapshot.seq)).toBeUndefined()
    expect([table.local(1), table.local(2)]).toEqual([row(1, 'new'), row(2, 'same')])
    snapshot.release()
  })
})
