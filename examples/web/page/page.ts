import type { CommentView, DocumentLink, DocumentView, Events, Home, Panel } from '../api.js'

const USERS = 1_000
const RETRY_MS = 1_000

const user = Number(new URLSearchParams(location.search).get('as') ?? '1')
let open: DocumentView | null = null
let links: DocumentLink[] = []

await start()

async function start(): Promise<void> {
  element('previous').onclick = () => become(user === 1 ? USERS : user - 1)
  element('next').onclick = () => become(user === USERS ? 1 : user + 1)
  element<HTMLFormElement>('form').onsubmit = event => {
    event.preventDefault()
    void sendComment()
  }
  element('text').onkeydown = event => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) void sendComment()
  }
  await readAll()
  listen()
}

function become(other: number): void {
  location.search = `?as=${other}`
}

/** Reads what is shown, at the beginning and whenever events may have been missed. */
async function readAll(): Promise<void> {
  const home = await call<Home>('GET', '/api/home')
  links = [...home.documents]
  show('server', home.server)
  show('user', home.user.name)
  show('team', `Team ${home.user.team}`)
  showAvatar(element('avatar'), home.user.id, home.user.name)
  const wanted = open?.id ?? (Number(location.hash.slice(1)) || links[0]?.id)
  if (wanted !== undefined) await openDocument(wanted)
}

async function openDocument(id: number): Promise<void> {
  try {
    const read = await call<DocumentView>('GET', `/api/documents/${id}`)
    const before = open
    open = read
    // What arrived while the answer was on its way may be missing from it.
    const newest = read.comments.at(-1)?.id ?? 0
    if (before?.id === id) for (const comment of before.comments) if (comment.id > newest) addComment(comment)
  } catch (error) {
    open = null
    show('note', String(error))
  }
  // Another page, or a reload, opens the same one.
  history.replaceState(null, '', `#${id}`)
  showDocument()
  await markSeen()
}

async function markSeen(): Promise<void> {
  const link = links.find(({ id }) => id === open?.id)
  const newest = open?.comments.at(-1)
  if (link === undefined || newest === undefined || link.unread === 0 || document.hidden) return
  await call('PUT', `/api/documents/${link.id}/seen/${newest.id}`)
}

async function sendComment(): Promise<void> {
  const text = element<HTMLTextAreaElement>('text')
  if (open === null || text.value.trim() === '') return
  const body = text.value
  text.value = ''
  try {
    addComment(await call<CommentView>('POST', `/api/documents/${open.id}/comments`, { body }))
    show('note', '')
  } catch (error) {
    text.value = body
    show('note', String(error))
  }
}

/** One's own comment comes back twice: as the answer, and as an event. */
function addComment(comment: CommentView): void {
  if (open === null || comment.documentId !== open.id) return
  if (open.comments.some(({ id }) => id === comment.id)) return
  open = { ...open, comments: [...open.comments, comment], commentCount: open.commentCount + 1 }
  showDocument(comment.id)
}

function listen(wasLost = false): void {
  const events = new EventSource(`/api/events?as=${user}`)
  on(events, 'comment', addComment)
  on(events, 'unread', ({ documentId, unread }) => {
    links = links.map(link => (link.id === documentId ? { ...link, unread } : link))
    showDocuments()
    void markSeen()
  })
  on(events, 'reload', () => void readAll())
  on(events, 'panel', showPanel)
  events.onopen = () => {
    showLink('live')
    if (wasLost) void readAll()
    wasLost = false
  }
  events.onerror = () => {
    wasLost = true
    showLink('reconnecting')
    // A browser tries again by itself, but not after an answer that it did not expect.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => listen(true), RETRY_MS)
  }
}

function on<Name extends keyof Events>(
  source: EventSource,
  name: Name,
  handle: (data: Events[Name]) => void,
): void {
  source.addEventListener(name, event =>
    handle(JSON.parse((event as MessageEvent<string>).data) as Events[Name]),
  )
}

async function call<Result>(method: string, path: string, body?: object): Promise<Result> {
  const response = await fetch(`${path}?as=${user}`, {
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  if (response.status === 204) return undefined as Result
  const answer = (await response.json()) as Result & { readonly message?: string }
  if (!response.ok) throw new Error(answer.message ?? `The server says ${response.status}.`)
  return answer
}

function showDocuments(): void {
  const items = links.map(({ id, title, unread }) => {
    const button = document.createElement('button')
    button.type = 'button'
    button.dataset['document'] = String(id)
    button.setAttribute('aria-current', String(id === open?.id))
    button.append(text('span', title), text('span', unread === 0 ? '' : String(unread), 'badge'))
    button.onclick = () => void openDocument(id)
    const item = document.createElement('li')
    item.append(button)
    return item
  })
  element('documents').replaceChildren(...items)
}

function showDocument(arrived?: number): void {
  showDocuments()
  const mayComment = open?.mayComment === true
  element<HTMLTextAreaElement>('text').disabled = !mayComment
  element<HTMLButtonElement>('form').querySelector('button')!.disabled = !mayComment
  show('title', open?.title ?? 'No document')
  show('body', open?.body ?? 'It is not there, or not for you.')
  show('meta', open === null ? '' : `${open.owner} · Team ${open.team}`)
  const count = open?.commentCount ?? 0
  show('count', count === 1 ? '1 comment' : `${count} comments`)
  element('comments').replaceChildren(...(open?.comments ?? []).map(comment => commentItem(comment, arrived)))
}

function commentItem({ id, author, authorId, body, at }: CommentView, arrived?: number): HTMLElement {
  const item = document.createElement('li')
  item.dataset['comment'] = String(id)
  if (id === arrived) item.className = 'new'
  const avatar = text('span', '', 'avatar')
  showAvatar(avatar, authorId, author)
  const words = document.createElement('div')
  words.append(text('b', author), text('time', timeOf(at)), text('p', body))
  item.append(avatar, words)
  return item
}

function showPanel(panel: Panel): void {
  const { position, stalenessMs, hits, misses, lastReadMs, rows, bytes } = panel
  const all = hits + misses
  show('position', position ?? '–')
  show('staleness', stalenessMs < 1 ? '< 1 ms' : `${Math.round(stalenessMs).toLocaleString('en')} ms`)
  show('last', lastReadMs < 1 ? `${Math.round(lastReadMs * 1000)} µs` : `${lastReadMs.toFixed(1)} ms`)
  show('hits', hits.toLocaleString('en'))
  show('misses', misses.toLocaleString('en'))
  show('rows', `${rows.toLocaleString('en')}, ${(bytes / 2 ** 20).toFixed(0)} MiB`)
  element('share').style.width = `${all === 0 ? 0 : (100 * hits) / all}%`
}

function showLink(state: 'live' | 'reconnecting'): void {
  element('link').dataset['state'] = state
  show('link', state)
}

function showAvatar(place: HTMLElement, id: number, name: string): void {
  place.textContent = name
    .split(' ')
    .map(word => word[0])
    .join('')
  place.style.setProperty('--hue', String((id * 47) % 360))
}

function timeOf(at: string): string {
  return new Date(at).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short' })
}

function text(tag: string, content: string, className = ''): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = content
  if (className !== '') made.className = className
  return made
}

function show(id: string, content: string): void {
  element(id).textContent = content
}

function element<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`The page has no element "${id}".`)
  return found as Kind
}
