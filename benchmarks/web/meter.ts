/** Measures the example's read route three times over, in one process: a child of the benchmark, since TypeORM's decorators are of another kind. */
import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { LRUCache } from 'lru-cache'
import { readDocument } from '../../examples/web/app.js'
import { Document, entities } from '../../examples/web/entities.js'
import { cachedReads, type Reader, type Reads, readsBy } from '../../examples/web/reads.js'
import { openDataSource } from '../../examples/web/start.js'
import { openCache } from '../../src/index.js'
import { walcache } from '../../src/integrations/fastify/index.js'
import { poolOf, tablesOf } from '../../src/integrations/typeorm/index.js'
import { loadAutocannon } from '../support/peers.js'
import { randomIntegers } from '../support/read-loop.js'
import type { WebRound, WebRounds } from './rounds.js'

const CONNECTIONS = 32
const SECONDS = 3
const PATHS = 1_000
const CHECKED = 50
const TTL_MS = 1_000
const LRU_ENTRIES = 50_000

const [url, roundCount] = process.argv.slice(2) as [string, string]
const dataSource = await openDataSource(url)
const cache = await openCache({ pool: poolOf(dataSource), entities: tablesOf(dataSource, entities) })
const database = readsBy(target => dataSource.getRepository(target))

const servers: Record<keyof WebRounds, FastifyInstance> = {
  database: await serve(database, false),
  lru: await serve(
    readsBy(target => remembered(dataSource.getRepository(target))),
    false,
  ),
  cache: await serve(cachedReads(dataSource, cache), true),
}
const paths = await choosePaths()
await checkAnswers()

const rounds: Record<keyof WebRounds, WebRound[]> = { database: [], lru: [], cache: [] }
for (let round = -1; round < Number(roundCount); round++) {
  for (const name of ['database', 'lru', 'cache'] as const) {
    const measured = await measure(servers[name])
    if (round >= 0) rounds[name].push(measured)
  }
}
await checkAnswers()
for (const server of Object.values(servers)) await server.close()
await dataSource.destroy()
console.log(JSON.stringify(rounds))

async function serve(reads: Reads, isCached: boolean): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true })
  if (isCached) await app.register(walcache, { cache })
  app.get('/api/documents/:id', request => readDocument(reads, request))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}

/** What one does without walcache: each read is remembered for a second, and is wrong for as long. */
function remembered<Entity extends object>(repository: Reader<Entity>): Reader<Entity> {
  const answers = new LRUCache<string, Promise<unknown> & object>({ max: LRU_ENTRIES, ttl: TTL_MS })
  const remember =
    <Condition, Answer>(method: string, read: (condition: Condition) => Promise<Answer>) =>
    (condition: Condition): Promise<Answer> => {
      const key = method + JSON.stringify(condition)
      const known = answers.get(key) as Promise<Answer> | undefined
      if (known !== undefined) return known
      const asked = read(condition)
      answers.set(key, asked)
      return asked
    }
  return {
    find: remember('find', options => repository.find(options)),
    findBy: remember('findBy', where => repository.findBy(where)),
    findOneBy: remember('findOneBy', where => repository.findOneBy(where)),
    countBy: remember('countBy', where => repository.countBy(where)),
  } as Reader<Entity>
}

/** Documents, as those ask who wrote them. */
async function choosePaths(): Promise<string[]> {
  const documents = await dataSource.getRepository(Document).find({ order: { id: 'ASC' } })
  const random = randomIntegers(1)
  return Array.from({ length: PATHS }, () => {
    const { id, ownerId } = documents[random(documents.length)]!
    return `/api/documents/${id}?as=${ownerId}`
  })
}

async function checkAnswers(): Promise<void> {
  for (const path of paths.slice(0, CHECKED)) {
    const expected = await servers.database.inject(path)
    assert.equal(expected.statusCode, 200)
    assert.deepEqual((await servers.cache.inject(path)).json(), expected.json())
  }
}

async function measure({ server }: FastifyInstance): Promise<WebRound> {
  const { port } = server.address() as AddressInfo
  const result = await loadAutocannon()({
    url: `http://127.0.0.1:${port}`,
    connections: CONNECTIONS,
    duration: SECONDS,
    workers: 1,
    requests: paths.map(path => ({ method: 'GET', path })),
  })
  assert.equal(result.non2xx + result.errors, 0)
  return { requestsPerSecond: result.requests.average, p99Ms: result.latency.p99 }
}
