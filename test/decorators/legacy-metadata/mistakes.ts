/** What must not compile. Each expectation that goes unmet is an error of its own. */
import { Column, Index, PrimaryKey, ReplicatedTable } from '../../../src/mapping/decorators.js'

// @ts-expect-error the table's name is missing
@ReplicatedTable({})
export class Nameless {}

// @ts-expect-error an option is misspelt
@ReplicatedTable({ name: 'x', namig: 'snake' })
export class Misspelt {}

// @ts-expect-error there is no such naming
@ReplicatedTable({ name: 'x', naming: 'camel' })
export class Camel {}

// @ts-expect-error the class has no property "nmae"
@ReplicatedTable({ name: 'x', indexes: [['nmae']] })
export class WrongIndex {
  @Column() name!: string
}

// @ts-expect-error construct makes something else
@ReplicatedTable({ name: 'x', construct: () => new Date() })
export class WrongConstruct {
  @Column() name!: string
}

export class WrongPlaces {
  // @ts-expect-error a static field
  @Column() static count: number
  // @ts-expect-error a column's name is a text
  @Column({ name: 1 }) name!: string
  // @ts-expect-error a primary key's option is misspelt
  @PrimaryKey({ nam: 'id' }) id!: string
  // @ts-expect-error the index takes no options here
  @Index({ columns: ['a', 'b'] }) a!: string
}
