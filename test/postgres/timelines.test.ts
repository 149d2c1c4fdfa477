/** What a failover does to tokens: a server that leaves recovery goes on in another timeline of the same cluster. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Lsn } from '../../src/change/lsn.js'
import { TokenCodec } from '../../src/freshness/token.js'
import { defineTable, openCache, TokenLostError } from '../../src/index.js'
import { databaseOn, poolOf, until } from '../support/cache.js'
import { startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

const rows = defineTable<{ id: number }>({ name: 'rows' })

test('a token of the old timeline is good up to the parting and lost after it; one of the new is waited for', async () => {
  shows('C28')
  await using server = await startPostgres()
  const db = await databaseOn(server)
  await db.query('create table rows (id int primary key)')
  const pool = poolOf(db.url)
  await using cache = await openCache({ pool, entities: [rows] })
  const { token: kept } = await cache.write(client => client.query('insert into rows values (1)'))
  await cache.waitFor(kept)
  const codec = new TokenCodec([])
  const { systemId, lsn } = codec.decode(kept)

  await server.stop()
  writeFileSync(join(server.dataDirectory, 'standby.signal'), '')
  await server.start()
  await pool.query('select pg_promote()')
  await until(async () => {
    const { rows: found } = await pool.query<{ standby: boolean }>('select pg_is_in_recovery() as standby')
    return !found[0]!.standby
  }, 'the server is a primary again')

  const { token: young } = await cache.write(client => client.query('insert into rows values (2)'))
  expect(codec.decode(young).timeline).toBe(2)
  // This process may still read the old timeline: it waits until it has been loaded anew.
  await cache.waitFor(young, { timeoutMs: 20_000 })
  expect(cache.table(rows).local.size).toBe(2)

  await cache.waitFor(kept, { timeoutMs: 1 })
  const lost = codec.encode({ systemId, timeline: 1 }, (lsn + 2n ** 30n) as Lsn)
  await expect(cache.waitFor(lost)).rejects.toBeInstanceOf(TokenLostError)
  const read = cache.table(rows).findUnique({ where: { id: 1 }, after: lost })
  await expect(read).rejects.toBeInstanceOf(TokenLostError)
})
