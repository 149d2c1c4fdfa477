/** Entities with everything that TypeORM does to a row on its way to its reader. */
import {
  AfterLoad,
  Column,
  CreateDateColumn,
  DeleteDateColumn,
  Entity,
  Index,
  JoinColumn,
  ManyToOne,
  OneToMany,
  PrimaryColumn,
  PrimaryGeneratedColumn,
  type Relation,
  type ValueTransformer,
  VersionColumn,
} from 'typeorm'

/** Kept in cents, used in whole units. */
const money: ValueTransformer = {
  to: (units: number | null) => (units === null ? null : Math.round(units * 100)),
  from: (cents: number | null) => (cents === null ? null : cents / 100),
}

const upperCase: ValueTransformer = {
  to: (text: string) => text.toLowerCase(),
  from: (text: string) => text.toUpperCase(),
}

const exclaimed: ValueTransformer = {
  to: (text: string) => text.replace(/!$/, ''),
  from: (text: string) => `${text}!`,
}

export class Place {
  @Column('text', { nullable: true }) city!: string | null
  @Column('text', { nullable: true }) country!: string | null
}

export class Address {
  @Column('text', { nullable: true }) street!: string | null
  @Column(() => Place) place!: Place
}

@Entity('teams')
export class Team {
  @PrimaryGeneratedColumn() id!: number
  @Column('text') name!: string
  @OneToMany(
    () => Member,
    member => member.team,
  )
  members!: Relation<Member>[]
}

@Entity('members')
@Index(['teamId', 'id'])
export class Member {
  @PrimaryGeneratedColumn() id!: number
  @Index({ unique: true })
  @Column('varchar', { length: 200 })
  email!: string
  @Column('text', { nullable: true }) nickname!: string | null
  @Column('text', { select: false }) passwordHash!: string
  @Column('integer', { name: 'salary_cents', transformer: money, nullable: true }) salary!: number | null
  @Column('text', { transformer: [upperCase, exclaimed] }) motto!: string
  @Column(() => Address) address!: Address
  @Column('enum', { enum: ['admin', 'member', 'guest'], default: 'member' }) role!: string
  @Column('simple-array') tags!: string[]
  @Column('simple-json', { nullable: true }) settings!: { theme: string } | null
  @Column('jsonb', { nullable: true }) profile!: { likes: string[]; deep: { n: number } } | null
  @Column('integer', { array: true, nullable: true }) scores!: number[] | null
  @Column('date', { nullable: true }) birthday!: string | null
  @Column('timestamptz', { nullable: true }) seenAt!: Date | null
  @Column('timestamp', { nullable: true }) localTime!: Date | null
  @Column('time', { nullable: true }) wakesAt!: string | null
  @Column('numeric', { precision: 12, scale: 4, nullable: true }) score!: string | null
  @Column('bigint', { nullable: true }) big!: string | null
  @Column('double precision', { nullable: true }) ratio!: number | null
  @Column('boolean', { default: true }) active!: boolean
  @Column('bytea', { nullable: true }) digest!: Buffer | null
  @Column('uuid', { nullable: true }) token!: string | null
  @Column('integer', { nullable: true }) teamId!: number | null
  @ManyToOne(
    () => Team,
    team => team.members,
  )
  @JoinColumn({ name: 'teamId' })
  team!: Relation<Team>
  @CreateDateColumn({ type: 'timestamptz' }) createdAt!: Date
  @VersionColumn() version!: number
  @DeleteDateColumn({ type: 'timestamptz' }) deletedAt!: Date | null

  greeting?: string

  @AfterLoad()
  greet(): void {
    this.greeting = `Hello, ${this.nickname ?? this.email}`
  }

  isAdmin(): boolean {
    return this.role === 'admin'
  }
}

@Entity('grants')
export class Grant {
  @PrimaryColumn('integer') memberId!: number
  @PrimaryColumn('text') resource!: string
  @Column('text', { nullable: true }) level!: string | null
}

/** Sorted by itself, where a read does not say how. */
@Entity('notices', { orderBy: { weight: 'DESC' } })
export class Notice {
  @PrimaryGeneratedColumn() id!: number
  @Column('integer') weight!: number
  @ManyToOne(() => Team, { eager: true }) team!: Relation<Team>
}

export const entities = [Team, Member, Grant, Notice]
