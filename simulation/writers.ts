import pg from 'pg'
import { operationText, type WriterOperation } from './operation.js'
import type { View } from './compare.js'
import { createTableSql, selectAll, statementOf } from './sql.js'
import type { SimulatedTable } from './tables.js'

/** Sessions that carry out a history in Postgres, one statement at a time. */
export class Writers implements AsyncDisposable {
  readonly #clients: pg.Client[] = []
  readonly #gidPrefix: string

  private constructor(
    readonly databaseUrl: string,
    readonly count: number,
  ) {
    this.#gidPrefix = new URL(databaseUrl).pathname.slice(1)
  }

  static async connect(databaseUrl: string, count: number): Promise<Writers> {
    const writers = new Writers(databaseUrl, count)
    await writers.reconnect()
    return writers
  }

  /** New sessions: the server has ended the others. */
  async reconnect(): Promise<void> {
    this.#clients.length = 0
    for (let writer = 0; writer < this.count; writer++) {
      const client = new pg.Client({ connectionString: this.databaseUrl })
      // A session that is lost is told to the statement that is under way.
      client.on('error', () => undefined)
      await client.connect()
      this.#clients.push(client)
      // A history makes lock waits impossible; if one does happen, it is an error and not a hang.
      await client.query("set lock_timeout = '10s'")
    }
  }

  async createTables(tables: readonly SimulatedTable[]): Promise<void> {
    for (const table of tables) await this.#clients[0]!.query(createTableSql(table))
  }

  /** All rows of all tables, as one of the sessions sees them; it must be idle. */
  async selectAll(tables: readonly SimulatedTable[]): Promise<View> {
    return selectAll(this.#clients[0]!, tables)
  }

  /** Carries the operation out. Returns how many rows an INSERT, UPDATE or DELETE touched, else 0. */
  async apply(operation: WriterOperation): Promise<number> {
    const { text, values } = statementOf(operation, `${this.#gidPrefix}_${operation.writer}`)
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
