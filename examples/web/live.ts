import type { ServerResponse } from 'node:http'
import type { DataSource } from 'typeorm'
import type { Cache, TableChange } from '../../src/index.js'
import { tablesOf } from '../../src/integrations/typeorm/index.js'
import type { Events, Panel } from './api.js'
import { Comment, Follower, Permission } from './entities.js'
import type { CachedReads } from './reads.js'
import { accessOf, commentView, countUnread } from './views.js'

const CONNECTIONS_MAX = 1_000
/** What a browser may leave unread before it is cut off; it comes back and reads anew. */
const UNSENT_BYTES_MAX = 256 * 1024
const PANEL_EVERY_MS = 1_000
const RETRY_MS = 300

interface Connection {
  readonly userId: number
  readonly response: ServerResponse
}

interface Context {
  readonly cache: Cache
  readonly dataSource: DataSource
  readonly reads: CachedReads
  readonly panel: () => Panel
  readonly onError: (error: unknown) => void
}

type Row = Readonly<Record<string, unknown>>

/**
 * Tells browsers what happened, by Server-Sent Events: one follower of each table, however many browsers there are.
 *
 * A change comes when its commit can be read here, so what is asked of memory in answer to it has it already.
 */
export class LiveUpdates {
  readonly #context: Context
  readonly #connections = new Set<Connection>()
  readonly #ending = new AbortController()
  readonly #followers: Promise<void>[]
  readonly #panelTimer: NodeJS.Timeout

  constructor(context: Context) {
    this.#context = context
    this.#followers = [
      this.#follow(Comment, change => this.#onComment(change)),
      this.#follow(Follower, change => this.#onFollower(change)),
      this.#follow(Permission, change => this.#onPermission(change)),
    ]
    this.#panelTimer = setInterval(() => {
      for (const connection of this.#connections) send(connection, 'panel', context.panel())
    }, PANEL_EVERY_MS)
  }

  /** Keeps the response open and sends it what concerns this user. False if there are too many already. */
  connect(userId: number, response: ServerResponse): boolean {
    if (this.#connections.size >= CONNECTIONS_MAX || this.#ending.signal.aborted) return false
    const connection = { userId, response }
    // The body ends with the connection: a server that goes down ends it well, and not in the middle of a chunk.
    response.useChunkedEncodingByDefault = false
    response.shouldKeepAlive = false
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write(`retry: ${RETRY_MS}\n\n`)
    this.#connections.add(connection)
    response.once('close', () => this.#connections.delete(connection))
    send(connection, 'panel', this.#context.panel())
    return true
  }

  async close(): Promise<void> {
    clearInterval(this.#panelTimer)
    this.#ending.abort()
    for (const { response } of this.#connections) response.end()
    await Promise.all(this.#followers)
  }

  async #follow(
    entity: typeof Comment | typeof Follower | typeof Permission,
    onChange: (change: TableChange<Row>) => Promise<void>,
  ): Promise<void> {
    const { cache, dataSource, onError } = this.#context
    const [table] = tablesOf(dataSource, [entity])
    try {
      for await (const change of cache.table(table!).changes({ signal: this.#ending.signal })) {
        if (this.#connections.size > 0) await onChange(change)
      }
    } catch (error) {
      onError(error)
    }
  }

  async #onComment(change: TableChange<Row>): Promise<void> {
    if (change.kind !== 'insert') return this.#reloadAll(change)
    const { reads } = this.#context
    const comment = await reads.comments.findOneBy({ id: Number(change.new!['id']) })
    const document = comment && (await reads.documents.findOneBy({ id: comment.documentId }))
    // Deleted already: that change comes too.
    if (comment === null || document === null) return
    const author = await reads.users.findOneBy({ id: comment.authorId })
    for (const connection of this.#connections) {
      const user = await reads.users.findOneBy({ id: connection.userId })
      if (user === null || (await accessOf(reads, user, document)) === 'none') continue
      send(connection, 'comment', commentView(comment, author?.name ?? ''))
      await this.#sendUnread(connection, document.id)
    }
  }

  async #onFollower(change: TableChange<Row>): Promise<void> {
    const row = rowOf(change)
    if (row === null) return this.#reloadAll(change)
    for (const connection of this.#of(row)) await this.#sendUnread(connection, Number(row['document_id']))
  }

  async #onPermission(change: TableChange<Row>): Promise<void> {
    const row = rowOf(change)
    if (row === null) return this.#reloadAll(change)
    for (const connection of this.#of(row))
      send(connection, 'reload', { documentId: Number(row['document_id']) })
  }

  #of(row: Row): Connection[] {
    return [...this.#connections].filter(({ userId }) => userId === Number(row['user_id']))
  }

  async #sendUnread(connection: Connection, documentId: number): Promise<void> {
    const { reads } = this.#context
    const { userId } = connection
    const following = await reads.followers.findOneBy({ userId, documentId })
    if (following === null) return
    const unread = await countUnread(reads, userId, documentId, following.seenCommentId)
    send(connection, 'unread', { documentId, unread })
  }

  /** An update or a deletion of comments is rare here, and a gap is too: everything is read again. */
  async #reloadAll(change: TableChange<Row>): Promise<void> {
    const row = rowOf(change)
    const documentId = row === null ? null : Number(row['document_id'])
    for (const connection of this.#connections) send(connection, 'reload', { documentId })
  }
}

/** The row that has changed, or that was deleted; null if the change names none. */
function rowOf(change: TableChange<Row>): Row | null {
  return 'new' in change ? (change.new ?? change.old ?? null) : null
}

function send<Name extends keyof Events>({ response }: Connection, name: Name, data: Events[Name]): void {
  if (response.writableLength > UNSENT_BYTES_MAX) response.destroy()
  else response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`)
}
