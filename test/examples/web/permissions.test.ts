import { expect, onTestFinished, test } from 'vitest'
import { seed } from '../../../examples/web/seed.js'
import { type App, startApp } from '../../../examples/web/start.js'
import { poolOf } from '../../support/cache.js'
import { testDatabase } from '../../support/servers.js'

const LANES = 20
/** How many changes are made: 10,000 take a minute. */
const CHANGES = Number(process.env['WALCACHE_PERMISSION_CHANGES'] ?? 2_000)
const ROUNDS = Math.ceil(CHANGES / LANES)
const LIMIT_MS = 240_000

async function server(name: string, url: string): Promise<App> {
  const app = await startApp({ name, url })
  onTestFinished(() => app.close())
  return app
}

/** A document, one of its team, and somebody of another team. */
interface Lane {
  readonly document: number
  readonly owner: number
  readonly guest: number
}

test('a permission that is changed on one server is obeyed by the next request on another that brings the token', {
  timeout: LIMIT_MS,
}, async () => {
  const db = await testDatabase()
  await seed(poolOf(db.url), { users: 100, documents: 200 })
  const [a, b] = [await server('A', db.url), await server('B', db.url)]
  const lanes = await db.query<Lane>(`
      select d.id as document, d.owner_id as owner, (select min(u.id) + d.id % 50 from users u where u.team_id <> d.team_id
        and not exists (select from users v where v.id = u.id + d.id % 50 and v.team_id = d.team_id)) as guest
      from documents d order by d.id limit ${LANES}`)
  let obeyed = 0
  const stale: string[] = []
  await Promise.all(
    lanes.map(async ({ document, owner, guest }) => {
      const permission = `/api/documents/${document}/permissions/${guest}?as=${owner}`
      for (let round = 0; round < ROUNDS; round++) {
        const isGranted = round % 2 === 0
        const changed = await a.fastify.inject(
          isGranted
            ? { method: 'PUT', url: permission, body: { level: 'read' } }
            : { method: 'DELETE', url: permission },
        )
        expect(changed.statusCode).toBe(204)
        const cookie = String(changed.headers['set-cookie']).split(';')[0]!
        const answer = await b.fastify.inject({
          url: `/api/documents/${document}?as=${guest}`,
          headers: { cookie },
        })
        if (answer.statusCode === (isGranted ? 200 : 404)) obeyed++
        else stale.push(`document ${document}, round ${round}: ${answer.statusCode}`)
      }
    }),
  )
  expect(stale).toEqual([])
  expect(obeyed).toBe(LANES * ROUNDS)
  // And it was memory that answered.
  expect(b.cache.health().databaseRunning).toBe(0)
})
