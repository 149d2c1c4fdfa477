import assert from 'node:assert/strict'
import pg from 'pg'
import { openCache } from '../src/index.js'
import type { Benchmark, Figure } from './support/benchmark.js'
import { createPeople, openDatabase, people } from './support/database.js'
import { figuresOf, type Measured } from './support/rounds.js'

const ROUNDS = 10
const COMMITS = 300
const ROWS = 10_000
const CHANNEL = 'people_changed'
const NOTIFY = 'NOTIFY'
const WALCACHE = 'walcache'

export const latency: Benchmark = {
  name: 'latency',
  question: 'how long after the reply to a commit is the commit visible?',
  floor: `NOTIFY in the same transaction, received by LISTEN. One commit at a time, ${COMMITS} a turn, on a server that syncs to disk`,
  async run(options) {
    options.progress(`a PostgreSQL with fsync, ${ROWS.toLocaleString('en')} rows`)
    await using database = await openDatabase({ fsync: 'on' })
    const { pool } = database
    await createPeople(pool, options.rows ?? ROWS)
    await using cache = await openCache({ pool, entities: [people] })
    const client = await pool.connect()
    const listener = new pg.Client({ connectionString: database.url })
    await listener.connect()
    await listener.query(`listen ${CHANNEL}`)
    try {
      options.progress('committing')
      let age = 1_000
      const table = cache.table(people)
      const ended = new AbortController()
      const changes = table.changes({ signal: ended.signal })

      const byStream = async (): Promise<number> => {
        const next = changes.next()
        await client.query('update people set age = $1 where id = 1', [++age])
        const replied = performance.now()
        await next
        const visible = performance.now()
        assert.equal(table.local.get(1)?.age, age, 'the change that arrived is visible')
        return visible - replied
      }
      const byNotify = async (): Promise<number> => {
        const next = new Promise<number>(resolve =>
          listener.once('notification', ({ payload }) => resolve(Number(payload))),
        )
        await client.query(
          `begin; update people set age = ${++age} where id = 2; select pg_notify('${CHANNEL}', '${age}'); commit`,
        )
        const replied = performance.now()
        assert.equal(await next, age)
        const received = performance.now()
        // The cache sees this commit as well: its next turn must not take it for its own.
        await changes.next()
        return received - replied
      }
      const subjects = [
        [NOTIFY, byNotify],
        [WALCACHE, byStream],
      ] as const
      const turns = new Map<string, number[][]>([NOTIFY, WALCACHE].map(name => [name, []]))
      // The first round does not count.
      for (let round = 0; round <= (options.rounds ?? ROUNDS); round++) {
        for (const [name, once] of subjects) {
          const delays: number[] = []
          for (let commit = 0; commit < COMMITS; commit++) delays.push(Math.max(0, await once()))
          if (round > 0) turns.get(name)!.push(delays.toSorted((x, y) => x - y))
        }
      }
      ended.abort()
      return figures(turns)
    } finally {
      client.release()
      await listener.end()
    }
  },
}

function figures(turns: ReadonlyMap<string, readonly (readonly number[])[]>): Figure[] {
  const at = (share: number): Measured =>
    new Map(
      [...turns].map(([name, each]) => [
        name,
        each.map(delays => delays[Math.floor(delays.length * share)]!),
      ]),
    )
  const named = (what: string, share: number, goal: string) =>
    figuresOf(at(share), { unit: 'ms', better: 'less' }, [
      { what: NOTIFY },
      { what: WALCACHE, against: NOTIFY, goal },
    ]).map(figure => ({ ...figure, what: `${figure.what}: ${what}` }))
  return [...named('p50', 0.5, '<= 0.3 ms'), ...named('p99', 0.99, '<= 3 ms')]
}
