import type { QueryConnection, TextRow } from '../../../src/runtime.js'
import { ClientSession } from './client-session.js'
import { copy } from './read-statements.js'
import type { ScriptedServer } from './server.js'

/** Rows that arrive together. */
const ROWS_AT_ONCE_MAX = 50

/** A session that answers SQL, as the cache has it. */
export class ScriptedQuery implements QueryConnection {
  readonly #session: ClientSession
  readonly closed: Promise<void>

  constructor(server: ScriptedServer) {
    this.#session = new ClientSession(server)
    this.closed = this.#session.ended.then(() => undefined)
  }

  get pid(): number {
    return this.#session.backend.pid
  }

  get received(): number {
    return this.#session.received
  }

  query(sql: string, parameters?: readonly (string | null)[]): Promise<TextRow[]> {
    return this.#session.query(sql, parameters ?? [])
  }

  async *copyOut(sql: string): AsyncIterable<Uint8Array> {
    const session = this.#session
    const { server } = session
    let isComplete = false
    try {
      const lines = await session.request(backend => copy(backend, sql))
      for (let at = 0; at < lines.length; ) {
        const end = at + server.random.between(1, ROWS_AT_ONCE_MAX)
        yield await session.request(() => {
          server.faults.beforeCopyChunk()
          return Buffer.concat(lines.slice(at, end).map(copyData))
        })
        at = end
      }
      isComplete = true
    } finally {
      if (!isComplete && !session.isOver) session.lose(new Error('the rest of a COPY was not read'))
    }
  }

  close(): Promise<void> {
    return this.#session.close()
  }
}

/** A row as a message of its own: its tag, a length that counts itself and the row, the row. */
function copyData(line: string): Buffer {
  const row = Buffer.from(line)
  const message = Buffer.alloc(5 + row.length)
  message.write('d')
  message.writeUInt32BE(4 + row.length, 1)
  row.copy(message, 5)
  return message
}
