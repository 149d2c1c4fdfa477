import { CacheError } from './base.js'

/** An option that is malformed, contradicts another, or names what this version does not do. */
export class OptionError extends CacheError {
  readonly code = 'CACHE_OPTION'
  constructor(
    readonly option: string,
    problem: string,
    options?: ErrorOptions,
  ) {
    super(`Option "${option}": ${problem}`, options)
  }
}

/** One thing that keeps the cache from starting, and what to do about it. */
export interface SetupProblem {
  /** A stable word for the kind, as in `missing-table`. */
  readonly kind: string
  /** `schema.table`, where the problem has one. */
  readonly table?: string
  readonly property?: string
  readonly column?: string
  /** What is wrong, why it matters, what to do. */
  readonly message: string
}

/** Kinds of problems that end by themselves: when another process goes, or a standby is promoted. */
const PASSING_PROBLEMS: ReadonlySet<string> = new Set([
  'no-free-slot',
  'no-free-sender',
  'standby',
  'synchronous-standby',
])

/** The declared tables and the server do not fit: all problems found, in one error. */
export class SetupError extends CacheError {
  readonly code = 'CACHE_SETUP'
  override readonly transient: boolean
  constructor(
    readonly problems: readonly SetupProblem[],
    options?: ErrorOptions,
  ) {
    const list = problems.map(problem => `\n  - ${problemText(problem)}`).join('')
    super(
      `The cache can't start: ${problems.length} problem${problems.length === 1 ? '' : 's'}.${list}`,
      options,
    )
    this.transient = problems.every(({ kind }) => PASSING_PROBLEMS.has(kind))
  }
}

export function problemText({ table, property, column, message }: SetupProblem): string {
  const where = [
    table === undefined ? undefined : `table ${table}`,
    property === undefined ? undefined : `property ${property}`,
    column === undefined ? undefined : `column ${column}`,
  ].filter(part => part !== undefined)
  return where.length === 0 ? message : `${where.join(', ')}: ${message}`
}

/** The publication is missing or lacks tables, and this role may not mend it: `sql` is what its owner has to run. */
export class PublicationError extends CacheError {
  readonly code = 'CACHE_PUBLICATION'
  constructor(
    readonly publication: string,
    problem: string,
    readonly sql: string,
    options?: ErrorOptions,
  ) {
    super(`Publication "${publication}": ${problem} Let a role that may do so run:\n${sql}`, options)
  }
}

/** What a connection failed of: what the server refused, or at which step nothing more came. */
export type ConnectionFailure =
  | 'authentication'
  | 'database'
  | 'host'
  | 'tls'
  | 'replication-right'
  | 'senders'
  | 'refused'
  | 'lost'
  /** The other side has stopped answering: nobody has said that the connection ended. */
  | 'silent'
  | 'protocol'

/** PostgreSQL could not be reached or talked to. `transient` tells whether trying again makes sense. */
export class ConnectionError extends CacheError {
  readonly code = 'CACHE_CONNECTION'
  constructor(
    readonly failure: ConnectionFailure,
    message: string,
    override readonly transient: boolean,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** The replication slot could not be made or used. */
export class SlotError extends CacheError {
  readonly code = 'CACHE_SLOT'
  constructor(
    readonly slot: string,
    problem: string,
    override readonly transient: boolean,
    options?: ErrorOptions,
  ) {
    super(`Replication slot "${slot}": ${problem}`, options)
  }
}

/** Another process streams from the slot that this cache was told to use: each process needs a name of its own. */
export class SlotInUseError extends CacheError {
  readonly code = 'CACHE_SLOT_IN_USE'
  override readonly transient = true
  constructor(
    readonly slot: string,
    readonly pid: number,
    user: string,
    options?: ErrorOptions,
  ) {
    super(
      `Replication slot "${slot}" is in use by the server's process ${pid} (${user}). A slot serves one process: ` +
        'two would each see half of the changes. Give each process a slot name of its own, or leave the option out.',
      options,
    )
  }
}
