/** What may happen to a group of rows while it is being read, and after that, step by step. */
import { describe, expect, test } from 'vitest'
import { FILL_RULES } from '../../src/apply/fill-rules.js'
import { UNCHANGED } from '../../src/change/change.js'
import { SnapshotMissError } from '../../src/errors.js'
import { evict, fillQueryInSnapshot } from '../../src/query/fill.js'
import { readFindMany } from '../../src/query/query.js'
import { shows } from '../support/shows.js'
import { open, row, tick } from './scripted-table.js'

type Scripted = ReturnType<typeof open>

/** A table that knows the group `seven`, of the rows 1 and 2. */
async function withSeven(): Promise<Scripted> {
  const table = open()
  const { answer } = await table.group('seven')
  await table.asked[0]!.reply({
    snapshot: '9:9:',
    position: 0x100,
    rows: [
      [5, '1', 'seven', 'big'],
      [5, '2', 'seven', 'big'],
    ],
  })
  expect(await answer).toEqual([row(1, 'seven'), row(2, 'seven')])
  expect(table.localGroup('seven')).toEqual([row(1, 'seven'), row(2, 'seven')])
  return table
}

describe('a group that is being read', () => {
  test('does not have a row that left it before, though the query still shows it there', async () => {
    shows('I9')
    for (const [merge, rows] of [
      [true, []],
      [false, [row(5, 'seven')]],
    ] as const) {
      const table = open({ ...FILL_RULES, merge })
      table.begin(10)
      table.update('5', 'nine', 'big')
      await table.commit(0x200)
      const seven = await table.group('seven')
      const old = { snapshot: '10:11:10', position: 0x200 }
      await table.asked[0]!.reply({ ...old, rows: [[5, '5', 'seven', 'big']] })
      expect(await seven.answer).toEqual(rows)
      const nine = await table.group('nine')
      await table.asked[1]!.reply(old)
      expect(await nine.answer).toEqual(merge ? [row(5, 'nine')] : [])
      expect(table.localGroup('seven')).toEqual(rows)
    }
  })

  test('has a row that enters it meanwhile, from wherever', async () => {
    for (const enter of [true, false]) {
      const table = open({ ...FILL_RULES, enter })
      const { answer } = await table.group('seven')
      table.begin(10)
      table.insert('3', 'seven', 'new')
      table.update('4', 'seven', 'from another')
      table.move('5', '6', 'seven', 'moved')
      await table.commit(0x200)
      await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x200 })
      const rows = [row(3, 'seven', 'new'), row(4, 'seven', 'from another'), row(6, 'seven', 'moved')]
      expect(await answer).toEqual(enter ? rows : [])
      expect(table.localGroup('seven')).toEqual(enter ? rows : [])
    }
  })

  test('asks again, with its key, for a row that enters it without its out-of-line value', async () => {
    const table = open()
    const { answer } = await table.group('seven')
    table.begin(10)
    table.update('4', 'seven', UNCHANGED)
    await table.commit(0x200)
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x200 })
    expect(table.localGroup('seven')).toBe('unknown')
    await table.runtime.advance(20)
    await tick()
    expect(table.asked[1]!.keys).toBe('{"seven"} {"4"}')
    await table.asked[1]!.reply({
      snapshot: '10:11:10',
      position: 0x200,
      rows: [[5, '4', 'other', 'BIG']],
    })
    expect(await answer).toEqual([row(4, 'seven', 'BIG')])
    expect(table.localGroup('seven')).toEqual([row(4, 'seven', 'BIG')])
  })

  test('is known and empty after a TRUNCATE', async () => {
    const table = open()
    const { answer } = await table.group('seven')
    await table.asked[0]!.reply({ snapshot: '11:12:11', position: 0x400, rows: [[10, '1', 'seven', 'big']] })
    table.begin(11)
    table.truncate()
    await table.commit(0x300)
    await table.keepalive(0x400)
    expect(await answer).toEqual([])
    expect(table.localGroup('seven')).toEqual([])
  })

  test('waits for the transaction in progress that has brought a row into it, or changes one of it', async () => {
    for (const change of [
      (table: Scripted) => table.insert('3', 'seven', 'new'),
      (table: Scripted) => table.remove('1'),
    ]) {
      const table = open()
      const { answer } = await table.group('seven')
      table.begin(10)
      change(table)
      await table.asked[0]!.reply({
        snapshot: '10:11:10',
        position: 0x100,
        rows: [[5, '1', 'seven', 'big']],
      })
      expect(table.localGroup('seven')).toBe('unknown')
      await table.commit(0x200)
      const rows = table.localGroup('seven')
      expect(rows).toHaveLength(change.toString().includes('insert') ? 2 : 0)
      expect(await answer).toEqual(rows)
    }
  })

  test('is not waited for where the transaction in progress changes other rows', async () => {
    const table = open()
    const { answer } = await table.group('seven')
    table.begin(10)
    table.update('9', 'nine', 'big')
    await table.asked[0]!.reply({ snapshot: '10:11:10', position: 0x100, rows: [[5, '1', 'seven', 'big']] })
    expect(await answer).toEqual([row(1, 'seven')])
  })

  test('is asked for once for all who want it, and left to PostgreSQL for a while if it is too large to be kept', async () => {
    const table = open()
    const both = [await table.group('seven'), await table.group('seven')]
    expect(table.asked).toHaveLength(1)
    const rows = Array.from({ length: 6 }, (_, i) => [5, String(i), 'seven', 'big'] as const)
    await table.asked[0]!.reply({ snapshot: '9:9:', position: 0x100, rows })
    for (const { answer } of both) expect(await answer).toBe('late')
    expect(table.filler.countsOf(table.live).tooLarge).toBe(1)
    expect(await (await table.group('seven')).answer).toBe('late')
    expect(table.asked).toHaveLength(1)
  })
})

