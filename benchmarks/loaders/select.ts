/** Loads the table into a Map of what `pg` gives. */
import pg from 'pg'
import type { LoadResult } from '../load.js'
import type { Person } from '../support/database.js'
import { digestOf } from '../support/digest.js'

const pool = new pg.Pool({ connectionString: process.argv[2] })
await pool.query('select')
const started = performance.now()
const { rows } = await pool.query<Person>('select * from people')
const byKey = new Map<number, Person>()
for (const row of rows) byKey.set(row.id, row)
const elapsedMs = performance.now() - started
const result: LoadResult = { elapsedMs, digest: digestOf(id => byKey.get(id), byKey.size) }
console.log(JSON.stringify(result))
await pool.end()
