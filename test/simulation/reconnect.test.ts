import { afterAll, beforeAll, expect, test } from 'vitest'
import { runReconnect } from '../../simulation/reconnect.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'

// Of its own, since it is crashed; commits must outlive that.
let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({ settings: { fsync: 'on' } })
})
afterAll(() => server[Symbol.asyncDispose]())

const slots = [{ durable: true, name: 'walcache_reconnect' }, { temporary: true }] as const

test.each(slots)(
  'with a slot %j, kills and crashes lose nothing and double nothing',
  async slot => {
    const result = await runReconnect({ server, seed: 1, slot, kills: 5, crashes: 2 })
    expect(result).toMatchObject({ kills: 5, crashes: 2, lost: 0, doubled: 0, differing: 0, wrong: 0 })
    expect(result.commits).toBeGreaterThan(7)
    expect(result.reads).toBeGreaterThan(0)
    if ('durable' in slot) expect(result.loads).toBe(1)
    else expect(result.loads).toBeGreaterThan(7)
  },
  120_000,
)
