import type { DataSource, EntityTarget, ObjectLiteral } from 'typeorm'
import type { Cache } from '../../src/index.js'
import { cachedRepository, type CachedRepository } from '../../src/integrations/typeorm/index.js'
import { Comment, Document, Follower, Permission, Team, User } from './entities.js'

/** What the views need of a repository: TypeORM's own has it, and so has one that reads from memory. */
export type Reader<Entity extends ObjectLiteral> = Pick<
  CachedRepository<Entity>,
  'find' | 'findBy' | 'findOneBy' | 'countBy'
>

export interface Reads {
  readonly teams: Reader<Team>
  readonly users: Reader<User>
  readonly documents: Reader<Document>
  readonly permissions: Reader<Permission>
  readonly comments: Reader<Comment>
  readonly followers: Reader<Follower>
}

type ReaderOf = <Entity extends ObjectLiteral>(target: EntityTarget<Entity>) => Reader<Entity>

export function readsBy(reader: ReaderOf): Reads {
  return {
    teams: reader(Team),
    users: reader(User),
    documents: reader(Document),
    permissions: reader(Permission),
    comments: reader(Comment),
    followers: reader(Follower),
  }
}

export interface CachedReads extends Reads {
  /** How many reads memory answered so far, and how many were Postgres's. */
  counts(): { readonly hits: number; readonly misses: number }
}

export function cachedReads(dataSource: DataSource, cache: Cache): CachedReads {
  const readers: CachedRepository<ObjectLiteral>[] = []
  const reads = readsBy(target => {
    const reader = cachedRepository(dataSource.getRepository(target), cache)
    readers.push(reader as unknown as CachedRepository<ObjectLiteral>)
    return reader
  })
  return {
    ...reads,
    counts: () => ({
      hits: readers.reduce((sum, { reads: { cached } }) => sum + cached, 0),
      misses: readers.reduce((sum, { reads: { original } }) => sum + original, 0),
    }),
  }
}
