import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { HoldResult } from './holders/meter.js'
import { type Benchmark, type Figure, ROWS } from './support/benchmark.js'
import { runChild } from './support/child.js'
import { createPeople, digestInPostgres, openDatabase } from './support/database.js'
import { figuresOf, type Measured } from './support/rounds.js'

const ROUNDS = 3
const PUBLICATION = 'people_benchmark'
const MAP = 'Map of objects'
const WALCACHE = 'walcache'
const SCRIPTS = new Map([
  [MAP, 'map'],
  [WALCACHE, 'walcache'],
])

export const memory: Benchmark = {
  name: 'memory',
  question: 'what does a row take, and how long does the collector stop the process for it?',
  floor:
    'a Map of objects kept true by pg-logical-replication. Rows count after a full collection, above a table without rows; ' +
    'then half of them are updated at full speed',
  async run(options) {
    const rows = options.rows ?? ROWS
    options.progress(`a PostgreSQL with ${rows.toLocaleString('en')} rows`)
    await using empty = await openDatabase()
    await createPeople(empty.pool, 0)
    await using full = await openDatabase()
    await createPeople(full.pool, rows)
    for (const { pool } of [empty, full])
      await pool.query(`create publication ${PUBLICATION} for table people`)

    const results = new Map<string, HoldResult[]>([...SCRIPTS.keys()].map(name => [name, []]))
    const empties = new Map<string, HoldResult>()
    for (let round = 1; round <= (options.rounds ?? ROUNDS); round++) {
      for (const [name, script] of SCRIPTS) {
        options.progress(`round ${round}, ${name}`)
        const file = join(import.meta.dirname, 'holders', `${script}.ts`)
        if (round === 1) empties.set(name, await runChild<HoldResult>(file, empty.url, PUBLICATION, '0'))
        const result = await runChild<HoldResult>(file, full.url, PUBLICATION, String(rows))
        assert.equal(result.digest, await digestInPostgres(full.pool), `${name} holds what the table holds`)
        results.get(name)!.push(result)
      }
    }
    return figures(results, empties, rows)
  },
}

function figures(
  results: ReadonlyMap<string, readonly HoldResult[]>,
  empties: ReadonlyMap<string, HoldResult>,
  rows: number,
): readonly Figure[] {
  const by = (of: (result: HoldResult, empty: HoldResult) => number): Measured =>
    new Map([...results].map(([name, each]) => [name, each.map(result => of(result, empties.get(name)!))]))
  const compared = (what: string, measured: Measured, unit: string, goal: string): Figure[] =>
    figuresOf(measured, { unit, better: 'less' }, [
      { what: MAP },
      { what: WALCACHE, against: MAP, goal },
    ]).map(figure => ({ ...figure, what: `${figure.what}: ${what}` }))
  return [
    ...compared(
      'heap and buffers a row',
      by((result, empty) => (result.usedBytes - empty.usedBytes) / rows),
      'bytes',
      '<= 100',
    ),
    ...compared(
      'resident memory a row',
      by((result, empty) => (result.residentBytes - empty.residentBytes) / rows),
      'bytes',
      '',
    ),
    ...figuresOf(
      by(({ countedBytes }) => countedBytes / rows),
      { unit: 'bytes', better: 'less' },
      [{ what: WALCACHE }],
    ).map(figure => ({ ...figure, what: `${figure.what}: a row, by its own count` })),
    ...compared(
      'longest collection',
      by(({ collectionMaxMs }) => collectionMaxMs),
      'ms',
      '<= 15',
    ),
    ...compared(
      'event-loop delay, p99',
      by(({ delayP99Ms }) => delayP99Ms),
      'ms',
      '<= 10',
    ),
    ...compared(
      'event-loop delay, longest',
      by(({ delayMaxMs }) => delayMaxMs),
      'ms',
      '<= 30',
    ),
    ...figuresOf(
      by(({ updatesPerSecond }) => updatesPerSecond),
      { unit: 'updates/s', better: 'more' },
      [{ what: MAP }, { what: WALCACHE, against: MAP }],
    ).map(figure => ({ ...figure, what: `${figure.what}: updates made and applied` })),
  ]
}
