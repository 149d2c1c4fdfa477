import { Column, PrimaryKey, ReplicatedTable } from '../../src/index.js'

/** A row of the table. Its types are PostgreSQL's: the catalogue is asked, and what is declared here is checked against it. */
@ReplicatedTable({ name: 'demo_postgres_cdc', naming: 'snake' })
export class Person {
  @PrimaryKey() id!: number
  @Column() name!: string
  @Column() age!: number
  @Column() email!: string
  @Column() isActive!: boolean // the column is_active
}
