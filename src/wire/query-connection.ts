import type pg from 'pg'
import type { QueryConnection, TextRow, Timers } from '../runtime.js'
import { lostError, meansLost } from './connect-errors.js'
import { CopyOut } from './copy-out.js'
import { type Opening, Socket } from './socket.js'

/** One session that answers SQL, over a client of the caller's own `pg`. */
export class PgQueryConnection implements QueryConnection {
  readonly #client: pg.Client
  readonly #socket: Socket
  readonly #timers: Timers
  readonly closed: Promise<void>
  #pid = 0
  #closing: Promise<void> | undefined

  private constructor(client: pg.Client, socket: Socket, timers: Timers) {
    this.#client = client
    this.closed = new Promise(resolve => client.once('end', resolve))
    this.#socket = socket
    this.#timers = timers
  }

  /** Connects and prepares. Rejects with what `pg` says, or the signal's reason. */
  static async open(Client: typeof pg.Client, opening: Opening): Promise<PgQueryConnection> {
    const { config, timers, limitMs, signal, prepare } = opening
    const socket = new Socket(config.stream)
    const client = new Client({ ...config, stream: socket.stream })
    // The query that runs meets the loss itself, and so does the next one; without a listener the process would end.
    client.on('error', () => undefined)
    const connection = new PgQueryConnection(client, socket, timers)
    const connect = async () => {
      await client.connect()
      connection.#pid = (await prepare(connection)).pid
    }
    try {
      await socket.within(connect(), timers, limitMs, signal)
    } catch (error) {
      socket.cut()
      throw error
    }
    return connection
  }

  get pid(): number {
    return this.#pid
  }

  get received(): number | null {
    return this.#socket.received
  }

  async query(sql: string, parameters?: readonly (string | null)[]): Promise<TextRow[]> {
    try {
      const { rows } = await this.#client.query<TextRow>(
        sql,
        parameters === undefined ? undefined : [...parameters],
      )
      return rows
    } catch (error) {
      throw meansLost(error) ? lostError(error) : error
    }
  }

  async *copyOut(sql: string): AsyncIterable<Uint8Array> {
    const query = this.#client.query(new CopyOut(sql))
    let isComplete = false
    try {
      yield* query.rows()
      isComplete = true
    } catch (error) {
      isComplete = !meansLost(error)
      throw isComplete ? error : lostError(error)
    } finally {
      // The rest of the rows is still on its way, with nobody to take it: the session is of no use any more.
      if (!isComplete) this.#socket.cut()
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  async #end(): Promise<void> {
    // pg says goodbye if no query runs, and else cuts the socket itself.
    await this.#socket.goodbye(this.#client.end(), this.#timers)
  }
}
