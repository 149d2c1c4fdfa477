import { once } from 'node:events'
import { connect } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type Cache, defineTable, openCache } from '../../../src/index.js'
import { walcache, type WalcacheOptions } from '../../../src/integrations/fastify/index.js'
import { caughtUp, poolOf, until } from '../../support/cache.js'
import { testDatabase, type TestDatabase } from '../../support/servers.js'

interface Item {
  readonly id: number
  readonly name: string
}
const items = defineTable<Item>({ name: 'items' })

let db: TestDatabase

beforeAll(async () => {
  db = await testDatabase()
  await db.query(
    'create table items (id integer primary key, name text not null, n integer not null default 0)',
  )
  await db.query("insert into items select i, 'first' from generate_series(1, 50) i")
})

interface Server {
  readonly app: FastifyInstance
  readonly cache: Cache
}

/** A web server with a cache of its own. */
async function server(options: Partial<WalcacheOptions> = {}): Promise<Server> {
  const pool = poolOf(db.url)
  const cache = await openCache({ pool, entities: [items] })
  const app = Fastify()
  await app.register(walcache, { cache, ...options })
  app.get<{ Params: { id: string } }>('/items/:id', ({ params }) => read(cache, Number(params.id)))
  app.put<{ Params: { id: string }; Body: { name: string } }>('/items/:id', async ({ params, body }) => {
    await pool.query('update items set name = $2 where id = $1', [params.id, body.name])
    return {}
  })
  onTestFinished(async () => {
    await app.close()
    await cache.close()
  })
  return { app, cache }
}

async function read(cache: Cache, id: number): Promise<Item | null> {
  return cache.table(items).findUnique({ where: { id } })
}

/** `name=value` of the cookie that a response sets, as a browser would send it back. */
function cookieOf({ headers }: { readonly headers: Record<string, unknown> }): string | undefined {
  const header = headers['set-cookie']
  return header === undefined ? undefined : String(header).split(';')[0]
}

const rename = (id: number, name: string) => ({ method: 'PUT', url: `/items/${id}`, body: { name } }) as const

