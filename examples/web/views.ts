import { In, MoreThan, Not } from 'typeorm'
import type { CommentView, DocumentLink, DocumentView, Person } from './api.js'
import type { Comment, Document, User } from './entities.js'
import type { Reads } from './reads.js'

const COMMENTS_SHOWN = 50

export type Access = 'none' | 'read' | 'comment'

/** Asked again by every request: whoever lost a permission has lost it everywhere. */
export async function accessOf(reads: Reads, user: User, document: Document): Promise<Access> {
  if (user.teamId === document.teamId) return 'comment'
  const permission = await reads.permissions.findOneBy({ documentId: document.id, userId: user.id })
  return permission?.level ?? 'none'
}

export async function personView(reads: Reads, user: User): Promise<Person> {
  const team = await reads.teams.findOneBy({ id: user.teamId })
  return { id: user.id, name: user.name, team: team?.name ?? '' }
}

/** The documents that somebody follows and may read, with how many comments of others he has not seen. */
export async function followedDocuments(reads: Reads, user: User): Promise<DocumentLink[]> {
  const following = await reads.followers.find({ where: { userId: user.id }, order: { documentId: 'ASC' } })
  const links: DocumentLink[] = []
  for (const { documentId, seenCommentId } of following) {
    const document = await reads.documents.findOneBy({ id: documentId })
    if (document === null || (await accessOf(reads, user, document)) === 'none') continue
    const unread = await countUnread(reads, user.id, documentId, seenCommentId)
    links.push({ id: documentId, title: document.title, unread })
  }
  return links
}

export function countUnread(
  reads: Reads,
  userId: number,
  documentId: number,
  seenCommentId: number,
): Promise<number> {
  return reads.comments.countBy({ documentId, id: MoreThan(seenCommentId), authorId: Not(userId) })
}

export async function documentView(reads: Reads, document: Document, access: Access): Promise<DocumentView> {
  const newest = await reads.comments.find({
    where: { documentId: document.id },
    order: { id: 'DESC' },
    take: COMMENTS_SHOWN,
  })
  const people = [document.ownerId, ...newest.map(({ authorId }) => authorId)]
  const authors = await reads.users.findBy({ id: In([...new Set(people)]) })
  const names = new Map(authors.map(({ id, name }) => [id, name]))
  const team = await reads.teams.findOneBy({ id: document.teamId })
  return {
    id: document.id,
    title: document.title,
    body: document.body,
    owner: names.get(document.ownerId) ?? '',
    team: team?.name ?? '',
    mayComment: access === 'comment',
    comments: newest.reverse().map(comment => commentView(comment, names.get(comment.authorId) ?? '')),
    commentCount: await reads.comments.countBy({ documentId: document.id }),
  }
}

export function commentView(comment: Comment, author: string): CommentView {
  const { id, documentId, body, authorId, createdAt } = comment
  return { id, documentId, body, author, authorId, at: createdAt.toISOString() }
}
