import { join } from 'node:path'
import { seed, SIZES } from '../examples/web/seed.js'
import type { Benchmark } from './support/benchmark.js'
import { runChildWith } from './support/child.js'
import { openDatabase } from './support/database.js'
import { installPeers } from './support/peers.js'
import { type Comparison, figuresOf, type Measured } from './support/rounds.js'
import type { WebRounds } from './web/rounds.js'

const ROUNDS = 5

const NAMES = {
  database: 'TypeORM alone',
  lru: 'lru-cache of each read, 1 s TTL',
  cache: 'walcache/typeorm',
} as const

const COMPARISONS: readonly Comparison[] = [
  { what: NAMES.database },
  { what: NAMES.lru, against: NAMES.database },
  { what: NAMES.cache, against: NAMES.database },
  { what: NAMES.cache, against: NAMES.lru },
]

export const web: Benchmark = {
  name: 'web',
  question: "how many requests does the example's read route answer, and how long do the slowest take?",
  floor:
    'the same route with TypeORM alone, in the same process; autocannon in a thread, 32 connections, 1,000 documents',
  async run(options) {
    options.progress(`a PostgreSQL with ${SIZES.documents.toLocaleString('en')} documents`)
    await using database = await openDatabase()
    await seed(database.pool)
    installPeers(options.progress)
    options.progress('asking')
    const rounds = await runChildWith<WebRounds>(
      { TSX_TSCONFIG_PATH: join(import.meta.dirname, 'web/tsconfig.json') },
      join(import.meta.dirname, 'web/meter.ts'),
      database.url,
      String(options.rounds ?? ROUNDS),
    )
    const measured = (figure: 'requestsPerSecond' | 'p99Ms'): Measured =>
      new Map(
        (Object.keys(NAMES) as (keyof typeof NAMES)[]).map(name => [
          NAMES[name],
          rounds[name].map(round => round[figure]),
        ]),
      )
    return [
      ...figuresOf(measured('requestsPerSecond'), { unit: 'requests/s', better: 'more' }, COMPARISONS),
      ...figuresOf(measured('p99Ms'), { unit: 'ms at p99', better: 'less' }, COMPARISONS),
    ]
  },
}