describe('a token', () => {
  test('is sent after a write, and brings the next request to it on another server', async () => {
    const [a, b] = [await server(), await server()]
    for (let round = 0; round < 100; round++) {
      const written = await a.app.inject(rename(1, `round ${round}`))
      const cookie = cookieOf(written)!
      expect(cookie).toMatch(/^walcache=[\w.~-]+$/)
      const answer = await b.app.inject({ url: '/items/1', headers: { cookie } })
      expect(answer.json()).toMatchObject({ id: 1, name: `round ${round}` })
      expect(cookieOf(answer)).toBeUndefined()
    }
  })

  test('is among other cookies, with the attributes that were asked for', async () => {
    const { app } = await server({
      cookie: {
        name: 'seen',
        path: '/app',
        domain: 'example.com',
        secure: true,
        sameSite: 'strict',
        maxAge: 60,
      },
    })
    app.get('/token', request => ({ token: request.walcache.token }))
    const { headers } = await app.inject(rename(2, 'with attributes'))
    expect(headers['set-cookie']).toMatch(
      /^seen=[\w.~-]+; Max-Age=60; Path=\/app; Domain=example.com; HttpOnly; Secure; SameSite=Strict$/,
    )
    const token = String(headers['set-cookie']).split(';')[0]!.slice('seen='.length)
    const answer = await app.inject({ url: '/token', headers: { cookie: `a=b; seen=${token}; c="d e"` } })
    expect(answer.json()).toEqual({ token })
  })

  test('is what the handler says, if it knows its commit', async () => {
    const { app, cache } = await server()
    let token = ''
    app.post('/write', async request => {
      const written = await cache.write(client =>
        client.query("update items set name = 'written' where id = 3"),
      )
      token = written.token
      request.walcache.wrote(token)
      return {}
    })
    const answer = await app.inject({ method: 'POST', url: '/write' })
    expect(cookieOf(answer)).toBe(`walcache=${token}`)
  })

  test('is sent after reads too, if they are not to go back', async () => {
    const { app } = await server({ monotonicReads: true })
    const cookie = cookieOf(await app.inject('/items/1'))!
    expect(cookie).toMatch(/^walcache=/)
    expect((await app.inject({ url: '/items/1', headers: { cookie } })).statusCode).toBe(200)
  })

  test('that is sent after a read covers what PostgreSQL itself was asked for', async () => {
    const { app, cache } = await server({ monotonicReads: true })
    const fromDatabase = { where: { id: 5 }, onStale: 'database', maxStaleness: 0 } as const
    app.get('/newest', async () => {
      await db.query('update items set n = n + 1 where id = 5')
      const row = await cache.table(items).findUnique(fromDatabase)
      expect(row).not.toBeNull()
      const end = await cache.token()
      await db.query('update items set n = n + 1 where id = 5')
      return { end }
    })
    const answer = await app.inject('/newest')
    const { end } = answer.json<{ end: string }>()
    const token = cookieOf(answer)!.slice('walcache='.length)
    // Nothing that it showed is beyond it.
    const session = cache.session(token)
    session.observe(end)
    expect(session.token).toBe(token)
  })

  test('is the newest of those that the handler says', async () => {
    const { app, cache } = await server()
    app.post('/twice', async request => {
      const write = async (): Promise<string> =>
        (await cache.write(client => client.query('update items set n = n + 1 where id = 6'))).token
      const [first, second] = [await write(), await write()]
      request.walcache.wrote(second)
      request.walcache.wrote(first)
      return { second }
    })
    const answer = await app.inject({ method: 'POST', url: '/twice' })
    expect(cookieOf(answer)).toBe(`walcache=${answer.json<{ second: string }>().second}`)
  })

  test.each([
    ['nothing', ''],
    ['no token', 'nonsense'],
    ['signs that no token has', '%00%ff"<script>'],
    ['a very long text', 'x'.repeat(5_000)],
    ['a token of another database', '1.3w5e11264sg.1.zzz'],
    ['a position that nobody has written', 'BEYOND'],
  ])('that is %s is forgotten, and the request answered', async (_, value) => {
    const { app, cache } = await server()
    const beyond = cache.position.replace(/[^.]+$/, 'zzzzzzzzzz')
    const cookie = `walcache=${value === 'BEYOND' ? beyond : value}`
    const answer = await app.inject({ url: '/items/4', headers: { cookie } })
    expect(answer.statusCode).toBe(200)
    expect(answer.json()).toMatchObject({ id: 4 })
    expect((await app.inject({ ...rename(4, 'again'), headers: { cookie } })).statusCode).toBe(200)
  })

  test('of another database is taken from the browser', async () => {
    const { app } = await server()
    const answer = await app.inject({ url: '/items/4', headers: { cookie: 'walcache=1.3w5e11264sg.1.zzz' } })
    expect(answer.headers['set-cookie']).toMatch(/^walcache=; Max-Age=0; /)
  })
})

