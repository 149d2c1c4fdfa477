import type { LocalFindMany, LocalReads, Whole } from '../../src/index.js'
import type { Random } from '../random.js'
import { type QueryColumn, randomAlternatives, randomCondition, type TwoConditions } from './columns.js'
import { SLUG } from './queried-table.js'

export type Row = Record<string, unknown>

/** Rows, or how many there are. */
export type Answer = number | readonly Row[]

/** One question in two languages. */
export interface RandomQuery {
  readonly sql: string
  readonly parameters: unknown[]
  readonly query: LocalFindMany<Row> & Whole
  readonly counts: boolean
  /** Whether it asks for an order that leaves nothing open. */
  readonly sorted: boolean
  readonly ask: (local: LocalReads<Row>) => Answer
}

/** What is asked about. */
export interface Queried {
  readonly name: string
  readonly columns: readonly QueryColumn[]
  /** The columns of each index whose values memory compares. */
  readonly indexes: readonly (readonly QueryColumn[])[]
}

/** The row with one value of the unique column. */
function byUniqueKey(random: Random, name: string): RandomQuery {
  const key = { [SLUG]: `s${random.below(400)}` }
  return {
    sql: `select * from ${name} where ${SLUG} = $1`,
    parameters: [key[SLUG]],
    query: { where: key },
    counts: false,
    sorted: false,
    ask: local => {
      const row = local.get(key)
      return row === undefined ? [] : [row]
    },
  }
}

export function randomQuery(random: Random, queried: Queried): RandomQuery {
  const { name, columns } = queried
  if (random.chance(0.15)) return byUniqueKey(random, name)
  const condition = randomWhere(random, queried)
  const parameters: unknown[] = []
  const where = `where ${condition.sql(parameters)}`
  if (random.chance(0.2))
    return {
      sql: `select count(*) from ${name} ${where}`,
      parameters,
      query: { where: condition.where },
      counts: true,
      sorted: true,
      ask: local => local.count({ where: condition.where }),
    }
  const sorted = random.chance(0.7)
  const { orderBy, orderSql } = randomOrder(random, columns)
  const limits = sorted && random.chance(0.6) ? { skip: random.below(5), take: random.below(12) } : undefined
  const selected = random.chance(0.2) ? ['id', random.pick(columns.slice(1)).name] : undefined
  // Selecting columns by chance is beyond what the types say.
  const query = {
    where: condition.where,
    ...(sorted && { orderBy }),
    ...limits,
    ...(selected && { select: Object.fromEntries(selected.map(each => [each, true])) }),
  } as object as LocalFindMany<Row> & Whole
  const sql = [
    `select ${selected?.map(each => `"${each}"`).join(', ') ?? '*'} from ${name} ${where}`,
    sorted ? orderSql : '',
    limits === undefined ? '' : `limit ${limits.take} offset ${limits.skip}`,
  ].join(' ')
  return { sql, parameters, query, counts: false, sorted, ask: local => local.findMany(query) }
}

/** Now and then conditions that indexes serve: those of all columns at random rarely are. */
function randomWhere(random: Random, { indexes, columns }: Queried): TwoConditions {
  if (indexes.length > 0 && random.chance(0.2)) return randomAlternatives(random, indexes)
  return randomCondition(random, columns)
}

function randomOrder(
  random: Random,
  columns: readonly QueryColumn[],
): { orderBy: object[]; orderSql: string } {
  const sortable = columns.slice(1).filter(({ type }) => !type.equalityOnly)
  const names = [...random.sample(sortable, random.below(3)).map(({ name }) => name), 'id']
  const orders = names.map(name => {
    const sort = random.pick(['asc', 'desc'] as const)
    const nulls = random.chance(0.15) ? random.pick(['first', 'last'] as const) : undefined
    return {
      orderBy: { [name]: nulls === undefined ? sort : { sort, nulls } },
      sql: `"${name}" ${sort}${nulls === undefined ? '' : ` nulls ${nulls}`}`,
    }
  })
  return {
    orderBy: orders.map(order => order.orderBy),
    orderSql: `order by ${orders.map(({ sql }) => sql).join(', ')}`,
  }
}
