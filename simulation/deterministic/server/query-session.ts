import type { QueryConnection, TextRow } from '../../../src/runtime.js'
import { ClientSession } from './client-session.js'
import { copy } from './read-statements.js'
import type { ScriptedServer } from './server.js'

/** A session that answers SQL, as the cache has it. */
export class ScriptedQuery implements QueryConnection {
  readonly #session: ClientSession
  readonly closed: Promise<void>

  constructor(server: ScriptedServer) {
    this.#session = new ClientSession(server)
    this.closed = this.#session.ended.then(() => undefined)
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
      const bytes = Buffer.from(lines.join(''))
      // Chunks end in the middle of rows.
      for (let at = 0; at < bytes.length; ) {
        const size = server.random.between(1, Math.max(1, Math.min(bytes.length - at, 4096)))
        const end = at + size
        yield await session.request(() => {
          server.faults.beforeCopyChunk()
          return bytes.subarray(at, end)
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
