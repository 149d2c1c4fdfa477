/** Loads the table by opening a cache: its slot, its checks and its first proof of freshness included. */
import pg from 'pg'
import { openCache } from '../../src/index.js'
import type { LoadResult } from '../load.js'
import { people } from '../support/database.js'
import { digestOf } from '../support/digest.js'
import { startLoad } from './meter.js'

const pool = new pg.Pool({ connectionString: process.argv[2] })
await pool.query('select')
const stop = startLoad()
const cache = await openCache({ pool, entities: [people] })
const measured = stop()
const snapshot = cache.snapshot()
const { local } = snapshot.table(people)
const result: LoadResult = { ...measured, digest: digestOf(id => local.get(id), local.size) }
console.log(JSON.stringify(result))
await cache.close()
await pool.end()
