import assert from 'node:assert/strict'
import { LRUCache } from 'lru-cache'
import type pg from 'pg'
import { type Cache, defineTable, NotLocalError, openCache, type Table } from '../src/index.js'
import type { Benchmark, BenchmarkOptions, Figure } from './support/benchmark.js'
import { createPeople, openDatabase, type Person } from './support/database.js'
import { pick, randomIntegers, readTurn } from './support/read-loop.js'
import { figuresOf, median, takeTurns } from './support/rounds.js'

const ROUNDS = 15
const ROWS = 100_000
const HOT_KEYS = 1_000
/** What fits: a tenth of the table. */
const KEPT_SHARE = 0.1
const MISSES = 3_000
const ZIPF_READS = 400_000
/** Requests in flight at once. */
const ZIPF_AT_ONCE = 64
const ABSENT_KEYS = 1_000_000
const ABSENT_AT_ONCE = 2_000
/** `integer`'s end. */
const KEY_MAX = 2 ** 31 - 1

export const bounded: Benchmark = {
  name: 'bounded',
  question: 'what does it cost when a table keeps only the rows used last?',
  floor: 'an lru-cache of as many rows; for a miss, the same SELECT by itself',
  async run(options) {
    const rows = options.rows ?? ROWS
    const kept = Math.floor(rows * KEPT_SHARE)
    options.progress(
      `a PostgreSQL with ${rows.toLocaleString('en')} rows, of which ${kept.toLocaleString('en')} fit`,
    )
    await using database = await openDatabase()
    await createPeople(database.pool, rows)
    const people = defineTable<Person>({ name: 'people', keep: { maxRows: kept } })
    await using cache = await openCache({ pool: database.pool, entities: [people] })
    const table = cache.table(people)
    return [
      ...(await hits(options, table, rows, kept)),
      ...(await misses(options, database.pool, table, rows)),
      ...(await zipf(options, table, rows, kept)),
      ...(await absentKeys(options, cache, table, rows, kept)),
    ]
  },
}

type PeopleTable = Table<Person>

async function hits(
  options: BenchmarkOptions,
  table: PeopleTable,
  rows: number,
  kept: number,
): Promise<Figure[]> {
  const random = randomIntegers(1)
  const count = Math.min(HOT_KEYS, kept / 4)
  const hot = [...new Set(Array.from({ length: count }, () => 1 + random(rows)))]
  const lru = new LRUCache<number, Person>({ max: HOT_KEYS * 2 })
  for (const id of hot) lru.set(id, (await table.findUnique({ where: { id } }))!)
  for (const id of hot) assert.deepEqual(table.local.get(id), lru.get(id))
  const keys = pick(hot, 2 ** 16, random)
  const subject = (name: string, of: unknown) => ({
    name,
    turn: readTurn({ name, subject: of, read: 'subject.get(key)', property: 'age', keys, readsPerRun: 100 }),
  })
  options.progress('hits')
  const measured = await takeTurns(
    [subject('lru-cache, hit', lru), subject('local.get, hit', table.local)],
    options.rounds ?? ROUNDS,
  )
  return figuresOf(measured, { unit: 'ns', better: 'less' }, [
    { what: 'lru-cache, hit' },
    { what: 'local.get, hit', against: 'lru-cache, hit', goal: '0.7' },
  ])
}

/** One miss at a time, each beside the query that it cannot do without. */
async function misses(
  options: BenchmarkOptions,
  pool: pg.Pool,
  table: PeopleTable,
  rows: number,
): Promise<Figure[]> {
  options.progress('misses')
  const random = randomIntegers(2)
  const bareMs: number[] = []
  const missMs: number[] = []
  for (let i = 0; i < MISSES; i++) {
    const id = 1 + random(rows)
    table.evict(id)
    const { row: bare, ms: bareTook } = await timed(async () => {
      const answer = await pool.query<Person>({
        name: 'person',
        text: 'select * from people where id = $1',
        values: [id],
      })
      return answer.rows[0]!
    })
    const { row, ms } = await timed(() => table.findUnique({ where: { id } }))
    assert.deepEqual(row, bare)
    bareMs.push(bareTook)
    missMs.push(ms)
  }
  const overheads = missMs.map((ms, i) => ms - bareMs[i]!)
  return [
    alone('prepared SELECT over a pool, p50', median(bareMs), 'ms'),
    alone('findUnique of a key that is not held, p50', median(missMs), 'ms'),
    alone('what a miss takes above the SELECT, p50', median(overheads), 'ms', '1'),
  ]
}

/** A figure that is compared with nothing. */
function alone(what: string, value: number, unit: string, goal?: string): Figure {
  return { what, value, unit, against: null, ratio: null, ...(goal === undefined ? {} : { goal }) }
}

