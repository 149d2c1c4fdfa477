/**
 * Reads of one's own writes across processes: two servers, each in a process of its own with a cache of its own. What one writes, the other reads
 * with the write's token, in turns. A read that does not show the write is stale, and there may be none.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import pg from 'pg'
import type { DecoderName } from '../src/decode/index.js'
import { percentiles, type Percentiles } from './percentiles.js'
import type { Answer, Order } from './token-server.js'

export interface TokensOptions {
  readonly databaseUrl: string
  /** How many writes, and reads, in each situation. */
  readonly steps: number
  readonly decoder: DecoderName
}

/** With how long the reading process waited for the token. */
export interface TokensResult extends Percentiles {
  readonly situation: Situation
  readonly stale: number
}

/**
 * `idle`: nobody else does anything. `busy`: another session writes all the time. `asynchronous`: commits don't wait for their flush.
 * `openTransaction`: a session has written, and neither commits nor rolls back.
 */
type Situation = 'idle' | 'busy' | 'asynchronous' | 'openTransaction'
const SITUATIONS: readonly Situation[] = ['idle', 'busy', 'asynchronous', 'openTransaction']

/** Creates the tables in an empty database, and goes through all situations. */
export async function runTokens({ databaseUrl, steps, decoder }: TokensOptions): Promise<TokensResult[]> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query(`create table balances (id int primary key, n int not null);
      create table noise (id int primary key, n int not null);
      insert into balances values (1, 0); insert into noise values (1, 0)`)
    await using one = await Server.start(databaseUrl, decoder)
    await using other = await Server.start(databaseUrl, decoder)
    const results: TokensResult[] = []
    let n = 0
    for (const situation of SITUATIONS) {
      const end = await bringAbout(situation, databaseUrl)
      const waits: number[] = []
      let stale = 0
      for (let step = 0; step < steps; step++) {
        n++
        const [writer, reader] = step % 2 === 0 ? [one, other] : [other, one]
        const { token } = await writer.write({ write: n, asynchronous: situation === 'asynchronous' })
        const read = await reader.read({ read: token })
        if (read.n !== n) stale++
        waits.push(read.waitMs)
      }
      await end()
      results.push({ situation, stale, ...percentiles(waits) })
    }
    return results
  } finally {
    await client.end()
  }
}

/** Returns what ends it. */
async function bringAbout(situation: Situation, databaseUrl: string): Promise<() => Promise<void>> {
  if (situation !== 'busy' && situation !== 'openTransaction') return async () => undefined
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  if (situation === 'openTransaction') {
    await client.query('begin; insert into noise values (2, 0)')
    return () => client.end()
  }
  let isOver = false
  const writing = (async () => {
    while (!isOver) await client.query('update noise set n = n + 1')
  })()
  return async () => {
    isOver = true
    await writing
    await client.end()
  }
}

class Server implements AsyncDisposable {
  readonly #process: ReturnType<typeof fork>

  private constructor(process: ReturnType<typeof fork>) {
    this.#process = process
  }

  static async start(databaseUrl: string, decoder: DecoderName): Promise<Server> {
    const child = fork(join(import.meta.dirname, 'token-server.ts'), [databaseUrl, decoder], {
      execArgv: ['--import', 'tsx'],
    })
    const server = new Server(child)
    await server.#answer()
    return server
  }

  async write(order: Extract<Order, { write: number }>): Promise<{ token: string }> {
    this.#process.send(order)
    return (await this.#answer()) as { token: string }
  }

  async read(order: Extract<Order, { read: string }>): Promise<{ n: number; waitMs: number }> {
    this.#process.send(order)
    return (await this.#answer()) as { n: number; waitMs: number }
  }

  async #answer(): Promise<Answer> {
    const gone = new AbortController()
    const onExit = (code: number | null): void => gone.abort(new Error(`A server's process ended (${code}).`))
    this.#process.once('exit', onExit)
    try {
      const [answer] = (await once(this.#process, 'message', { signal: gone.signal })) as [Answer]
      return answer
    } catch (error) {
      throw gone.signal.aborted ? gone.signal.reason : error
    } finally {
      this.#process.off('exit', onExit)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#process
    if (exitCode !== null || signalCode !== null) return
    const ended = once(this.#process, 'exit')
    // It closes its cache when there is nobody to take orders from.
    this.#process.disconnect()
    await ended
  }
}
