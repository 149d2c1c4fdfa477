/** A declared filter means the same to PostgreSQL, with its values as literals, and to the predicate that the stream is told by. */
import pg from 'pg'
import { expect, test } from 'vitest'
import { Random } from '../../simulation/random.js'
import { TupleView } from '../../src/change/change.js'
import { decoders } from '../../src/decode/index.js'
import { readCatalog } from '../../src/mapping/catalog.js'
import { defineTable } from '../../src/mapping/define-table.js'
import type { TableMapping } from '../../src/mapping/mapping.js'
import { declaredTables, resolveMappings } from '../../src/mapping/registry.js'
import { selectList, tupleOfRow } from '../../src/mapping/text-row.js'
import { keptRows } from '../../src/query/kept-rows.js'
import { queryConnection } from '../support/query-connection.js'
import { seed } from '../support/seed.js'
import { testDatabase } from '../support/servers.js'

/** Types, and texts of some of their values: what literals and comparisons trip over among them. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  int4: ['0', '-1', '9', '10', '2147483647'],
  int8: ['0', '9', '10', '-9223372036854775808'],
  'numeric(10,2)': ['0', '1.00', '1.10', '-0.01', '9.99', 'NaN'],
  float8: ['0', '-0', '1e300', 'NaN', 'Infinity', '-Infinity', '0.1'],
  bool: ['t', 'f'],
  uuid: ['00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
  'text collate "C"': [
    '',
    'a',
    'B',
    "it's",
    '\\',
    `\\'; --`,
    '$1',
    '"',
    'naïve',
    '%',
    'a_b',
    '{a,b}',
    '\u{1f600}',
  ],
  text: ['', 'a', 'B', 'naïve'],
  'char(5)': ['', 'a', 'ab', 'a b'],
  bytea: ['\\x', '\\x00ff', '\\x5c27'],
  date: ['2024-02-29', '0001-01-01', 'infinity', '-infinity', '0044-03-15 BC'],
  timestamp: ['2024-02-29 12:00:00', '2024-02-29 12:00:00.000001', 'infinity'],
  timestamptz: ['2024-02-29 12:00:00+00', '2024-02-29 13:00:00.5+00', '-infinity'],
  mood: ['sad', "it's ok", 'so\\so'],
}
const TYPES = Object.keys(VALUES)
const OPERATORS = ['equals', 'not', 'lt', 'lte', 'gt', 'gte', 'startsWith', 'endsWith', 'contains'] as const
const LISTS = ['in', 'notIn'] as const

function randomWhere(random: Random, depth = 0): object {
  if (depth < 2 && random.chance(0.3)) {
    const parts = Array.from({ length: random.between(0, 3) }, () => randomWhere(random, depth + 1))
    return { [random.pick(['AND', 'OR', 'NOT'])]: parts }
  }
  const column = random.below(TYPES.length)
  const value = (): string => random.pick(VALUES[TYPES[column]!]!)
  const property = `v${column}`
  if (random.chance(0.1)) return { [property]: random.pick([null, { not: null }]) }
  if (random.chance(0.3))
    return { [property]: { [random.pick(LISTS)]: Array.from({ length: random.between(0, 3) }, value) } }
  return { [property]: { [random.pick(OPERATORS)]: value() } }
}

test('a filter lets in the same rows here as in PostgreSQL', async () => {
  const db = await testDatabase()
  await db.query(`create type mood as enum ('sad', 'it''s ok', 'so\\so')`)
  await db.query(
    `create table things (id int primary key, ${TYPES.map((type, i) => `v${i} ${type}`).join(', ')})`,
  )
  const random = new Random(seed)
  for (let id = 0; id < 60; id++)
    await db.query(`insert into things values ($1, ${TYPES.map((_, i) => `$${i + 2}`).join(', ')})`, [
      id,
      ...TYPES.map(type => (random.chance(0.2) ? null : random.pick(VALUES[type]!))),
    ])
  const connection = await queryConnection(db.url)
  const things = defineTable({ name: 'things' })
  const catalog = await readCatalog(connection, declaredTables([things]))
  const { mappings } = resolveMappings([things], catalog, {
    decoder: decoders.pgoutput.limits,
    parserFor: oid => pg.types.getTypeParser(oid, 'text') as (text: string) => unknown,
    filterFor: keptRows,
  })
  const mapping: TableMapping = mappings[0]!
  const view = new TupleView()
  const select = `SELECT ${selectList(mapping)} FROM things AS t`
  const rows = await connection.query(`${select} ORDER BY id`)
  let told = 0
  for (let attempt = 0; attempt < 800; attempt++) {
    const where = randomWhere(random)
    const filter = keptRows(mapping, where)
    if (typeof filter === 'string') continue
    told++
    const here = rows
      .filter(row => filter.matches(tupleOfRow(mapping.columns.length, row, view)))
      .map(({ c0 }) => c0)
    const there = await connection.query(`${select} WHERE ${filter.sql} ORDER BY id`)
    expect(here, `where ${JSON.stringify(where)}`).toEqual(there.map(({ c0 }) => c0))
  }
  expect(told).toBeGreaterThan(250)
  await connection.close()
})
