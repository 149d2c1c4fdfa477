/** Loads the table by opening a cache: its slot, its checks and its first proof of freshness included. */
import pg from 'pg'
import { openCache } from '../../src/index.js'
import type { LoadResult } from '../load.js'
import { people } from '../support/database.js'
import { digestOf } from '../support/digest.js'

const pool = new pg.Pool({ connectionString: process.argv[2] })
await pool.query('select')
const started = performance.now()
const cache = await openCache({ pool, entities: [people] })
const elapsedMs = performance.now() - started
const snapshot = cache.snapshot()
const { local } = snapshot.table(people)
const result: LoadResult = { elapsedMs, digest: digestOf(id => local.get(id), local.size) }
console.log(JSON.stringify(result))
await cache.close()
await pool.end()
