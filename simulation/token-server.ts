/** A process of the tokens scenario: a cache, and a parent that gives orders. */
import pg from 'pg'
import type { DecoderName } from '../src/decode/index.js'
import { defineTable, openCache } from '../src/index.js'

export type Order =
  | { readonly write: number; readonly asynchronous: boolean }
  /** A token. */
  | { readonly read: string }

export type Answer = 'ready' | { readonly token: string } | { readonly n: number; readonly waitMs: number }

const [connectionString, decoder] = process.argv.slice(2) as [string, DecoderName]
const balances = defineTable<{ id: number; n: number }>({ name: 'balances' })
const pool = new pg.Pool({ connectionString })
const cache = await openCache({ pool, entities: [balances], decoder })
const table = cache.table(balances)

async function follow(order: Order): Promise<Answer> {
  if ('write' in order) {
    const { token } = await cache.write(async client => {
      if (order.asynchronous) await client.query('set local synchronous_commit = off')
      await client.query('update balances set n = $1 where id = 1', [order.write])
    })
    return { token }
  }
  const askedMs = performance.now()
  await cache.waitFor(order.read)
  return { n: table.local.get(1)!.n, waitMs: performance.now() - askedMs }
}

const send = (answer: Answer): void => void process.send!(answer)
process.on('message', (order: Order) => void follow(order).then(send))
process.once('disconnect', () => {
  void cache.close().then(() => pool.end())
})
send('ready')
