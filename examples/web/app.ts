import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { transform } from 'esbuild'
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import type { DataSource } from 'typeorm'
import type { Cache } from '../../src/index.js'
import { walcache } from '../../src/integrations/fastify/index.js'
import type { CommentView, DocumentView, Home, Panel } from './api.js'
import { Comment, Document, Follower, type Level, Permission, User } from './entities.js'
import { LiveUpdates } from './live.js'
import { type CachedReads, cachedReads, type Reads } from './reads.js'
import { type Access, accessOf, commentView, documentView, followedDocuments, personView } from './views.js'

const COMMENT_CHARACTERS_MAX = 2_000
const INTEGER_MAX = 2 ** 31 - 1

/** Answered as it stands. */
class HttpError extends Error {
  constructor(
    readonly statusCode: number,
    message: string,
  ) {
    super(message)
  }
}

export interface AppOptions {
  readonly name: string
  readonly dataSource: DataSource
  readonly cache: Cache
}

/**
 * One web server: reads from memory, writes to Postgres through TypeORM.
 *
 * Who somebody is, the page says by the parameter `as`: an example has no passwords, and two users fit into one browser.
 */
export async function buildApp({ name, dataSource, cache }: AppOptions): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true, return503OnClosing: false })
  await app.register(walcache, { cache })
  const reads = cachedReads(dataSource, cache)
  let lastReadMs = 0
  const timed = async <T>(work: () => Promise<T>): Promise<T> => {
    const started = performance.now()
    const result = await work()
    lastReadMs = performance.now() - started
    return result
  }
  const live = new LiveUpdates({
    cache,
    dataSource,
    reads,
    panel: () => panelOf(cache, reads, lastReadMs),
    onError: error => console.error(`${name}: live updates have ended:`, error),
  })
  // Browsers would hold the server up for as long as they listen.
  app.addHook('preClose', () => live.close())
  await servePage(app)
  readRoutes(app, name, reads, timed)
  writeRoutes(app, dataSource, reads)
  app.get('/api/events', { config: { walcache: { scope: false } } }, async (request, reply) => {
    const user = await userOf(reads, request)
    if (!live.connect(user.id, reply.raw)) throw new HttpError(503, 'Too many listen already.')
    reply.hijack()
  })
  return app
}

async function servePage(app: FastifyInstance): Promise<void> {
  const folder = join(import.meta.dirname, 'page')
  const read = (file: string): Promise<string> => readFile(join(folder, file), 'utf8')
  const { code } = await transform(await read('page.ts'), { loader: 'ts', target: 'es2022' })
  const files = [
    { path: '/', type: 'text/html', text: await read('index.html') },
    { path: '/page.css', type: 'text/css', text: await read('page.css') },
    { path: '/page.js', type: 'text/javascript', text: code },
  ]
  for (const { path, type, text } of files)
    app.get(path, (_, reply) => reply.type(`${type}; charset=utf-8`).send(text))
}

function readRoutes(
  app: FastifyInstance,
  name: string,
  reads: Reads,
  timed: <T>(work: () => Promise<T>) => Promise<T>,
): void {
  app.get('/api/home', request =>
    timed(async (): Promise<Home> => {
      const user = await userOf(reads, request)
      return {
        server: name,
        user: await personView(reads, user),
        documents: await followedDocuments(reads, user),
      }
    }),
  )
  app.get('/api/documents/:id', request => timed(() => readDocument(reads, request)))
}

/** The route that the benchmark measures. */
export async function readDocument(
  reads: Reads,
  request: Pick<FastifyRequest, 'params' | 'query'>,
): Promise<DocumentView> {
  const { document, access } = await documentOf(reads, request, 'read')
  return documentView(reads, document, access)
}

function writeRoutes(app: FastifyInstance, dataSource: DataSource, reads: CachedReads): void {
  app.post('/api/documents/:id/comments', async (request, reply): Promise<CommentView> => {
    const { user, document } = await documentOf(reads, request, 'comment')
    const body = textIn(request.body)
    const comments = dataSource.getRepository(Comment)
    const comment = await comments.save(comments.create({ documentId: document.id, authorId: user.id, body }))
    void reply.code(201)
    return commentView(comment, user.name)
  })
  // The page says that its user has read everything up to this comment.
  app.put('/api/documents/:id/seen/:comment', async (request, reply) => {
    const { user, document } = await documentOf(reads, request, 'read')
    await dataSource
      .getRepository(Follower)
      .update(
        { userId: user.id, documentId: document.id },
        { seenCommentId: integerParameter(request, 'comment') },
      )
    return reply.code(204).send()
  })
  app.put('/api/documents/:id/permissions/:user', async (request, reply) => {
    const { document } = await documentOf(reads, request, 'comment')
    const userId = integerParameter(request, 'user')
    const level = levelIn(request.body)
    await dataSource
      .getRepository(Permission)
      .upsert({ documentId: document.id, userId, level }, ['documentId', 'userId'])
    return reply.code(204).send()
  })
  app.delete('/api/documents/:id/permissions/:user', async (request, reply) => {
    const { document } = await documentOf(reads, request, 'comment')
    const userId = integerParameter(request, 'user')
    await dataSource.getRepository(Permission).delete({ documentId: document.id, userId })
    return reply.code(204).send()
  })
}

async function userOf(reads: Reads, { query }: Pick<FastifyRequest, 'query'>): Promise<User> {
  const { as } = query as { as?: unknown }
  const user = await reads.users.findOneBy({ id: integer(as) })
  if (user === null) throw new HttpError(401, 'There is no such user.')
  return user
}

async function documentOf(
  reads: Reads,
  request: Pick<FastifyRequest, 'params' | 'query'>,
  wanted: Exclude<Access, 'none'>,
): Promise<{ user: User; document: Document; access: Access }> {
  const user = await userOf(reads, request)
  const document = await reads.documents.findOneBy({ id: integerParameter(request, 'id') })
  const access = document === null ? 'none' : await accessOf(reads, user, document)
  // Who may not read it does not learn that it exists.
  if (document === null || access === 'none') throw new HttpError(404, 'There is no such document for you.')
  if (wanted === 'comment' && access === 'read') throw new HttpError(403, 'You may read it, and no more.')
  return { user, document, access }
}

function integerParameter({ params }: Pick<FastifyRequest, 'params'>, name: string): number {
  return integer((params as Record<string, unknown>)[name])
}

function integer(text: unknown): number {
  const value = typeof text === 'string' && /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  if (!(value <= INTEGER_MAX)) throw new HttpError(400, 'That is no number of anything here.')
  return value
}

function textIn(body: unknown): string {
  const text = (body as { body?: unknown } | null)?.body
  if (typeof text !== 'string' || text.trim() === '' || text.length > COMMENT_CHARACTERS_MAX)
    throw new HttpError(400, `A comment has 1 to ${COMMENT_CHARACTERS_MAX} characters.`)
  return text.trim()
}

function levelIn(body: unknown): Level {
  const level = (body as { level?: unknown } | null)?.level
  if (level !== 'read' && level !== 'comment') throw new HttpError(400, "A level is 'read' or 'comment'.")
  return level
}

function panelOf(cache: Cache, reads: CachedReads, lastReadMs: number): Panel {
  const { state, lsn, stalenessMs, bytes, tables } = cache.health()
  return {
    state,
    position: lsn,
    stalenessMs,
    ...reads.counts(),
    lastReadMs,
    rows: tables.reduce((sum, { rows }) => sum + rows, 0),
    bytes,
  }
}
