import type { AnyWhere } from '../../src/index.js'
import type { Random } from '../random.js'

/** A column type as the query scenario uses it: a few values that meet often, oddities among them. */
export interface QueryColumnType {
  readonly sql: string
  /** As `pg` takes them for parameters. */
  readonly values: readonly unknown[]
  readonly text?: boolean
  /** Whether memory compares its values. */
  readonly local: boolean
  /** jsonb and the like are compared for equality only. */
  readonly equalityOnly?: boolean
  /** No two rows have the same value. */
  readonly unique?: boolean
}

const TEXTS = [
  '',
  'a',
  'A',
  'aa',
  'ab',
  'a%b',
  'a_b',
  'a\\b',
  'é',
  'z',
  'Ångström',
  '漢字',
  '🦭',
  'common beginning 1',
  'common beginning 2',
  ' b',
  'b ',
]
const INSTANTS = [
  '2024-11-03T05:30:00Z',
  '2024-11-03T06:30:00Z',
  '2024-11-03T06:30:00.000001Z',
  '2024-03-10T07:00:00+00',
  '1969-12-31T23:59:59.999999Z',
  '0001-01-01T12:00:00+00',
  'infinity',
  '-infinity',
  '9999-12-31T23:59:59.999999Z',
  new Date(1_730_615_400_000),
]

const local = (sql: string, values: readonly unknown[]): QueryColumnType => ({ sql, values, local: true })
const text = (sql: string, values: readonly unknown[]): QueryColumnType => ({
  ...local(sql, values),
  text: true,
})
const remote = (sql: string, values: readonly unknown[], equalityOnly = false): QueryColumnType => ({
  sql,
  values,
  local: false,
  equalityOnly,
})

export const queryColumnTypes: readonly QueryColumnType[] = [
  local('smallint', [-32768, -1, 0, 1, 2, 32767]),
  local('integer', [-2147483648, -10, -9, 0, 9, 10, 100, 2147483647]),
  local('bigint', [
    '-9223372036854775808',
    '-1',
    0,
    1n,
    '9007199254740992',
    '9007199254740993',
    '9223372036854775807',
  ]),
  local('oid', [0, 1, 4294967295]),
  local('numeric', [
    'NaN',
    'Infinity',
    '-Infinity',
    '0',
    '0.00',
    '-0.5',
    '1',
    '1.0',
    '1.00',
    '10',
    '9.99',
    '123456789012345678901234567890.5',
    '123456789012345678901234567890.6',
    -2,
  ]),
  local('numeric(8,2)', ['NaN', '0', '-0.5', '1.5', '1.50', 10, '9.99']),
  local('real', ['NaN', 'Infinity', '-Infinity', 0, '-0', 1.1, 0.1, '1.5', 3e38, '1e-45']),
  local('double precision', [
    'NaN',
    'Infinity',
    '-Infinity',
    0,
    '-0',
    0.1,
    '0.30000000000000004',
    1e21,
    1.7976931348623157e308,
    -5e-324,
  ]),
  local('boolean', [true, false]),
  text('text', TEXTS),
  text('text collate "POSIX"', TEXTS),
  text('varchar(20)', TEXTS),
  text('name', TEXTS),
  text('char(20)', TEXTS),
  text('text collate "und-x-icu"', TEXTS),
  local('citext', ['', 'a', 'A', 'aB', 'Ab', 'b', 'é', 'É']),
  local('uuid', [
    '00000000-0000-0000-0000-000000000000',
    'ffffffff-ffff-ffff-ffff-ffffffffffff',
    '12345678-9ABC-def0-1234-56789abcdef0',
    '12345678-9abc-def0-1234-56789abcdef1',
  ]),
  local('bytea', [
    Buffer.alloc(0),
    Buffer.from([0]),
    Buffer.from([0, 255]),
    Buffer.from('some longer bytes 1'),
    Buffer.from('some longer bytes 2'),
  ]),
  local('query_mood', ['sad', 'so-so', 'ok', 'happy']),
  local('date', ['infinity', '-infinity', '2024-02-29', '1969-12-31', '0001-01-01', '9999-12-31']),
  local('time', ['00:00:00', '23:59:59.999999', '12:34:56', '12:34:56.5', '12:34:56.50']),
  local('timestamp', [...INSTANTS, '2024-01-01 10:00:00', '2024-01-01 10:00']),
  local('timestamptz', INSTANTS),
  local('timestamptz(3)', INSTANTS),
  remote('text collate query_folding', ['a', 'A', 'b']),
  remote('timetz', ['12:00:00+00', '13:00:00+01', '12:00:00+05:30']),
  remote('interval', ['1 day', '24 hours', '1 month', '30 days']),
  remote('jsonb', ['1', '1.0', '{"a": 1, "b": 2}', '{"b": 2, "a": 1}', 'null'], true),
  remote('integer[]', ['{1,2}', '[2:3]={1,2}', '{}']),
  remote('inet', ['10.0.0.1', '10.0.0.1/32', '::1']),
]

/** Values that are stored and never asked for: memory keeps them, and has to order them. */
export const STORED_ONLY: Readonly<Record<string, readonly unknown[]>> = {
  date: ['4713-01-01 BC', '5874897-12-31', '10000-01-01'],
  time: ['24:00:00'],
  timestamp: ['4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999', '10000-01-01 00:00:00'],
  timestamptz: ['4713-01-02 00:00:00+00 BC', '294276-12-31 23:59:59.999999+00', '1880-01-01 00:00:00+00'],
}

export interface QueryColumn {
  readonly name: string
  readonly type: QueryColumnType
}

