import pg from 'pg'
import { operationText, type WriterOperation } from './operation.js'
import { statementOf } from './sql.js'

/** Sessions that carry out a history in Postgres, one statement at a time. */
export class Writers implements AsyncDisposable {
  readonly #clients: pg.Client[] = []

  private constructor(readonly gidPrefix: string) {}

  static async connect(databaseUrl: string, count: number): Promise<Writers> {
    const writers = new Writers(new URL(databaseUrl).pathname.slice(1))
    for (let writer = 0; writer < count; writer++) {
      const client = new pg.Client({ connectionString: databaseUrl })
      await client.connect()
      writers.#clients.push(client)
      // A history makes lock waits impossible; if one does happen, it is an error and not a hang.
      await client.query("set lock_timeout = '10s'")
    }
    return writers
  }

  /** Carries the operation out. Returns how many rows an INSERT, UPDATE or DELETE touched, else 0. */
  async apply(operation: WriterOperation): Promise<number> {
    const { text, values } = statementOf(operation, `${this.gidPrefix}_${operation.writer}`)
    const client = this.#clients[operation.writer]!
    const result = await client.query(text, [...values]).catch((cause: unknown) => {
      throw new Error(`Postgres refused a statement of the history: ${operationText(operation)}`, { cause })
    })
    return ['insert', 'update', 'delete'].includes(operation.kind) ? (result.rowCount ?? 0) : 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#clients.map(client => client.end()))
  }
}