async function timed<T>(work: () => Promise<T>): Promise<{ row: T; ms: number }> {
  const started = performance.now()
  const row = await work()
  return { row, ms: performance.now() - started }
}

/** Both see the same keys in the same order; what is measured is how many of them they had. */
async function zipf(
  options: BenchmarkOptions,
  table: PeopleTable,
  rows: number,
  kept: number,
): Promise<Figure[]> {
  options.progress('a Zipf-distributed load')
  const keys = zipfKeys(rows, ZIPF_READS)
  const lru = new LRUCache<number, true>({ max: kept })
  const warm = keys.length / 2
  let ours = 0
  let theirs = 0
  for (let from = 0; from < keys.length; from += ZIPF_AT_ONCE) {
    const missed: Promise<unknown>[] = []
    for (const id of keys.slice(from, from + ZIPF_AT_ONCE)) {
      const counts = from >= warm ? 1 : 0
      if (lru.get(id) === true) theirs += counts
      else lru.set(id, true)
      if (isHeld(table, id)) ours += counts
      else missed.push(table.findUnique({ where: { id } }))
    }
    await Promise.all(missed)
  }
  const share = (hits: number): number => (100 * hits) / (keys.length - warm)
  return [
    alone('lru-cache, hit rate', share(theirs), '%'),
    alone('bounded table, hit rate', share(ours), '%'),
    alone('hit rate above that of the lru-cache', share(ours) - share(theirs), 'points', '-2'),
  ]
}

/** Whoever asks for random keys must neither take memory without end nor drive out the rows that others use. */
async function absentKeys(
  options: BenchmarkOptions,
  cache: Cache,
  table: PeopleTable,
  rows: number,
  kept: number,
): Promise<Figure[]> {
  const count = options.absentKeys ?? ABSENT_KEYS
  options.progress(`${count.toLocaleString('en')} random keys that have no row`)
  await table.prefetch(Array.from({ length: kept }, (_, i) => i + 1))
  const present = Array.from({ length: rows }, (_, i) => i + 1).filter(id => isHeld(table, id))
  const health = () => cache.health().tables[0]!
  const before = health()
  let bytesMax = before.bytes
  let heapMax = heapAfterCollection()
  const heapBefore = heapMax
  const random = randomIntegers(4)
  const started = performance.now()
  for (let asked = 0; asked < count; asked += ABSENT_AT_ONCE) {
    const keys = Array.from({ length: ABSENT_AT_ONCE }, () => rows + 1 + random(KEY_MAX - rows))
    await table.prefetch(keys)
    bytesMax = Math.max(bytesMax, health().bytes)
    if (asked % (count / 10) < ABSENT_AT_ONCE) heapMax = Math.max(heapMax, heapAfterCollection())
  }
  const seconds = (performance.now() - started) / 1000
  const gone = present.filter(id => !isHeld(table, id)).length
  const mebibytes = (bytes: number): number => bytes / 2 ** 20
  return [
    alone('absent keys asked for', count, 'keys'),
    alone('absent keys asked for', count / seconds, 'keys/s'),
    alone('absent keys known at the end', health().bounded!.absentKeys, 'keys'),
    alone('rows that they drove out', gone, 'rows', '0'),
    alone('packed memory before them', mebibytes(before.bytes), 'MiB'),
    alone('packed memory at most, with them', mebibytes(bytesMax), 'MiB'),
    alone('heap that they added at most', mebibytes(heapMax - heapBefore), 'MiB'),
  ]
}

function heapAfterCollection(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function isHeld({ local }: PeopleTable, id: number): boolean {
  try {
    return local.get(id) !== undefined
  } catch (error) {
    if (error instanceof NotLocalError) return false
    throw error
  }
}

/** Keys with Zipf's distribution (exponent 1): the second is asked for half as often as the first, and so on; which is which is shuffled. */
function zipfKeys(rows: number, count: number): number[] {
  const random = randomIntegers(3)
  const sums = new Float64Array(rows)
  for (let rank = 0, sum = 0; rank < rows; rank++) sums[rank] = sum += 1 / (rank + 1)
  const ids = Array.from({ length: rows }, (_, i) => i + 1)
  for (let i = rows - 1; i > 0; i--) {
    const j = random(i + 1)
    ;[ids[i], ids[j]] = [ids[j]!, ids[i]!]
  }
  return Array.from({ length: count }, () => {
    const at = (random(2 ** 31) / 2 ** 31) * sums[rows - 1]!
    let low = 0
    for (let high = rows - 1; low < high; ) {
      const middle = (low + high) >> 1
      if (sums[middle]! < at) low = middle + 1
      else high = middle
    }
    return ids[low]!
  })
}
