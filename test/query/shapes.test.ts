import { beforeEach, describe, expect, test } from 'vitest'
import { liveTable } from '../../src/cache/live-table.js'
import type { Lsn } from '../../src/change/lsn.js'
import { NotLocalError, QueryError } from '../../src/errors.js'
import type { LiveTable } from '../../src/query/live.js'
import { readFindMany } from '../../src/query/query.js'
import { Store } from '../../src/store/store.js'
import { mappingOf, typed } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'

const INT4 = 23
const FLOAT8 = 701
const TEXT_OID = 25

/** Rows are id, team, score (a float), name. */
const ROWS: readonly (readonly (string | null)[])[] = [
  ['1', '7', 'NaN', 'ada'],
  ['2', '7', 'Infinity', 'grace'],
  ['3', '7', '1.7976931348623157e+308', 'edsger'],
  ['4', '7', 'NaN', 'barbara'],
  ['5', '8', '1', 'ada'],
  ['6', '8', null, 'alan'],
  ['7', null, '-1', 'naïve'],
  ['8', '9', '0', ''],
]

let live: LiveTable

beforeEach(() => {
  const plain = mappingOf('people', ['id', 'team', 'score', 'name'], ['id'])
  const mapping = { ...typed(plain, [INT4, INT4, FLOAT8, TEXT_OID]), indexes: [[1, 2, 3], [3], [2]] }
  const store = new Store({ limitBytes: 2 ** 26, tableLimitBytes: 2 ** 26, hashSeed: 1 })
  live = liveTable(store, mapping)
  const seq = store.begin()
  for (const row of ROWS) live.table.load(tupleOf(...row), seq)
  store.publish(0x100n as Lsn)
})

function ids(query: object): number[] {
  const rows = live.finder.findMany(query, live.store.visible) as { id: number }[]
  const read = live.finder.findChecked(readFindMany(live.mapping, query), live.store.visible)
  expect(rows).toEqual(read)
  return rows.map(({ id }) => id)
}

const sorted = (query: object): number[] => ids(query).sort((a, b) => a - b)

