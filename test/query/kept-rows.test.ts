import { describe, expect, test } from 'vitest'
import { amongKept } from '../../src/mapping/table-filter.js'
import type { MappedColumn, TableMapping } from '../../src/mapping/mapping.js'
import { keptRows } from '../../src/query/kept-rows.js'
import { mappingOf } from '../support/table.js'
import { tupleOf } from '../support/tuple.js'

const plain = mappingOf('docs', ['id', 'state', 'body'], ['id'])

/** The mapping with something else known of the column `state`. */
const withState = (more: Partial<MappedColumn>): TableMapping => ({
  ...plain,
  columns: plain.columns.map(column => (column.property === 'state' ? { ...column, ...more } : column)),
})

describe('the filter of a table', () => {
  test('says the same in SQL and here', () => {
    const filter = keptRows(plain, {
      id: { gte: 3 },
      OR: [{ state: null }, { state: { not: `it's \\ "so"` } }],
    })
    if (typeof filter === 'string') throw new Error(filter)
    expect(filter.sql).toBe(
      `((t."id" >= '3') AND ((t."state" IS NULL) OR (NOT (t."state" =  E'it''s \\\\ "so"'))))`,
    )
    expect(filter.columns).toEqual([0, 1])
    const matches = (id: string, state: string | null): boolean => filter.matches(tupleOf(id, state, null))
    expect([matches('3', null), matches('3', 'a'), matches('10', `it's \\ "so"`), matches('2', 'a')]).toEqual(
      [true, true, false, false],
    )
    expect(amongKept(filter, 'a OR b')).toBe(`(a OR b) AND ${filter.sql}`)
    expect(amongKept(null, 'a OR b')).toBe('a OR b')
  })

  test.each<[what: string, mapping: TableMapping, where: object, why: RegExp]>([
    [
      'an unknown property',
      plain,
      { nothing: 1 },
      /^its where means nothing: where\.nothing: the table has no such property/,
    ],
    ['undefined', plain, { state: undefined }, /^its where means nothing: where\.state: it is undefined/],
    ['an impossible value', plain, { id: 'x' }, /^its where/],
    [
      'the order of a collation',
      withState({ codePointOrder: false }),
      { state: { gt: 'a' } },
      /state: only PostgreSQL knows the order of texts/,
    ],
    [
      'a nondeterministic collation',
      withState({ deterministic: false }),
      { state: 'a' },
      /state: its collation takes different texts for equal/,
    ],
    [
      'json',
      withState({ baseTypeOid: 114, typeOid: 114 }),
      { state: 'a' },
      /state: values of this type are compared by PostgreSQL only/,
    ],
    [
      "the order of an enum's labels",
      withState({ typeKind: 'e', baseTypeOid: 30_000, enumLabels: ['a', 'b'] }),
      { state: { lt: 'b' } },
      /^its where goes by the order of state's labels/,
    ],
  ])('refuses what can not be decided here: %s', (_, mapping, where, why) => {
    expect(keptRows(mapping, where)).toMatch(why)
  })

  test('lets what a collation does not change through, and the labels of an enum', () => {
    expect(typeof keptRows(withState({ codePointOrder: false }), { state: { in: ['a', 'b'] } })).toBe(
      'object',
    )
    const mood = withState({ typeKind: 'e', baseTypeOid: 30_000, enumLabels: ['a', 'b'] })
    expect(typeof keptRows(mood, { state: { in: ['a', 'b'] } })).toBe('object')
  })
})
