import pg from 'pg'
import type { Random } from '../random.js'
import { type QueryColumn, queryColumnTypes, STORED_ONLY } from './columns.js'

/** How many rows a table has at first, and after a TRUNCATE. */
export const ROWS = 200

const ID = { sql: 'integer', values: [1, 2, 5, 50, 100, 150, 199, 230, 260], local: true }

/** A unique key beside the primary one. Its values are `s` and a number. */
export const SLUG = 'slug'
const SLUGS: QueryColumn = {
  name: SLUG,
  type: {
    sql: 'text',
    values: ['s1', 's2', 's50', 's100', 's150', 's199', 's230', 's260', 's1000', 'none'],
    text: true,
    local: true,
    unique: true,
  },
}

/** A key, a unique column and some of random types; at times one that memory does not compare. */
export function randomColumns(random: Random): readonly QueryColumn[] {
  const types = random.sample(
    queryColumnTypes.filter(({ local }) => local),
    random.between(3, 6),
  )
  if (random.chance(0.5)) types.push(random.pick(queryColumnTypes.filter(({ local }) => !local)))
  return [{ name: 'id', type: ID }, SLUGS, ...types.map((type, i) => ({ name: `c${i}`, type }))]
}

/** A table of PostgreSQL's, and who writes it. */
export class QueriedTable implements AsyncDisposable {
  readonly name: string
  readonly columns: readonly QueryColumn[]
  readonly #writer: pg.Client
  #nextId = 1
  #nextSlug = 1

  private constructor(name: string, columns: readonly QueryColumn[], writer: pg.Client) {
    this.name = name
    this.columns = columns
    this.#writer = writer
  }

  static async create(
    config: pg.ClientConfig,
    name: string,
    columns: readonly QueryColumn[],
  ): Promise<QueriedTable> {
    const writer = new pg.Client(config)
    await writer.connect()
    const list = columns
      .slice(1)
      .map(({ name: column, type }) => `"${column}" ${type.sql}${type.unique === true ? ' unique' : ''}`)
    await writer.query(`create table ${name} (id integer primary key, ${list.join(', ')})`)
    return new QueriedTable(name, columns, writer)
  }

  /** As many rows as a table has at first. */
  async fill(random: Random): Promise<void> {
    await this.#insert(random, ROWS)
  }

  /** A transaction of some changes, which may be rolled back. */
  async commit(random: Random): Promise<void> {
    await this.#writer.query('begin')
    for (let i = random.between(1, 12); i > 0; i--) await this.#change(random)
    await this.#writer.query(random.chance(0.1) ? 'rollback' : 'commit')
  }

  /** Other rows take the place of all that were there. Waits for whoever reads the table. */
  async replaceAll(random: Random): Promise<void> {
    await this.#writer.query(`begin; truncate ${this.name}`)
    await this.fill(random)
    await this.#writer.query('commit')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.query(`drop table ${this.name}`)
    await this.#writer.end()
  }

  async #change(random: Random): Promise<void> {
    const kind = random.weighted({ insert: 4, update: 6, delete: 3, move: 1, swap: 1 })
    const id = `(select id from ${this.name} offset ${random.below(ROWS)} limit 1)`
    const column = random.pick(this.columns.slice(1))
    switch (kind) {
      case 'insert':
        await this.#insert(random, 1)
        break
      case 'update':
        await this.#writer.query(`update ${this.name} set "${column.name}" = $1 where id = ${id}`, [
          this.#valueOf(column, random),
        ])
        break
      case 'delete':
        await this.#writer.query(`delete from ${this.name} where id = ${id}`)
        break
      case 'swap': {
        // A unique value goes from one row to another in one transaction.
        const { rows } = await this.#writer.query<{ id: number; slug: string | null }>(
          `select id, ${SLUG} from ${this.name} order by id offset ${random.below(ROWS)} limit 2`,
        )
        if (rows.length < 2) break
        const [one, other] = rows as [(typeof rows)[0], (typeof rows)[0]]
        const set = `update ${this.name} set ${SLUG} = $1 where id = $2`
        await this.#writer.query(set, [null, one.id])
        await this.#writer.query(set, [one.slug, other.id])
        await this.#writer.query(set, [other.slug, one.id])
        break
      }
      case 'move':
        await this.#writer.query(`update ${this.name} set id = $1 where id = ${id}`, [this.#nextId++])
        break
    }
  }

  /** Rows in one statement: hundreds of ways to the server and back would take longer than all queries. */
  async #insert(random: Random, rows: number): Promise<void> {
    const values: unknown[] = []
    const lists = Array.from({ length: rows }, () => {
      const one = [this.#nextId++, ...this.columns.slice(1).map(column => this.#valueOf(column, random))]
      return `(${one.map(value => `$${values.push(value)}`).join(', ')})`
    })
    await this.#writer.query(`insert into ${this.name} values ${lists.join(', ')}`, values)
  }

  #valueOf(column: QueryColumn, random: Random): unknown {
    if (column.type.unique !== true) return randomValue(column, random)
    return random.chance(0.15) ? null : `s${this.#nextSlug++}`
  }
}

function randomValue({ type }: QueryColumn, random: Random): unknown {
  if (random.chance(0.15)) return null
  const odd = STORED_ONLY[type.sql]
  return odd !== undefined && random.chance(0.1) ? random.pick(odd) : random.pick(type.values)
}