describe('a known group', () => {
  test('is never shown without a row that moves into it from where nothing was known', async () => {
    shows('I8')
    const table = await withSeven()
    table.begin(10)
    table.update('5', 'seven', 'whole')
    expect(table.localGroup('seven')).toHaveLength(2)
    await table.commit(0x200)
    expect(table.localGroup('seven')).toEqual([row(1, 'seven'), row(2, 'seven'), row(5, 'seven', 'whole')])
    table.begin(11)
    table.update('6', 'seven', UNCHANGED)
    expect(table.localGroup('seven')).toHaveLength(3)
    await table.commit(0x300)
    expect(table.localGroup('seven')).toBe('unknown')
  })

  test('is known again when the transaction that made it unknown is cut off', async () => {
    const table = await withSeven()
    table.begin(10)
    table.update('6', 'seven', UNCHANGED)
    table.insert('7', 'seven', 'never')
    await table.cutOff()
    expect(table.localGroup('seven')).toEqual([row(1, 'seven'), row(2, 'seven')])
    expect(table.local(7)).toBe('unknown')
  })

  test('follows its rows: those that leave it, go, come back under another key', async () => {
    const table = await withSeven()
    table.begin(10)
    table.update('1', 'eight', 'big')
    table.move('2', '22', 'seven', UNCHANGED)
    await table.commit(0x200)
    expect(table.localGroup('seven')).toEqual([row(22, 'seven')])
    table.begin(11)
    table.remove('22')
    await table.commit(0x300)
    expect(table.localGroup('seven')).toEqual([])
    table.begin(12)
    table.truncate()
    table.insert('30', 'seven', 'after')
    await table.commit(0x400)
    expect(table.localGroup('seven')).toEqual([row(30, 'seven', 'after')])
  })

  test('is unknown as soon as one of its rows is forgotten', async () => {
    const table = await withSeven()
    evict(table.live, 2)
    expect(table.localGroup('seven')).toBe('unknown')
    expect(table.local(1)).toEqual(row(1, 'seven'))
  })
})

describe('a snapshot', () => {
  const read = async (table: Scripted, snapshot: ReturnType<Scripted['store']['snapshot']>, val: string) => {
    const query = readFindMany(table.live.mapping, { where: { val } })
    const answer = fillQueryInSnapshot(table.live, snapshot, query).catch((error: unknown) => error)
    await tick()
    return { answer }
  }

  test('gets a group that was not in memory if no row can have left it since', async () => {
    const table = open()
    const snapshot = table.store.snapshot()
    table.begin(10)
    table.insert('3', 'seven', 'new')
    await table.commit(0x200)
    const { answer } = await read(table, snapshot, 'seven')
    await table.asked[0]!.reply({
      snapshot: '11:11:',
      position: 0x200,
      rows: [
        [5, '1', 'seven', 'big'],
        [10, '3', 'seven', 'new'],
      ],
    })
    expect(await answer).toEqual([row(1, 'seven')])
    expect(table.localGroup('seven')).toHaveLength(2)
    snapshot.release()
  })

  test('misses it by name if an unknown row was changed since, which may have been in it', async () => {
    const table = open()
    const snapshot = table.store.snapshot()
    table.begin(10)
    table.update('4', 'eight', 'big')
    await table.commit(0x200)
    const { answer } = await read(table, snapshot, 'seven')
    await table.asked[0]!.reply({ snapshot: '11:11:', position: 0x200, rows: [[5, '1', 'seven', 'big']] })
    expect(await answer).toBeInstanceOf(SnapshotMissError)
    expect(table.localGroup('seven')).toEqual([row(1, 'seven')])
    snapshot.release()
  })

  test('gets it as it was if what left it since was told whole, and has what it held', async () => {
    const table = open()
    const snapshot = table.store.snapshot()
    table.begin(10)
    table.updateFull(['4', 'seven', 'four'], '4', 'eight', 'four')
    table.removeFull('5', 'seven', 'five')
    table.updateFull(['6', 'seven', 'six'], '60', 'seven', 'six')
    table.updateFull(['7', 'eight', 'was eight'], '7', 'seven', 'is seven')
    await table.commit(0x200)
    const { answer } = await read(table, snapshot, 'seven')
    await table.asked[0]!.reply({
      snapshot: '11:11:',
      position: 0x200,
      rows: [
        [5, '1', 'seven', 'big'],
        [10, '60', 'seven', 'six'],
        [10, '7', 'seven', 'is seven'],
      ],
    })
    const then = [row(1, 'seven'), row(4, 'seven', 'four'), row(5, 'seven', 'five'), row(6, 'seven', 'six')]
    const rows = (await answer) as typeof then
    expect(rows.toSorted((a, b) => a.id - b.id)).toEqual(then)
    expect(table.localGroup('seven', snapshot.seq)).toEqual(then)
    expect(table.localGroup('seven')).toEqual([
      row(1, 'seven'),
      row(7, 'seven', 'is seven'),
      row(60, 'seven', 'six'),
    ])
    snapshot.release()
  })

  test('goes on to see a group whose rows were forgotten, and nobody else does', async () => {
    const table = await withSeven()
    const snapshot = table.store.snapshot()
    table.begin(10)
    table.update('1', 'eight', 'big')
    await table.commit(0x200)
    evict(table.live, 2)
    expect(table.localGroup('seven', snapshot.seq)).toEqual([row(1, 'seven'), row(2, 'seven')])
    expect(table.localGroup('seven')).toBe('unknown')
    snapshot.release()
    while (table.store.maintain(100));
    expect(table.localGroup('seven')).toBe('unknown')
  })
})
