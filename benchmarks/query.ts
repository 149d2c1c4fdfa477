import assert from 'node:assert/strict'
import type pg from 'pg'
import { defineTable, type LocalReads, openCache } from '../src/index.js'
import { type Benchmark, type BenchmarkOptions, ROWS } from './support/benchmark.js'
import { openDatabase } from './support/database.js'
import { openSqlite, type SqliteStatement } from './support/peers.js'
import { pick, randomIntegers, readTurn } from './support/read-loop.js'
import { type Comparison, figuresOf, type Subject, takeTurns } from './support/rounds.js'

const ROUNDS = 11
const ROWS_EACH = 10
/** Rows that agree in `kind`. */
const KINDS = 1_000
const LIMIT = 20

interface Comment {
  readonly id: number
  readonly document_id: number
  readonly kind: number
  readonly made_at: number
  readonly slug: string
}

const comments = defineTable<Comment>({
  name: 'comments',
  indexes: [['document_id'], ['kind', 'made_at'], ['slug']],
})

/** One question, asked here and of SQLite, as JavaScript over `subject` and `key`. */
interface Pair {
  readonly name: string
  readonly ours: string
  readonly sql: string
  readonly theirs: string
  /** The number of an answer that is summed. */
  readonly property: string
  readonly theirProperty?: string
  readonly keys: number
}

const PAIRS: readonly Pair[] = [
  {
    name: '10 rows by index',
    ours: 'subject.findMany({ where: { document_id: key } })',
    sql: 'select * from comments where document_id = ?',
    theirs: 'subject.all(key)',
    property: 'length',
    keys: ROWS_EACH,
  },
  {
    name: 'ordered, limited to 20',
    ours: `subject.findMany({ where: { kind: key }, orderBy: { made_at: 'desc' }, take: ${LIMIT} })`,
    sql: `select * from comments where kind = ? order by made_at desc limit ${LIMIT}`,
    theirs: 'subject.all(key)',
    property: 'length',
    keys: 0,
  },
  {
    name: 'unique look-up',
    ours: "subject.get({ slug: 'comment-number-' + key })",
    sql: 'select * from comments where slug = ?',
    theirs: "subject.get('comment-number-' + key)",
    property: 'id',
    keys: 1,
  },
  {
    name: 'the first by a unique column',
    ours: "subject.findFirst({ where: { slug: 'comment-number-' + key } })",
    sql: 'select * from comments where slug = ?',
    theirs: "subject.get('comment-number-' + key)",
    property: 'id',
    keys: 1,
  },
  {
    name: 'count by index',
    ours: 'subject.count({ where: { kind: key } })',
    sql: 'select count(*) as n from comments where kind = ?',
    theirs: 'subject.get(key)',
    property: 'valueOf()',
    theirProperty: 'n',
    keys: 0,
  },
]

export const query: Benchmark = {
  name: 'query',
  question: 'what does it cost to find rows by something else than their key?',
  floor:
    'better-sqlite3 in memory, with the same indexes and prepared statements. Keys at random; each answer is made anew',
  async run(options) {
    const rows = options.rows ?? ROWS
    options.progress(`a PostgreSQL with ${rows.toLocaleString('en')} rows`)
    await using database = await openDatabase()
    await createComments(database.pool, rows)
    options.progress('filling caches')
    const sqlite = await sqliteOf(database.pool, options)
    await using cache = await openCache({ pool: database.pool, entities: [comments] })
    const { local } = cache.table(comments)
    check(local, sqlite)
    const random = randomIntegers(3)
    const subjects = PAIRS.flatMap((pair, i): Subject[] => {
      const below = pair.keys === 0 ? KINDS : Math.floor(rows / pair.keys)
      const keys = pick(
        Array.from({ length: below }, (_, key) => key),
        2 ** 16,
        random,
      )
      const common = { keys, readsPerRun: 10 }
      const { name, property, theirProperty = property } = pair
      return [
        { name: sqliteName(name), subject: sqlite[i], read: pair.theirs, property: theirProperty },
        { name: ownName(name), subject: local, read: pair.ours, property },
      ].map(reads => ({ name: reads.name, turn: readTurn({ ...common, ...reads }) }))
    })
    options.progress('asking')
    const measured = await takeTurns(subjects, options.rounds ?? ROUNDS)
    check(local, sqlite)
    return figuresOf(measured, { unit: 'ns', better: 'less' }, COMPARISONS)
  },
}

const ownName = (name: string): string => `local: ${name}`
const sqliteName = (name: string): string => `better-sqlite3 :memory:, ${name}`

const COMPARISONS: readonly Comparison[] = PAIRS.flatMap(({ name }) => [
  { what: sqliteName(name) },
  { what: ownName(name), against: sqliteName(name), goal: '5' },
])

async function createComments(pool: pg.Pool, rows: number): Promise<void> {
  await pool.query(`create table comments
    (id integer primary key, document_id integer not null, kind integer not null, made_at integer not null, slug text not null unique)`)
  await pool.query(`insert into comments
    select i, i % ${Math.floor(rows / ROWS_EACH)}, i % ${KINDS}, (i * 7919::bigint) % 1000000007, 'comment-number-' || i
    from generate_series(0, ${rows - 1}) i`)
  await pool.query('vacuum analyze comments')
}

async function sqliteOf(pool: pg.Pool, { progress }: BenchmarkOptions): Promise<readonly SqliteStatement[]> {
  const sqlite = openSqlite(progress)
  sqlite.exec(`create table comments
    (id integer primary key, document_id integer, kind integer, made_at integer, slug text)`)
  const { rows } = await pool.query<Comment>('select * from comments')
  const insert = sqlite.prepare('insert into comments values (?, ?, ?, ?, ?)')
  sqlite.transaction(() => {
    for (const { id, document_id, kind, made_at, slug } of rows)
      insert.run(id, document_id, kind, made_at, slug)
  })()
  sqlite.exec(`create index by_document on comments (document_id);
    create index by_kind on comments (kind, made_at);
    create unique index by_slug on comments (slug)`)
  return PAIRS.map(({ sql }) => sqlite.prepare(sql))
}

const byId = (a: Comment, b: Comment): number => a.id - b.id

function check(
  local: LocalReads<Comment>,
  [ten, ordered, unique, first, count]: readonly SqliteStatement[],
): void {
  for (let key = 0; key < 100; key++) {
    const mine = local.findMany({ where: { document_id: key } }).sort(byId)
    assert.deepEqual(mine, (ten!.all(key) as Comment[]).sort(byId))
    assert.deepEqual(
      local.findMany({ where: { kind: key }, orderBy: { made_at: 'desc' }, take: LIMIT }),
      ordered!.all(key),
    )
    const slug = `comment-number-${key}`
    assert.deepEqual(local.get({ slug }), unique!.get(slug))
    assert.deepEqual(local.findFirst({ where: { slug } }), first!.get(slug))
    assert.equal(local.count({ where: { kind: key } }), (count!.get(key) as { n: number }).n)
  }
}
