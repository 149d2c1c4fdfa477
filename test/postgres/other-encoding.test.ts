/** A database that does not write UTF-8, read over a pool that has one client: rows, keys and orders are PostgreSQL's all the same. */
import pg from 'pg'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { defineTable, openCache } from '../../src/index.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'

interface Word {
  readonly id: string
  readonly text: string
}

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres()
  const admin = new pg.Client({ connectionString: server.url })
  await admin.connect()
  await admin.query(
    `create database windows encoding 'WIN1252' lc_collate 'C' lc_ctype 'C' template template0`,
  )
  await admin.end()
})
afterAll(() => server[Symbol.asyncDispose]())

test.each([
  { what: 'a whole table', keep: {} },
  { what: 'a bounded table', keep: { keep: { maxRows: 10 } } },
])(
  '$what',
  async ({ keep }) => {
    const words = defineTable<Word>({ name: 'words', indexes: [['text']], ...keep })
    const url = new URL(server.url)
    url.pathname = '/windows'
    const pool = new pg.Pool({ connectionString: url.href, max: 1 })
    onTestFinished(() => pool.end())
    await pool.query('drop table if exists words; create table words (id text primary key, text text)')
    // The euro sign is one byte there, below those of the letters; as a code point, and in UTF-8, it is above them.
    await pool.query(`insert into words values ('é', 'élan'), ('€', '€ 5'), ('ü', 'über')`)
    await using cache = await openCache({ pool, entities: [words] })
    const table = cache.table(words)
    expect(await table.findUnique({ where: { id: '€' } })).toEqual({ id: '€', text: '€ 5' })
    expect(await table.findMany({ where: { text: 'über' } })).toEqual([{ id: 'ü', text: 'über' }])
    const inOrder = (await table.findMany({ orderBy: { id: 'asc' } })).map(({ id }) => id)
    expect(inOrder).toEqual(['€', 'é', 'ü'])
    expect(await table.count({ where: { id: { gt: '€' } } })).toBe(2)
    // The pool has no other client while a transaction has this one.
    const { result, token } = await cache.write(async client => {
      await client.query(`update words set text = 'œuvre' where id = 'é'`)
      return table.findUnique({ where: { id: '€' }, maxStaleness: 0 })
    })
    expect(result).toEqual({ id: '€', text: '€ 5' })
    expect(await table.findUnique({ where: { id: 'é' }, after: token })).toEqual({ id: 'é', text: 'œuvre' })
    expect((await cache.verify()).mismatched).toBe(0)
  },
  60_000,
)
