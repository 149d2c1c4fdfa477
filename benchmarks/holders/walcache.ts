/** Holds the table as a cache does. */
import pg from 'pg'
import { openCache } from '../../src/index.js'
import { people } from '../support/database.js'
import { digestOf } from '../support/digest.js'
import { holdOrder, say, size, updateRows } from './meter.js'

const order = holdOrder()
const { url, publication } = order
const pool = new pg.Pool({ connectionString: url })
const cache = await openCache({ pool, entities: [people], publication })
const sizes = await size()
const countedBytes = cache.health().bytes
const flow = await updateRows(pool, order, async () =>
  cache.waitFor(await cache.token(), { timeoutMs: 600_000 }),
)
const { local } = cache.snapshot().table(people)
say({ ...sizes, countedBytes, ...flow, digest: digestOf(id => local.get(id), local.size) })
await cache.close()
await pool.end()
