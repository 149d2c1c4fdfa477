import type { TableSpec, Texts } from './schema.js'

/** One statement of a script. It says what is wanted, whatever rows there are: so any part of a script is a script. */
export type Step =
  | { readonly kind: 'insert'; readonly table: TableSpec; readonly texts: Texts }
  /** Columns by their positions. */
  | {
      readonly kind: 'update'
      readonly table: TableSpec
      readonly key: string
      readonly set: Readonly<Record<number, string | null>>
    }
  | { readonly kind: 'delete'; readonly table: TableSpec; readonly key: string }
  | { readonly kind: 'truncate'; readonly table: TableSpec }
  /** Two keys change places, by way of a third. */
  | { readonly kind: 'swap'; readonly table: TableSpec; readonly keys: readonly [string, string] }
  /** From one of the balanced tables to another: their sum stays. */
  | {
      readonly kind: 'transfer'
      readonly from: TableSpec
      readonly to: TableSpec
      readonly keys: readonly [string, string]
      readonly amount: number
    }
  | { readonly kind: 'savepoint' | 'rollback to' | 'release' | 'message' | 'empty' }

export interface ScriptTransaction {
  /** Virtual time between the writer's last transaction and this one. */
  readonly afterMs: number
  readonly steps: readonly Step[]
  readonly end: 'commit' | 'rollback' | 'prepare and commit' | 'prepare and rollback'
  /** Whether the commit waits for the disk; if not, it is visible before it is flushed. */
  readonly isSynchronous: boolean
  /** Between two statements. */
  readonly stepMs: number
  /** From the commit's record to everybody's seeing it: limbo. */
  readonly limboMs: number
}

/** What one writer does, in order. */
export type WriterScript = readonly ScriptTransaction[]

export interface Script {
  readonly writers: readonly WriterScript[]
}
