import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type Benchmark, ROWS } from './support/benchmark.js'
import { runChild } from './support/child.js'
import { createPeople, digestInPostgres, openDatabase } from './support/database.js'
import { figuresOf } from './support/rounds.js'

const ROUNDS = 5
const RAW = 'COPY from a raw socket, dropped'
const SELECT = 'SELECT * through pg into a Map'
const WALCACHE = 'openCache, until it is loaded'
const SCRIPTS = new Map([
  [RAW, 'raw'],
  [SELECT, 'select'],
  [WALCACHE, 'open'],
])

/** What a process that has loaded the table says about it. */
export interface LoadResult {
  readonly elapsedMs: number
  /** Time of this process on a processor, all its threads. */
  readonly userMs: number
  /** Of what it holds then; absent if it keeps nothing. */
  readonly digest?: string
}

export const load: Benchmark = {
  name: 'load',
  question: 'how fast is the first load?',
  floor: 'a COPY of the table that is dropped as it comes. Each turn is a process of its own',
  async run(options) {
    const rows = options.rows ?? ROWS
    options.progress(`a PostgreSQL with ${rows.toLocaleString('en')} rows`)
    await using database = await openDatabase()
    await createPeople(database.pool, rows)
    const expected = await digestInPostgres(database.pool)
    const speeds = new Map<string, number[]>([...SCRIPTS.keys()].map(name => [name, []]))
    const processor = new Map<string, number[]>([...SCRIPTS.keys()].map(name => [name, []]))
    for (let round = 1; round <= (options.rounds ?? ROUNDS); round++) {
      for (const [name, script] of SCRIPTS) {
        options.progress(`round ${round}, ${name}`)
        const file = join(import.meta.dirname, 'loaders', `${script}.ts`)
        const { elapsedMs, userMs, digest } = await runChild<LoadResult>(file, database.url)
        assert.equal(digest ?? expected, expected, `what ${name} holds is what the table holds`)
        speeds.get(name)!.push((rows / elapsedMs) * 1000)
        processor.get(name)!.push((userMs * 1000) / rows)
      }
    }
    return [
      ...figuresOf(speeds, { unit: 'rows/s', better: 'more' }, [
        { what: RAW },
        { what: SELECT, against: RAW },
        { what: WALCACHE, against: RAW },
        { what: WALCACHE, against: SELECT, goal: '2, and >= 1,000,000 rows/s' },
      ]),
      ...figuresOf(processor, { unit: 'us/row', better: 'less' }, [
        { what: SELECT },
        { what: WALCACHE, against: SELECT },
      ]).map(figure => ({ ...figure, what: `${figure.what}: user CPU` })),
    ]
  },
}