/** A condition in two languages: for the cache, and for PostgreSQL. */
export interface TwoConditions {
  readonly where: AnyWhere
  /** Adds its values to `parameters`. */
  readonly sql: (parameters: unknown[]) => string
}

export function randomCondition(random: Random, columns: readonly QueryColumn[], depth = 0): TwoConditions {
  const kind = random.weighted({ column: 6, and: 2, or: depth < 3 ? 1.5 : 0, not: depth < 3 ? 1 : 0 })
  if (kind === 'column') return columnCondition(random, random.pick(columns))
  if (kind === 'not') {
    const of = randomCondition(random, columns, depth + 1)
    return { where: { NOT: of.where }, sql: parameters => `not (${of.sql(parameters)})` }
  }
  const parts = Array.from({ length: random.below(4) }, () => randomCondition(random, columns, depth + 1))
  return joined(kind, parts)
}

/** An OR of which each alternative names all columns of an index by values: one that indexes can find. */
export function randomAlternatives(
  random: Random,
  indexes: readonly (readonly QueryColumn[])[],
): TwoConditions {
  const alternatives = Array.from({ length: random.between(2, 4) }, () =>
    joined(
      'and',
      random.pick(indexes).map(column => valueCondition(random, column)),
    ),
  )
  return joined('or', alternatives)
}

function valueCondition(random: Random, { name, type }: QueryColumn): TwoConditions {
  const values = Array.from({ length: random.between(1, 3) }, () => random.pick(type.values))
  return {
    where: { [name]: { in: values } } as AnyWhere,
    sql: parameters => `"${name}" in (${values.map(value => `$${parameters.push(value)}`).join(', ')})`,
  }
}

function joined(kind: 'and' | 'or', parts: readonly TwoConditions[]): TwoConditions {
  const name = kind === 'and' ? 'AND' : 'OR'
  return {
    where: { [name]: parts.map(({ where }) => where) },
    sql: parameters =>
      parts.length === 0
        ? String(kind === 'and')
        : parts.map(({ sql }) => `(${sql(parameters)})`).join(` ${kind} `),
  }
}

function columnCondition(random: Random, { name, type }: QueryColumn): TwoConditions {
  const { filter, sql } = randomFilter(random, type, 0)
  return { where: { [name]: filter } as AnyWhere, sql: parameters => sql(`"${name}"`, parameters) }
}

interface TwoFilters {
  readonly filter: unknown
  readonly sql: (column: string, parameters: unknown[]) => string
}

const OPERATORS = { lt: '<', lte: '<=', gt: '>', gte: '>=' } as const

function randomFilter(random: Random, type: QueryColumnType, depth: number): TwoFilters {
  const compare = (filter: (value: unknown) => unknown, op: string): TwoFilters => {
    const value = random.pick(type.values)
    return {
      filter: filter(value),
      sql: (column, parameters) => `${column} ${op} $${parameters.push(value)}`,
    }
  }
  const ranges = type.equalityOnly ? 0 : 3
  const kind = random.weighted({
    value: 4,
    equals: 1,
    range: ranges,
    between: ranges,
    null: 0.5,
    in: 2,
    not: depth < 2 ? 1 : 0,
    text: type.text ? 2 : 0,
  })
  switch (kind) {
    case 'value':
      return compare(value => value, '=')
    case 'equals':
      return compare(value => ({ equals: value }), '=')
    case 'range': {
      const operator = random.pick(Object.keys(OPERATORS) as (keyof typeof OPERATORS)[])
      return compare(value => ({ [operator]: value }), OPERATORS[operator])
    }
    case 'between': {
      const low = compare(value => ({ [random.chance(0.5) ? 'gte' : 'gte']: value }), '>=')
      const high = compare(value => ({ lt: value }), '<')
      return {
        filter: { ...(low.filter as object), ...(high.filter as object) },
        sql: (column, parameters) => `(${low.sql(column, parameters)} and ${high.sql(column, parameters)})`,
      }
    }
    case 'null':
      return random.chance(0.5)
        ? { filter: null, sql: column => `${column} is null` }
        : { filter: { not: null }, sql: column => `${column} is not null` }
    case 'in': {
      const values = Array.from({ length: random.below(4) }, () => random.pick(type.values))
      const isIn = random.chance(0.7)
      return {
        filter: { [isIn ? 'in' : 'notIn']: values },
        sql: (column, parameters) =>
          values.length === 0
            ? String(!isIn)
            : `${column} ${isIn ? '' : 'not '}in (${values.map(value => `$${parameters.push(value)}`).join(', ')})`,
      }
    }
    case 'not': {
      const of = randomFilter(random, type, depth + 1)
      return { filter: { not: of.filter }, sql: (column, parameters) => notSql(of, column, parameters) }
    }
    case 'text': {
      const operator = random.pick(['startsWith', 'endsWith', 'contains'] as const)
      const part = String(random.pick(type.values)).slice(0, random.between(1, 20))
      const escaped = part.replaceAll(/[!%_]/g, '!$&')
      const pattern = `${operator === 'startsWith' ? '' : '%'}${escaped}${operator === 'endsWith' ? '' : '%'}`
      // Half of a pair is no text.
      if (/[\ud800-\udfff]/u.test(part)) return compare(value => value, '=')
      return {
        filter: { [operator]: part },
        sql: (column, parameters) => `${column} like $${parameters.push(pattern)} escape '!'`,
      }
    }
  }
}

function notSql(of: TwoFilters, column: string, parameters: unknown[]): string {
  return of.filter === null ? `${column} is not null` : `not (${of.sql(column, parameters)})`
}
