/**
 * Express, with what `walcache/fastify` does for Fastify: each request sees one commit, at or after the token that its user brings along.
 *
 *     import { serve } from './express.js'
 *     const close = await serve(pool, 3000)
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express'
import type pg from 'pg'
import { type Cache, CacheError, defineTable, openCache, TokenError, TokenLostError } from '../src/index.js'

interface User {
  readonly id: number
  readonly name: string
}
const users = defineTable<User>({ name: 'users' })

export interface Running {
  readonly url: string
  readonly cache: Cache
  close(): Promise<void>
}

export async function serve(pool: pg.Pool, port: number): Promise<Running> {
  const cache = await openCache({ pool, entities: [users] })
  const app = express()
  app.use(express.json(), requestScope(cache))

  // From memory: no query is sent.
  app.get('/users/:id', async (request, response) => {
    const user = await cache.table(users).findUnique({ where: { id: Number(request.params['id']) } })
    if (user === null) response.sendStatus(404)
    else response.json(user)
  })

  // To Postgres; the commit's token goes to the browser.
  app.put('/users/:id', async (request, response) => {
    const { name } = request.body as { name: string }
    const values = [Number(request.params['id']), name]
    const { token } = await cache.write(client =>
      client.query('update users set name = $2 where id = $1', values),
    )
    response.cookie(COOKIE, token, { httpOnly: true, sameSite: 'lax' }).sendStatus(204)
  })

  app.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    if (response.headersSent) next(error)
    else response.status(error instanceof CacheError ? 503 : 500).json({ error: String(error) })
  })

  const server = app.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cache,
    async close() {
      server.close()
      server.closeAllConnections()
      await cache.close()
    },
  }
}

const COOKIE = 'walcache'

/** Runs what follows in `cache.run`, until the response is sent or the browser has gone. */
function requestScope(cache: Cache): RequestHandler {
  return async (request, response, next) => {
    const isOver = new Promise(resolve => response.once('close', resolve))
    const work = async (): Promise<void> => {
      next()
      await isOver
    }
    const token = new RegExp(`(?:^|; *)${COOKIE}=([\\w.~-]{1,64})`).exec(request.headers.cookie ?? '')?.[1]
    try {
      await cache.run(token === undefined ? {} : { token }, work)
    } catch (error) {
      if (!(error instanceof TokenError || error instanceof TokenLostError)) throw error
      // Not one of this database, or of a history that is gone: this request goes without, and the next one has none.
      response.clearCookie(COOKIE)
      await cache.run({}, work)
    }
  }
}
