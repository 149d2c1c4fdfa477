import assert from 'node:assert/strict'
import { LRUCache } from 'lru-cache'
import type pg from 'pg'
import { type Cache, defineTable, openCache, type LocalReads } from '../src/index.js'
import { type Benchmark, type BenchmarkOptions, type Figure, ROWS } from './support/benchmark.js'
import {
  type BenchmarkDatabase,
  createPeople,
  openDatabase,
  people,
  type Person,
} from './support/database.js'
import { openSqlite, type SqliteStatement } from './support/peers.js'
import { pick, randomIntegers, type Reads, readTurn } from './support/read-loop.js'
import { type Comparison, figuresOf, type Subject, takeTurns } from './support/rounds.js'

const ROUNDS = 15
const HOT_KEYS = 1_000
/** What walcache keeps decoded of a table, and so what an lru-cache of one's own gets too. */
const LRU_ROWS = 8_192
const PG_CLIENTS = 10
const PG_READS = 1_000
const DOCUMENTS = 10_000

interface Document {
  readonly id: number
  readonly version: number
  readonly changed_at: Date
  readonly body: unknown
  readonly digest: Buffer
}

const documents = defineTable<Document>({ name: 'documents' })

export const read: Benchmark = {
  name: 'read',
  question: 'what does it cost to read a row by its key?',
  floor:
    'Map.get of the same keys. 100 reads in each synchronous run, if nothing else is said; maxStaleness is on',
  async run(options) {
    const rows = options.rows ?? ROWS
    options.progress(`a PostgreSQL with ${rows.toLocaleString('en')} rows`)
    await using database = await openDatabase()
    await createPeople(database.pool, rows)
    await createDocuments(database.pool)
    options.progress('filling caches')
    const persons = await selectAll<Person>(database.pool, 'people')
    const sqlite = sqliteOf(persons, options.progress)
    // Last: filling SQLite holds up the event loop for so long that a cache would become stale.
    await using cache = await openCache({ pool: database.pool, entities: [people, documents] })
    return [
      ...(await keyedReads(options, database, cache, persons, sqlite)),
      ...(await documentReads(options, database, cache)),
    ]
  },
}

async function createDocuments(pool: pg.Pool): Promise<void> {
  await pool.query(`create table documents
    (id integer primary key, version integer not null, changed_at timestamptz not null, body jsonb not null, digest bytea not null)`)
  await pool.query(`insert into documents
    select i, i % 100, now() - i * interval '1 minute',
      jsonb_build_object('title', 'document ' || i, 'tags', jsonb_build_array('a', 'b', i), 'size', i), decode(md5(i::text), 'hex')
    from generate_series(1, ${DOCUMENTS}) i`)
}

async function keyedReads(
  options: BenchmarkOptions,
  { pool }: BenchmarkDatabase,
  cache: Cache,
  all: readonly Person[],
  sqlite: SqliteStatement,
): Promise<readonly Figure[]> {
  const random = randomIntegers(1)
  const byKey = new Map(all.map(row => [row.id, row]))
  const present = [...byKey.keys()]
  const hot = pick(present, HOT_KEYS, random)
  const hotKeys = pick(hot, 2 ** 16, random)
  const coldKeys = pick(present, 2 ** 20, random)
  const absentKeys = coldKeys.map(key => -key)

  const lru = new LRUCache<number, Person>({ max: LRU_ROWS })
  for (const key of hot) lru.set(key, byKey.get(key)!)
  const { local } = cache.table(people)
  const snapshot = { local }
  const hotReads = (name: string, subject: unknown, get = 'subject.get(key)', readsPerRun = 100): Reads => ({
    name,
    subject,
    read: get,
    property: 'age',
    keys: hotKeys,
    readsPerRun,
  })

  check(local, byKey, [...hot, ...coldKeys.slice(0, 1000)])
  for (const key of coldKeys.slice(0, 1000)) {
    const row = sqlite.get(key) as Record<keyof Person, unknown>
    assert.deepEqual({ ...row, is_active: row.is_active === 1 }, byKey.get(key))
  }
  assert.equal(local.get(absentKeys[0]!), undefined)
  await checkPool(pool, byKey, hot)

  const memory: Reads[] = [
    hotReads('Map of all rows, hot', byKey),
    hotReads('lru-cache, hot', lru),
    hotReads('local.get, hot', local),
    hotReads('snapshot.local.get, hot', snapshot, 'subject.local.get(key)'),
    hotReads('lru-cache, hot, 1 read a run', lru, undefined, 1),
    hotReads('local.get, hot, 1 read a run', local, undefined, 1),
    { ...hotReads('better-sqlite3 :memory:, cold', sqlite), keys: coldKeys },
    { ...hotReads('local.get, cold', local), keys: coldKeys },
    { ...hotReads('Map of all rows, absent', byKey), keys: absentKeys },
    { ...hotReads('local.get, absent', local), keys: absentKeys },
  ]
  const turns = new Map(memory.map(reads => [reads.name, readTurn(reads)]))
  const subjects: Subject[] = memory.map(({ name }) => ({
    name,
    async turn() {
      using opened = cache.snapshot()
      snapshot.local = opened.table(people).local
      return await turns.get(name)!()
    },
  }))
  subjects.push({ name: 'prepared SELECT over a pool', turn: () => poolTurn(pool, hotKeys) })
  options.progress('reading')
  const measured = await takeTurns(subjects, options.rounds ?? ROUNDS)
  check(local, byKey, coldKeys.slice(1000, 2000))
  return figuresOf(measured, { unit: 'ns', better: 'less' }, COMPARISONS)
}

