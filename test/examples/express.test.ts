import { expect, onTestFinished, test } from 'vitest'
import { type Running, serve } from '../../examples/express.js'
import { poolOf } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'

async function server(url: string): Promise<Running> {
  const running = await serve(poolOf(url), 0)
  onTestFinished(() => running.close())
  return running
}

test('what is written through one server is read through another, by whoever brings the token', async () => {
  const db = await testDatabase()
  await db.query('create table users (id integer primary key, name text not null)')
  await db.query("insert into users values (1, 'Ada')")
  const [a, b] = [await server(db.url), await server(db.url)]
  for (let round = 0; round < 20; round++) {
    const body = JSON.stringify({ name: `Ada ${round}` })
    const headers = { 'content-type': 'application/json' }
    const written = await fetch(`${a.url}/users/1`, { method: 'PUT', headers, body })
    expect(written.status).toBe(204)
    const cookie = written.headers.get('set-cookie')!.split(';')[0]!
    const answer = await fetch(`${b.url}/users/1`, { headers: { cookie } })
    expect(await answer.json()).toEqual({ id: 1, name: `Ada ${round}` })
  }
  expect((await fetch(`${b.url}/users/2`)).status).toBe(404)
  const other = await fetch(`${b.url}/users/1`, { headers: { cookie: 'walcache=1.abc.1.zzz' } })
  expect(other.status).toBe(200)
  expect(other.headers.get('set-cookie')).toMatch(/^walcache=;/)
})
