import { Column, Index, PrimaryKey, ReplicatedTable } from '../../../src/mapping/decorators.js'

/** A base class that is no table itself. */
export abstract class Timestamps {
  @Column() createdAt!: Date
  @Column() updatedAt: Date | null = null
}

@ReplicatedTable({ name: 'users', naming: 'snake', indexes: [['email', 'isActive']] })
export class User extends Timestamps {
  @PrimaryKey() id!: number
  @Index() @Column() email!: string
  @Column() isActive!: boolean
  @Column({ name: 'shown_as' }) displayName: string | null = null
  notAColumn = 1

  get label(): string {
    return `${this.displayName} <${this.email}>`
  }
}

/** Inherits columns, and names one of them anew. */
@ReplicatedTable({ name: 'admins', schema: 'staff', naming: 'snake' })
export class Admin extends User {
  @Column() level!: bigint
  @Column({ name: 'mail' }) override email: string = ''
}

/** All columns of the table, whatever they are. */
@ReplicatedTable({ name: 'Logs', keep: 'all' })
export class Log {
  message!: string
}

@ReplicatedTable({ name: 'members', allowRlsBypass: true })
export class Member {
  @PrimaryKey({ name: 'team_id' }) teamId!: string
  @PrimaryKey() @Index() userId!: string
}

@ReplicatedTable({ name: 'secrets', construct: row => new Secret(Number(row['id'])) })
export class Secret {
  readonly #id: number
  constructor(id: number) {
    this.#id = id
  }
  get id(): number {
    return this.#id
  }
}

/** Never decorated itself, though its base class is. */
export class Guest extends User {}
