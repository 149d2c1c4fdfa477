/**
 * The whole of it in ten steps: `npm run demo`.
 *
 * Starts a PostgreSQL of its own, or uses the one that DATABASE_URL names (wal_level has to be logical there). Ends by
 * itself, with exit code 0 only if memory equals the table; `--live` goes on showing changes until Ctrl-C.
 * `--decoder` names the output plugin: the demo's own server is then of a major that it is to be had for.
 */
import { randomInt } from 'node:crypto'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { Random } from '../../simulation/random.js'
import { decoders } from '../../src/decode/index.js'
import { openCache } from '../../src/index.js'
import { openDatabase } from './database.js'
import { medianTime, medianTimeAwaited } from './measure.js'
import { Person } from './person.js'
import { randomPerson } from './random-people.js'
import { describe, describeChange, entry, line, step, title, verdict } from './terminal.js'

const { values: options } = parseArgs({
  options: {
    seed: { type: 'string' },
    decoder: { type: 'string', default: 'pgoutput' },
    live: { type: 'boolean', default: false },
  },
})
const decoder = named(decoders, options.decoder)
const seed = options.seed === undefined ? randomInt(2 ** 32) : Number(options.seed)
const random = new Random(seed)
title(`walcache: rows of PostgreSQL in this process's memory, kept true by its log. Random seed: ${seed}`)

step('Start PostgreSQL')
await using database = await openDatabase(decoder)
const { pool } = database
line(database.description)

step('Create the table demo_postgres_cdc')
await database.migrate()
line('with the files of migrations/')

step('Open the cache')
await using cache = await openCache({ pool, entities: [Person], decoder })
const people = cache.table(Person)
line(`${people.local.size} rows in memory, as of one commit; changes come by ${decoder}`)

step('Follow the changes of the table')
const changes = people.changes()
line('from here on: commit position, operation, old -> new')

step('Insert 20 random rows')
for (let count = 0; count < 20; count++) {
  const { name, age, email, isActive } = randomPerson(random)
  const row = [name, age, email, isActive]
  await pool.query('insert into demo_postgres_cdc (name, age, email, is_active) values ($1, $2, $3, $4)', row)
}
await showChanges(20)

step('Update a random row')
const updated = randomRow()
await pool.query('update demo_postgres_cdc set age = age + 1 where id = $1', [updated.id])
await showChanges(1)

step('Delete a random row')
const deleted = randomRow()
await pool.query('delete from demo_postgres_cdc where id = $1', [deleted.id])
await showChanges(1)

step('Read from memory, and from a snapshot while a commit is applied')
const { id } = randomRow()
{
  using snapshot = cache.snapshot()
  entry('row', describe(people.local.get(id)))
  entry('row deleted above', describe(people.local.get(deleted.id)))
  await pool.query("update demo_postgres_cdc set name = 'Renamed' where id = $1", [id])
  await showChanges(1)
  entry('now', describe(people.local.get(id)))
  entry('in the snapshot still', describe(snapshot.table(Person).local.get(id)))
}

step('Measure a read')
const localMicroseconds = medianTime(200, 5000, () => people.local.get(id))
const selectMicroseconds = await medianTimeAwaited(500, () =>
  pool.query({ name: 'person', text: 'select * from demo_postgres_cdc where id = $1', values: [id] }),
)
entry('from memory', `${localMicroseconds.toFixed(3)} µs`)
entry('by a prepared SELECT', `${selectMicroseconds.toFixed(0)} µs`)
entry('ratio', `${Math.round(selectMicroseconds / localMicroseconds)} to 1 (medians)`)

step('Compare memory with the table')
await cache.waitFor(await cache.token())
const { rows } = await pool.query<Person>(
  'select id, name, age, email, is_active as "isActive" from demo_postgres_cdc order by id',
)
const remembered = rowsById().map(person => Object.assign({}, person))
const equal = isDeepStrictEqual(remembered, rows)
entry('rows in memory', String(remembered.length))
entry('rows in the table', String(rows.length))
if (!equal) process.exitCode = 1
verdict(equal, equal ? 'Memory equals the table.' : 'Memory DIFFERS from the table.')

if (options.live) {
  line('Live: change demo_postgres_cdc from another session. Ctrl-C ends.')
  process.once('SIGINT', () => void changes.return?.())
  for await (const change of changes) line(describeChange(change))
}

function named<Name extends string>(known: Readonly<Record<Name, unknown>>, name: string): Name {
  if (Object.hasOwn(known, name)) return name as Name
  throw new TypeError(`--decoder is one of ${Object.keys(known).join(', ')}.`)
}

/** All rows in memory. They come in no particular order. */
function rowsById(): Person[] {
  return [...people.local].sort((one, other) => one.id - other.id)
}

function randomRow(): Person {
  return random.pick(rowsById())
}

/** Waits for the next changes and shows them. A change is delivered when its commit can be read. */
async function showChanges(count: number): Promise<void> {
  for (let shown = 0; shown < count; shown++) {
    const next = await changes.next()
    if (next.done !== true) line(describeChange(next.value))
  }
}
