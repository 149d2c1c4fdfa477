import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Commits, HoldResult } from '../holders/meter.js'
import type { BenchmarkOptions, Figure } from './benchmark.js'
import { runChild } from './child.js'
import { type BenchmarkDatabase, createPeople, digestInPostgres, openDatabase } from './database.js'
import { figuresOf, type Measured } from './rounds.js'

export const MAP = 'Map of objects'
export const WALCACHE = 'walcache'
const SCRIPTS = new Map([
  [MAP, 'map'],
  [WALCACHE, 'walcache'],
])
const PUBLICATION = 'people_benchmark'

export interface Held {
  readonly results: ReadonlyMap<string, readonly HoldResult[]>
  /** The same for a table without rows. */
  readonly empty: ReadonlyMap<string, HoldResult>
}

/** Has a process of each kind hold the table while its rows are updated, in turns, and checks what it holds in the end. */
export async function holdInTurns(
  options: BenchmarkOptions,
  rows: number,
  rounds: number,
  commits: Commits,
): Promise<Held> {
  options.progress(`a PostgreSQL with ${rows.toLocaleString('en')} rows`)
  await using without = await openPeople(0)
  await using database = await openPeople(rows)
  const results = new Map<string, HoldResult[]>()
  const empty = new Map<string, HoldResult>()
  for (const [name, script] of SCRIPTS) {
    empty.set(name, await hold(script, without, 0, commits))
    results.set(name, [])
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [name, script] of SCRIPTS) {
      options.progress(`round ${round}, ${name}`)
      const result = await hold(script, database, rows, commits)
      assert.equal(result.digest, await digestInPostgres(database.pool), `${name} holds what the table holds`)
      results.get(name)!.push(result)
    }
  }
  return { results, empty }
}

async function openPeople(rows: number): Promise<BenchmarkDatabase> {
  const database = await openDatabase()
  await createPeople(database.pool, rows)
  await database.pool.query(`create publication ${PUBLICATION} for table people`)
  return database
}

function hold(
  script: string,
  { url }: BenchmarkDatabase,
  rows: number,
  commits: Commits,
): Promise<HoldResult> {
  const file = join(import.meta.dirname, '..', 'holders', `${script}.ts`)
  return runChild<HoldResult>(file, url, PUBLICATION, String(rows), commits)
}

/** One figure of each holder, less what it is for an empty table if `of` says so. */
export function measuredOf(
  { results, empty }: Held,
  of: (result: HoldResult, empty: HoldResult) => number,
): Measured {
  return new Map([...results].map(([name, each]) => [name, each.map(result => of(result, empty.get(name)!))]))
}

/** Both holders' figures, where less is better. */
export function compared(what: string, measured: Measured, unit: string, goal?: string): Figure[] {
  return figuresOf(measured, { unit, better: 'less' }, [
    { what: MAP },
    { what: WALCACHE, against: MAP, ...(goal === undefined ? {} : { goal }) },
  ]).map(figure => ({ ...figure, what: `${figure.what}: ${what}` }))
}

/** How long the process stood still. */
export function pauses(held: Held): Figure[] {
  return [
    ...compared(
      'longest collection',
      measuredOf(held, ({ collectionMaxMs }) => collectionMaxMs),
      'ms',
      '<= 15',
    ),
    ...compared(
      'event-loop delay, p99',
      measuredOf(held, ({ delayP99Ms }) => delayP99Ms),
      'ms',
      '<= 10',
    ),
    ...compared(
      'event-loop delay, longest',
      measuredOf(held, ({ delayMaxMs }) => delayMaxMs),
      'ms',
      '<= 30',
    ),
  ]
}

/** How many updates a second there were, from the first statement to the last row. */
export function throughput(held: Held): Figure[] {
  const measured = measuredOf(held, ({ updatesPerSecond }) => updatesPerSecond)
  return figuresOf(measured, { unit: 'updates/s', better: 'more' }, [
    { what: MAP },
    { what: WALCACHE, against: MAP },
  ]).map(figure => ({ ...figure, what: `${figure.what}: updates made and applied` }))
}