describe('a request', () => {
  test('sees one commit from beginning to end, hooks and handlers, with and without a body', async () => {
    const { app, cache } = await server()
    const pool = poolOf(db.url)
    const names: (string | undefined)[] = []
    const look = async (): Promise<void> => void names.push((await read(cache, 5))?.name)
    const change = async (name: string): Promise<void> => {
      await pool.query('update items set name = $1 where id = 5', [name])
      await caughtUp(cache)
    }
    app.addHook('onRequest', look)
    app.addHook('preHandler', look)
    app.all<{ Querystring: { name: string } }>('/twice', async ({ query }) => {
      await look()
      await change(query.name)
      await look()
      return {}
    })
    await app.inject('/twice?name=second')
    expect(names.splice(0)).toEqual(['first', 'first', 'first', 'first'])
    // On a socket, since a body comes by its events there.
    const address = await app.listen()
    const body = JSON.stringify({ text: 'x'.repeat(200_000) })
    const headers = { 'content-type': 'application/json' }
    await fetch(`${address}/twice?name=third`, { method: 'POST', body, headers })
    expect(names).toEqual(['second', 'second', 'second', 'second'])
  })

  test('keeps nothing when it is over, also if the browser did not wait', async () => {
    const { app, cache } = await server()
    let scopes = 0
    app.get('/slow', async request => {
      if (request.walcache.scope !== null) scopes++
      await new Promise(() => undefined)
    })
    const address = await app.listen()
    await fetch(`${address}/items/1`)
    const socket = connect(Number(new URL(address).port), '127.0.0.1')
    socket.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => scopes === 1, 'the request runs')
    expect(cache.health().openSnapshots).toBe(1)
    socket.destroy()
    await until(() => cache.health().openSnapshots === 0, 'its snapshot is closed')
  })

  test('keeps nothing if the browser has gone before it begins', async () => {
    const cache = await openCache({ pool: poolOf(db.url), entities: [items] })
    const app = Fastify()
    let handled = 0
    // As one that asks who the user is would be.
    app.addHook('onRequest', async (_request, reply) => {
      const gone = once(reply.raw, 'close')
      socket.destroy()
      await gone
    })
    await app.register(walcache, { cache })
    app.get('/late', () => {
      handled++
      return {}
    })
    onTestFinished(() => app.close())
    const address = await app.listen()
    const socket = connect(Number(new URL(address).port), '127.0.0.1')
    socket.write('GET /late HTTP/1.1\r\nHost: x\r\n\r\n')
    await until(() => handled === 1, 'the request runs')
    await until(() => cache.health().openSnapshots === 0, 'its snapshot is closed')
  })

  test('on a route without a scope reads what is newest', async () => {
    const { app, cache } = await server()
    app.get('/events', { config: { walcache: { scope: false } } }, request => ({
      scope: request.walcache.scope,
      current: cache.scope,
    }))
    expect((await app.inject('/events')).json()).toEqual({ scope: null, current: null })
  })
})

describe('health and readiness', () => {
  test('say that a server is ready once it is loaded and fresh, and no longer when it is not', async () => {
    const pool = poolOf(db.url)
    const cache = await openCache({ pool, entities: [items], wait: false })
    const app = Fastify()
    await app.register(walcache, { cache, healthPath: '/live', close: false })
    expect((await app.inject('/ready')).statusCode).toBe(503)
    const { stalenessMs, state } = (await app.inject('/live')).json<{ stalenessMs: unknown; state: string }>()
    expect([stalenessMs, state]).toEqual([null, 'starting'])
    await cache.ready()
    expect((await app.inject('/ready')).json()).toEqual({ ready: true })
    const health = await app.inject('/live')
    expect(health.statusCode).toBe(200)
    expect(health.json()).toMatchObject({ state: 'live', lastError: null })
    await app.close()
    // It was told to leave the cache open.
    expect(cache.state).toBe('live')
    await cache.close()
  })

  test('say that a closed cache is neither', async () => {
    const { app, cache } = await server()
    await cache.close()
    expect((await app.inject('/ready')).statusCode).toBe(503)
    expect((await app.inject('/health')).statusCode).toBe(503)
    // What needs the cache says so, and does not hang.
    expect((await app.inject('/items/1')).statusCode).toBe(503)
  })

  test('can be left out', async () => {
    const { app } = await server({ healthPath: false, readyPath: false })
    expect((await app.inject('/health')).statusCode).toBe(404)
    expect((await app.inject('/ready')).statusCode).toBe(404)
  })
})

test('the cache closes with the application', async () => {
  const { app, cache } = await server()
  expect(app.cache).toBe(cache)
  await app.close()
  expect(cache.state).toBe('closed')
})
