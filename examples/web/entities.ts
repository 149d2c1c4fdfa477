import { Column, CreateDateColumn, Entity, Index, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm'

@Entity('teams')
export class Team {
  @PrimaryColumn('integer') id!: number
  @Column('text') name!: string
}

@Entity('users')
export class User {
  @PrimaryColumn('integer') id!: number
  @Column('text') name!: string
  @Column('integer', { name: 'team_id' }) teamId!: number
}

@Entity('documents')
export class Document {
  @PrimaryColumn('integer') id!: number
  @Column('text') title!: string
  @Column('text') body!: string
  @Column('integer', { name: 'owner_id' }) ownerId!: number
  @Column('integer', { name: 'team_id' }) teamId!: number
}

export type Level = 'read' | 'comment'

/** What somebody of another team may do with a document; members of its team may do everything. */
@Entity('permissions')
export class Permission {
  @PrimaryColumn('integer', { name: 'document_id' }) documentId!: number
  @PrimaryColumn('integer', { name: 'user_id' }) userId!: number
  @Column('text') level!: Level
}

@Entity('comments')
@Index(['documentId', 'id'])
export class Comment {
  @PrimaryGeneratedColumn() id!: number
  @Column('integer', { name: 'document_id' }) documentId!: number
  @Column('integer', { name: 'author_id' }) authorId!: number
  @Column('text') body!: string
  @CreateDateColumn({ type: 'timestamptz', name: 'created_at' }) createdAt!: Date
}

/** How far somebody has read the comments of a document that he follows. */
@Entity('followers')
@Index(['userId'])
@Index(['documentId'])
export class Follower {
  @PrimaryColumn('integer', { name: 'user_id' }) userId!: number
  @PrimaryColumn('integer', { name: 'document_id' }) documentId!: number
  @Column('integer', { name: 'seen_comment_id' }) seenCommentId!: number
}

export const entities = [Team, User, Document, Permission, Comment, Follower]
