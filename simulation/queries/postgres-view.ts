import pg from 'pg'
import type { LocalReads, Snapshot } from '../../src/index.js'
import type { Row } from './random-query.js'

/** PostgreSQL as of one commit. */
export class Oracle {
  readonly #client: pg.Client
  /** Settles when the client is free. */
  #free: Promise<unknown> = Promise.resolve()

  private constructor(client: pg.Client) {
    this.#client = client
  }

  static async open(config: pg.ClientConfig, table: string): Promise<Oracle> {
    const client = new pg.Client(config)
    await client.connect()
    await client.query(`begin isolation level repeatable read read only; select from ${table}`)
    return new Oracle(client)
  }

  /** One query after the other, in the order in which they were asked. */
  ask(sql: string, parameters: unknown[]): Promise<readonly Row[]> {
    const answered = this.#free.then(async () => (await this.#client.query<Row>(sql, parameters)).rows)
    this.#free = answered.catch(() => 'told to whoever asked')
    return answered
  }

  close(): Promise<void> {
    return this.#client.end()
  }
}

/** One commit, seen by PostgreSQL and by memory. */
export interface View {
  readonly oracle: Oracle
  readonly snapshot: Snapshot
  readonly local: LocalReads<Row>
}

export async function closeView({ oracle, snapshot }: View): Promise<void> {
  snapshot.close()
  await oracle.close()
}
