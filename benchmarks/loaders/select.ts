/** Loads the table into a Map of what `pg` gives. */
import pg from 'pg'
import type { LoadResult } from '../load.js'
import type { Person } from '../support/database.js'
import { digestOf } from '../support/digest.js'
import { startLoad } from './meter.js'

const pool = new pg.Pool({ connectionString: process.argv[2] })
await pool.query('select')
const stop = startLoad()
const { rows } = await pool.query<Person>('select * from people')
const byKey = new Map<number, Person>()
for (const row of rows) byKey.set(row.id, row)
const measured = stop()
const result: LoadResult = { ...measured, digest: digestOf(id => byKey.get(id), byKey.size) }
console.log(JSON.stringify(result))
await pool.end()