const COMPARISONS: readonly Comparison[] = [
  { what: 'Map of all rows, hot' },
  { what: 'lru-cache, hot' },
  { what: 'local.get, hot', against: 'lru-cache, hot', goal: '0.8' },
  { what: 'local.get, hot', against: 'Map of all rows, hot' },
  { what: 'prepared SELECT over a pool' },
  { what: 'local.get, hot', against: 'prepared SELECT over a pool', goal: '300' },
  { what: 'snapshot.local.get, hot', against: 'lru-cache, hot' },
  { what: 'lru-cache, hot, 1 read a run' },
  { what: 'local.get, hot, 1 read a run', against: 'lru-cache, hot, 1 read a run' },
  { what: 'better-sqlite3 :memory:, cold' },
  { what: 'local.get, cold', against: 'better-sqlite3 :memory:, cold', goal: '3' },
  { what: 'Map of all rows, absent' },
  { what: 'local.get, absent', against: 'Map of all rows, absent' },
]

async function documentReads(
  options: BenchmarkOptions,
  { pool }: BenchmarkDatabase,
  cache: Cache,
): Promise<readonly Figure[]> {
  const all = await selectAll<Document>(pool, 'documents')
  const byKey = new Map(all.map(row => [row.id, row]))
  const lru = new LRUCache<number, Document>({ max: LRU_ROWS })
  const random = randomIntegers(2)
  const hot = pick([...byKey.keys()], HOT_KEYS, random)
  for (const key of hot) lru.set(key, byKey.get(key)!)
  const { local } = cache.table(documents)
  check(local, byKey, hot)
  const keys = pick(hot, 2 ** 16, random)
  const reads = (name: string, subject: unknown): Subject => ({
    name,
    turn: readTurn({ name, subject, read: 'subject.get(key)', property: 'version', keys, readsPerRun: 100 }),
  })
  const ours = 'local.get, hot, timestamptz + jsonb + bytea'
  const theirs = 'lru-cache, hot, timestamptz + jsonb + bytea'
  const measured = await takeTurns([reads(theirs, lru), reads(ours, local)], options.rounds ?? ROUNDS)
  return figuresOf(measured, { unit: 'ns', better: 'less' }, [
    { what: theirs },
    { what: ours, against: theirs, goal: '0.15' },
  ])
}

function check<Row>(local: LocalReads<Row>, byKey: ReadonlyMap<number, Row>, keys: readonly number[]): void {
  assert.equal(local.size, byKey.size)
  for (const key of keys) assert.deepEqual(local.get(key), byKey.get(key))
}

async function selectAll<Row extends object>(pool: pg.Pool, name: string): Promise<readonly Row[]> {
  const { rows } = await pool.query<Row>(`select * from ${name}`)
  return rows
}

function sqliteOf(rows: readonly Person[], progress: (text: string) => void): SqliteStatement {
  const sqlite = openSqlite(progress)
  sqlite.exec(
    'create table people (id integer primary key, name text, age integer, email text, is_active integer)',
  )
  const insert = sqlite.prepare('insert into people values (?, ?, ?, ?, ?)')
  sqlite.transaction(() => {
    for (const { id, name, age, email, is_active } of rows)
      insert.run(id, name, age, email, is_active ? 1 : 0)
  })()
  return sqlite.prepare('select * from people where id = ?')
}

const SELECT = { name: 'person', text: 'select * from people where id = $1' }

async function checkPool(
  pool: pg.Pool,
  byKey: ReadonlyMap<number, Person>,
  keys: readonly number[],
): Promise<void> {
  for (const key of keys) {
    const { rows } = await pool.query<Person>({ ...SELECT, values: [key] })
    assert.deepEqual(rows, [byKey.get(key)])
  }
}

/** Nanoseconds a read when as many are under way as the pool has clients: the most that it can do. */
async function poolTurn(pool: pg.Pool, keys: readonly number[]): Promise<number> {
  let next = 0
  let sum = 0
  const started = performance.now()
  await Promise.all(
    Array.from({ length: PG_CLIENTS }, async () => {
      while (next < PG_READS) {
        const { rows } = await pool.query<Person>({ ...SELECT, values: [keys[next++]] })
        sum += rows[0]!.age
      }
    }),
  )
  const elapsed = performance.now() - started
  assert(sum > 0)
  return (elapsed * 1e6) / PG_READS
}
