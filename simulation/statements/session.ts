import pg from 'pg'
import type { Random } from '../random.js'
import { alone, type Production } from './grammar.js'

export interface SessionOptions {
  readonly databaseUrl: string
  readonly number: number
  readonly random: Random
  readonly productions: readonly Production[]
  /** How often each production was carried out in a transaction that committed, and how often a statement was refused. */
  readonly done: Record<string, number>
  readonly refused: Record<string, number>
}

const STATEMENTS_MAX = 6
/** Who waits for longer is one of two that wait for each other through us. */
const LOCK_TIMEOUT = '2s'

/** One writer: a transaction after the other, as the grammar has them. What the server refuses is rolled back, and counted by its SQLSTATE. */
export class StatementSession implements AsyncDisposable {
  readonly #options: SessionOptions
  readonly #client: pg.Client
  #prepared = 0
  commits = 0
  statements = 0

  private constructor(options: SessionOptions, client: pg.Client) {
    this.#options = options
    this.#client = client
  }

  static async open(options: SessionOptions): Promise<StatementSession> {
    const client = new pg.Client({ connectionString: options.databaseUrl })
    await client.connect()
    await client.query(`set lock_timeout = '${LOCK_TIMEOUT}'`)
    return new StatementSession(options, client)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.end()
  }

  /** One transaction, or one of the statements that want to be alone. */
  async transaction(): Promise<void> {
    const { random, productions } = this.#options
    if (random.chance(0.03)) {
      await this.#attempt(random.pick(alone))
      return
    }
    const chosen = Array.from({ length: random.between(1, STATEMENTS_MAX) }, () => this.#pick(productions))
    const texts = chosen.map(each => each.text(random))
    const isolation = random.weighted({ 'read committed': 6, 'repeatable read': 2, serializable: 1 })
    const end = random.weighted({ commit: 12, rollback: 1, prepare: 2 })
    const isAsynchronous = random.chance(0.2)
    if (!(await this.#attempt(`begin isolation level ${isolation}`))) return
    if (isAsynchronous) await this.#attempt('set local synchronous_commit = off')
    for (const text of texts)
      if (!(await this.#attempt(text))) {
        await this.#attempt('rollback')
        return
      }
    if (!(await this.#end(end))) return
    this.commits++
    const { done } = this.#options
    for (const { name } of chosen) done[name] = (done[name] ?? 0) + 1
  }

  /** Whether it is committed. */
  async #end(how: 'commit' | 'rollback' | 'prepare'): Promise<boolean> {
    const { random, number } = this.#options
    if (how === 'rollback') {
      await this.#attempt('rollback')
      return false
    }
    if (how === 'commit') return this.#attempt('commit')
    const name = `statements_${number}_${this.#prepared++}`
    if (!(await this.#attempt(`prepare transaction '${name}'`))) return false
    // Others run meanwhile: it holds its locks.
    await this.#attempt('select pg_sleep(0.005)')
    const isCommitted = random.chance(0.8)
    await this.#attempt(`${isCommitted ? 'commit' : 'rollback'} prepared '${name}'`)
    return isCommitted
  }

  #pick(productions: readonly Production[]): Production {
    const { random } = this.#options
    let left = random.below(productions.reduce((sum, { weight }) => sum + weight, 0))
    return productions.find(({ weight }) => (left -= weight) < 0)!
  }

  /** Whether the server has carried it out. @throws what is no answer of the server's. */
  async #attempt(text: string): Promise<boolean> {
    this.statements++
    try {
      await this.#client.query(text)
      return true
    } catch (error) {
      const { code } = error as { code?: unknown }
      if (typeof code !== 'string') throw error
      const { refused } = this.#options
      refused[code] = (refused[code] ?? 0) + 1
      // A statement that is wrong in itself would hide behind this.
      if (/^42(601|703|P01|883)$/.test(code))
        throw new Error(`The grammar is wrong: ${text}`, { cause: error })
      return false
    }
  }
}
