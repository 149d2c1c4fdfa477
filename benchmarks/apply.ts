import assert from 'node:assert/strict'
import { join } from 'node:path'
import type pg from 'pg'
import type { DrainResult } from './drain/meter.js'
import { type Benchmark, type Figure, ROWS } from './support/benchmark.js'
import { runChild } from './support/child.js'
import { createPeople, digestInPostgres, insertPeople, openDatabase } from './support/database.js'
import { figuresOf, type Measured } from './support/rounds.js'

const ROUNDS = 5
const ROWS_PER_COMMIT = 1_000
const PUBLICATION = 'people_benchmark'
const RAW = 'raw socket, nothing decoded'
const WALCACHE = 'walcache'
const PLUGIN = 'PgoutputPlugin into a Map'
const SCRIPTS = new Map([
  [RAW, 'raw'],
  [WALCACHE, 'walcache'],
  [PLUGIN, 'plugin'],
])

export const apply: Benchmark = {
  name: 'apply',
  question: 'how fast is a stream of changes applied, and what does that cost?',
  floor: 'the same slot, drained from a raw socket that looks at nothing. Each turn is a process of its own',
  async run(options) {
    const rows = options.rows ?? ROWS
    options.progress(`making ${(rows * 1.6).toLocaleString('en')} changes`)
    await using database = await openDatabase({ max_replication_slots: 256, wal_sender_timeout: 0 })
    const { pool, url } = database
    await createPeople(pool, 0)
    await pool.query(`create publication ${PUBLICATION} for table people`)
    await pool.query(`select pg_create_logical_replication_slot('origin', 'pgoutput')`)
    const changes = await makeChanges(pool, rows)
    const end = await markEnd(pool)
    const expected = await digestInPostgres(pool)

    const results = new Map<string, DrainResult[]>([...SCRIPTS.keys()].map(name => [name, []]))
    for (let round = 1; round <= (options.rounds ?? ROUNDS); round++) {
      for (const [name, script] of SCRIPTS) {
        options.progress(`round ${round}, ${name}`)
        const slot = `${script}_${round}`
        await pool.query(`select pg_copy_logical_replication_slot('origin', $1)`, [slot])
        const file = join(import.meta.dirname, 'drain', `${script}.ts`)
        const result = await runChild<DrainResult>(file, url, slot, PUBLICATION, end)
        assert.equal(result.digest ?? expected, expected, `what ${name} holds is what the table holds`)
        results.get(name)!.push(result)
      }
    }
    return figures(results, changes)
  },
}

/** Inserts `rows` people, updates half of them and deletes a tenth, a thousand in each commit; returns how many changes that is. */
async function makeChanges(pool: pg.Pool, rows: number): Promise<number> {
  assert.equal(rows % (10 * ROWS_PER_COMMIT), 0, `here, --rows is a multiple of ${10 * ROWS_PER_COMMIT}`)
  const commits = (count: number, statement: string) =>
    pool.query(`do $$ begin for batch in 0 .. ${count - 1} loop ${statement}; commit; end loop; end $$`)
  const everyNth = (nth: number) => {
    const span = nth * ROWS_PER_COMMIT
    return `where id between batch * ${span} + 1 and (batch + 1) * ${span} and id % ${nth} = 0`
  }
  const batches = rows / ROWS_PER_COMMIT
  await commits(batches, insertPeople(`batch * ${ROWS_PER_COMMIT} + 1`, `(batch + 1) * ${ROWS_PER_COMMIT}`))
  await commits(batches / 2, `update people set age = age + 1, name = name || ' II' ${everyNth(2)}`)
  await commits(batches / 10, `delete from people ${everyNth(10)}`)
  return rows + rows / 2 + rows / 10
}

/** Commits one more change, by which each subject knows that it is through; returns a position before it and after all others. */
async function markEnd(pool: pg.Pool): Promise<string> {
  const { rows } = await pool.query<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn')
  await pool.query(`select pg_logical_emit_message(true, 'end', 'the end of the benchmark')`)
  return rows[0]!.lsn
}

function figures(results: ReadonlyMap<string, readonly DrainResult[]>, changes: number): readonly Figure[] {
  const by = (of: (result: DrainResult, raw: DrainResult) => number): Measured =>
    new Map(
      [...results].map(([name, each]) => [
        name,
        each.map((result, round) => of(result, results.get(RAW)![round]!)),
      ]),
    )
  const speed = by(({ elapsedMs }) => (changes / elapsedMs) * 1000)
  const processor = by(({ userMs }, raw) => ((userMs - raw.userMs) * 1000) / changes)
  const delay = by(({ delayMaxMs }) => delayMaxMs)
  const named = (what: string, list: readonly Figure[]) =>
    list.map(figure => ({ ...figure, what: `${figure.what}: ${what}` }))
  return [
    ...named(
      'changes applied',
      figuresOf(speed, { unit: 'changes/s', better: 'more' }, [
        { what: RAW },
        { what: WALCACHE, against: RAW, goal: '0.9' },
        { what: PLUGIN, against: RAW },
      ]),
    ),
    ...named(
      'user CPU above the raw socket',
      figuresOf(processor, { unit: 'us/change', better: 'less' }, [
        { what: WALCACHE, goal: '<= 1.5 us' },
        { what: PLUGIN },
      ]),
    ),
    ...named(
      'longest event-loop delay',
      figuresOf(delay, { unit: 'ms', better: 'less' }, [
        { what: RAW },
        { what: WALCACHE, goal: '<= 30 ms' },
        { what: PLUGIN },
      ]),
    ),
  ]
}
