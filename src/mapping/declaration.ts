import { OptionError } from '../errors.js'

/** How many rows of a table are to be kept: all; or those used last, at most so many of them, in at most so many bytes. */
export type Keep = 'all' | { readonly maxRows?: number; readonly maxBytes?: number }

/** How a property's column is named where the declaration doesn't say: as the property, or in snake_case. */
export type Naming = 'exact' | 'snake'

/** What a class and `defineTable` can both say about a table. */
export interface TableOptions {
  /** The table's name, as in `pg_class`: unquoted, in its own case. */
  readonly name: string
  /** Default `public`. */
  readonly schema?: string
  /** Default `exact`. */
  readonly naming?: Naming
  /**
   * Default `all`. With `{ maxRows }`, `{ maxBytes }` or both the table is bounded: rows are read from PostgreSQL when they are first asked for,
   * kept true from then on, and those that were not used for longest leave. Bytes are those of packed rows, with what it takes to find them.
   */
  readonly keep?: Keep
  /**
   * Only the rows for which this is true are the table, here: others are not kept, not found and not counted, as if they were not there. In the words
   * of a query's `where`; its columns have to be among the mapped ones, and PostgreSQL's answer one that can be told here. Default: all rows.
   */
  readonly where?: object
  /** Secondary indexes, each a list of properties. Queries find rows by them, in memory. */
  readonly indexes?: readonly (readonly string[])[]
  /** Makes a row of your own class from a plain, frozen one; called for each read. For classes with `#private` fields. */
  readonly construct?: (row: Readonly<Record<string, unknown>>) => object
  /** Cache the table although it has row-level security, which the change stream ignores: every row is kept. */
  readonly allowRlsBypass?: boolean
  /** Milliseconds by which a read of this table may be behind the server. Default: the cache's. */
  readonly maxStaleness?: number
  /** What happens when it may be older. Default: the cache's. */
  readonly onStale?: {
    readonly local?: 'throw' | 'serve'
    readonly asynchronous?: 'throw' | 'database' | 'serve'
  }
}

/** One declared property. */
export interface DeclaredColumn {
  readonly property: string
  /** Undefined: by the table's naming. */
  readonly column: string | undefined
}

/** A table as declared, not yet checked against the catalogue. */
export interface Declaration {
  /** The class, or the object that `defineTable` returned. */
  readonly identity: object
  /** What to call it in messages. */
  readonly label: string
  readonly schema: string
  readonly name: string
  readonly naming: Naming
  readonly keep: Keep
  /** Undefined: all rows. A copy. */
  readonly where: object | undefined
  readonly construct: ((row: Readonly<Record<string, unknown>>) => object) | null
  readonly allowRlsBypass: boolean
  readonly maxStaleness: number | undefined
  readonly onStale: TableOptions['onStale']
  readonly prototype: object | null
  /** Empty: all columns of the table. */
  readonly columns: readonly DeclaredColumn[]
  /** Properties of the primary key; empty: whatever the catalogue says. */
  readonly key: readonly string[]
  /** Properties of each secondary index. */
  readonly indexes: readonly (readonly string[])[]
}

const KNOWN_OPTIONS: ReadonlySet<string> = new Set([
  'name',
  'schema',
  'naming',
  'keep',
  'where',
  'indexes',
  'construct',
  'allowRlsBypass',
  'maxStaleness',
  'onStale',
])

/**
 * Refuses options that can't mean anything, at the declaration, where the stack points at the line to mend.
 *
 * @throws {OptionError}
 */
export function checkTableOptions(options: TableOptions, alsoKnown: readonly string[] = []): void {
  if (!isName(options.name))
    throw new OptionError('name', 'the table needs a name: a text that is not empty.')
  const refuse = (option: string, problem: string): never => {
    throw new OptionError(option, `${problem} (table ${options.name})`)
  }
  for (const option of Object.keys(options)) {
    if (!KNOWN_OPTIONS.has(option) && !alsoKnown.includes(option))
      refuse(option, 'there is no such option of a table.')
  }
  const { schema, naming, keep, construct, indexes } = options
  if (schema !== undefined && !isName(schema)) refuse('schema', 'give a text that is not empty.')
  if (naming !== undefined && naming !== 'exact' && naming !== 'snake')
    refuse('naming', "give 'exact' or 'snake'.")
  if (keep !== undefined && !isKeep(keep))
    refuse('keep', "give 'all', or maxRows or maxBytes as positive integers.")
  if (construct !== undefined && typeof construct !== 'function') refuse('construct', 'give a function.')
  if (indexes !== undefined && !isIndexList(indexes))
    refuse('indexes', 'give lists of properties, none of them empty.')
  if (options.where !== undefined) checkWhere(options, refuse)
  const { maxStaleness, onStale } = options
  if (maxStaleness !== undefined && !(typeof maxStaleness === 'number' && maxStaleness >= 1))
    refuse('maxStaleness', 'give milliseconds from 1; Infinity switches the check off.')
  if (onStale !== undefined && !isStalePolicies(onStale))
    refuse('onStale', "give local: 'throw' or 'serve', or asynchronous: 'database', 'throw' or 'serve'.")
}

function checkWhere({ where, keep }: TableOptions, refuse: (option: string, problem: string) => never): void {
  if (typeof where !== 'object' || where === null || Array.isArray(where))
    refuse('where', 'give an object of properties and conditions, as a query has it.')
  try {
    structuredClone(where)
  } catch {
    refuse('where', 'it holds something that is no value to compare with.')
  }
  if (keep !== undefined && keep !== 'all')
    refuse(
      'where',
      "it goes with keep: 'all' only. Of a row that a bounded table does not hold nobody can tell whether the filter held before a change, so those who follow it " +
        'could not be told whether it came in, left or stayed. Keep all rows of the filter, or say it in the where of each read.',
    )
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && !value.includes('\0')
}

function isKeep(keep: unknown): boolean {
  if (keep === 'all') return true
  if (typeof keep !== 'object' || keep === null) return false
  const limits: [string, unknown][] = Object.entries(keep)
  return (
    limits.length > 0 &&
    limits.every(
      ([name, limit]) =>
        (name === 'maxRows' || name === 'maxBytes') && Number.isSafeInteger(limit) && Number(limit) > 0,
    )
  )
}

const POLICIES: Readonly<Record<string, readonly unknown[]>> = {
  local: ['throw', 'serve', undefined],
  asynchronous: ['database', 'throw', 'serve', undefined],
}

function isStalePolicies(policies: unknown): boolean {
  if (typeof policies !== 'object' || policies === null) return false
  return Object.entries(policies).every(([reads, policy]) => POLICIES[reads]?.includes(policy) ?? false)
}

function isIndexList(indexes: unknown): boolean {
  return (
    Array.isArray(indexes) &&
    indexes.every(index => Array.isArray(index) && index.length > 0 && index.every(isName))
  )
}