describe('queries of one shape', () => {
  test('differ in nothing but their values', () => {
    for (let round = 0; round < 3; round++) {
      expect(sorted({ where: { name: 'ada' } })).toEqual([1, 5])
      expect(sorted({ where: { name: 'naïve' } })).toEqual([7])
      expect(sorted({ where: { name: '' } })).toEqual([8])
      expect(sorted({ where: { name: 'x'.repeat(500) } })).toEqual([])
      expect(sorted({ where: { team: 7 } })).toEqual([1, 2, 3, 4])
      expect(sorted({ where: { team: '8' } })).toEqual([5, 6])
      expect(sorted({ where: { team: null } })).toEqual([7])
      expect(sorted({ where: { team: { not: null } } })).toEqual([1, 2, 3, 4, 5, 6, 8])
      expect(sorted({ where: { id: { in: [1, 5] } } })).toEqual([1, 5])
      expect(sorted({ where: { id: { in: [5, 1, 5] } } })).toEqual([1, 5])
      expect(sorted({ where: { id: { in: [] } } })).toEqual([])
      expect(sorted({ where: { team: { in: [9, 8] }, NOT: { name: 'ada' } } })).toEqual([6, 8])
      expect(sorted({ where: { team: { in: [7, 8] }, NOT: { name: 'alan' } } })).toEqual([1, 2, 3, 4, 5])
      expect(sorted({ where: { OR: [{ id: 2 }, { name: { startsWith: 'a' } }] } })).toEqual([1, 2, 5, 6])
      expect(sorted({ where: { OR: [{ id: 3 }, { name: { startsWith: 'g' } }] } })).toEqual([2, 3])
      expect(sorted({ where: { team: { gt: 7, lte: 9 } } })).toEqual([5, 6, 8])
      expect(sorted({ where: { team: { gt: 6, lte: 8 } } })).toEqual([1, 2, 3, 4, 5, 6])
    }
  })

  test('may skip and take as many rows as each likes', () => {
    const page = (skip: number, take: number): object => ({ orderBy: { id: 'desc' }, skip, take })
    expect(ids(page(0, 2))).toEqual([8, 7])
    expect(ids(page(1, 3))).toEqual([7, 6, 5])
    expect(ids(page(7, 3))).toEqual([1])
    expect(ids(page(9, 3))).toEqual([])
    expect(ids(page(0, 0))).toEqual([])
  })

  test('are each refused for their own values', () => {
    const find = (where: object): unknown => live.finder.findMany({ where }, live.store.visible)
    expect(find({ id: 1 })).toHaveLength(1)
    expect(() => find({ id: 'one' })).toThrow(QueryError)
    expect(() => find({ id: '0x1' })).toThrow(NotLocalError)
    expect(() => find({ id: undefined })).toThrow(QueryError)
    expect(() => find({ id: Symbol('1') })).toThrow(QueryError)
    expect(find({ name: { startsWith: 'a' } })).toHaveLength(3)
    expect(() => find({ name: { startsWith: 1 } })).toThrow(QueryError)
    expect(() => find({ name: { startsWith: 'a\0' } })).toThrow(QueryError)
    expect(() => find({ name: { startsWith: '\ud83d' } })).toThrow(NotLocalError)
    expect(find({ name: 'ada' })).toHaveLength(2)
    expect(() => find({ name: 'ada\0' })).toThrow(QueryError)
    expect(() => find({ name: new Date(Number.NaN) })).toThrow(QueryError)
    expect(find({ id: 2 })).toHaveLength(1)
  })

  test('are not spoilt by one that changes while it is read, or that asks another meanwhile', () => {
    let looks = 0
    const shifty = {
      get where() {
        return looks++ % 2 === 0 ? { team: 8, name: 'ada' } : { name: 'alan', team: 8 }
      },
    }
    for (let i = 0; i < 4; i++) expect(live.finder.findMany(shifty, live.store.visible)).toHaveLength(1)
    expect(sorted({ where: { team: 8, name: 'ada' } })).toEqual([5])
    expect(sorted({ where: { name: 'alan', team: 8 } })).toEqual([6])
    const nested = {
      where: {
        get team() {
          sorted({ where: { team: 9 } })
          return 8
        },
      },
    }
    for (let i = 0; i < 3; i++) expect(live.finder.findMany(nested, live.store.visible)).toHaveLength(2)
    expect(sorted({ where: { team: 8 } })).toEqual([5, 6])
  })

  test('count and find first alike', () => {
    for (const [team, count, first] of [
      [7, 4, 1],
      [8, 2, 5],
      [70, 0, undefined],
    ] as const) {
      expect(live.finder.count({ where: { team } }, live.store.visible)).toBe(count)
      const row = live.finder.findFirst({ where: { team }, orderBy: { id: 'asc' } }, live.store.visible)
      expect((row as { id: number } | null)?.id).toBe(first)
    }
  })
})

describe('rows read in the order of an index', () => {
  // NaN, Infinity and the largest number have one number in the index, where what comes behind it in the index tells nothing of their order.
  test('are sorted where their first numbers hide a difference', () => {
    const orderBy = [{ score: 'desc' }, { name: 'desc' }]
    expect(ids({ where: { team: 7 }, orderBy, take: 9 })).toEqual([4, 1, 2, 3])
    expect(ids({ where: { team: 7 }, orderBy, take: 3 })).toEqual([4, 1, 2])
    const ascending = [{ score: 'asc' }, { name: 'asc' }, { id: 'asc' }]
    expect(ids({ where: { team: 7 }, orderBy: ascending, take: 9 })).toEqual([3, 2, 1, 4])
    expect(ids({ orderBy: { score: 'asc' }, take: 4 })).toEqual([7, 8, 5, 3])
    const explained = live.finder.explain(
      readFindMany(live.mapping, { where: { team: 7 }, orderBy }),
      live.store.visible,
    )
    expect(explained).toMatchObject({ plan: 'ordered index', rowsLookedAt: 4 })
  })
})
