import { TupleView } from '../change/change.js'
import { SqlSnapshot } from '../change/sql-snapshot.js'
import {
  asError,
  assert,
  CacheError,
  ConnectionError,
  DecodeError,
  DivergedError,
  InternalError,
  MemoryLimitError,
  SetupError,
} from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { Logger } from '../observe.js'
import type { Connections, QueryConnection, Runtime } from '../runtime.js'
import { quoteIdentifier, quoteLiteral, quoteQualified } from '../sql/quote.js'
import type { CommitSeq } from '../store/address.js'
import type { AppliedTable } from './binding.js'
import { CopyTextReader } from './copy-text.js'
import { type Fault, isAboutData } from './fault.js'
import type { LoadProgress } from './load-progress.js'

/** A larger table is read in parts of this many blocks (8 kB each), so that several connections share it. */
const PART_BLOCKS = 4096
/** How often one part is read again after its connection broke. */
const PART_ATTEMPTS_MAX = 3
/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 512

// SQLSTATEs.
const INSUFFICIENT_PRIVILEGE = '42501'
const UNDEFINED_TABLE = '42P01'
const UNDEFINED_COLUMN = '42703'

export interface LoadOptions {
  readonly connections: Pick<Connections, 'query'>
  /** The snapshot that the slot's creation exported. */
  readonly snapshotName: string
  /** How many connections read at once. */
  readonly workers: number
  readonly runtime: Runtime
  readonly sliceMs: number
  readonly signal: AbortSignal
  readonly logger: Logger
  readonly onProgress: (progress: LoadProgress) => void
  /** The load is going to fail of what this table holds. */
  readonly onFault?: (fault: Fault) => void
}

/** A run of a table's blocks: an empty one for a bounded table, which is read all the same, since it shows that it may be. */
interface Part {
  readonly target: AppliedTable
  readonly fromBlock: number
  /** Null for the last part, which has no upper end: the table may have grown since it was measured. */
  readonly toBlock: number | null
}

/**
 * Reads all tables as of one exported snapshot, by COPY on several connections, straight into the store under `seq`.
 *
 * An anchor transaction imports the snapshot and exports it again, since the slot's own dies with the next command on the
 * replication connection: so a broken connection costs only the part it was reading.
 *
 * @throws {DivergedError} (transient) if a table was rewritten or emptied meanwhile by DDL, which a snapshot does not shield from.
 */
export async function loadTables(
  targets: readonly AppliedTable[],
  seq: CommitSeq,
  options: LoadOptions,
): Promise<SqlSnapshot> {
  const anchor = await options.connections.query(options.signal)
  try {
    await beginOn(anchor, options.snapshotName)
    const [exported] = await anchor.query(
      'SELECT pg_export_snapshot() AS name, pg_current_snapshot() AS snapshot',
    )
    await loadUnderSnapshot(targets, seq, { ...options, snapshotName: exported!.name! })
    await anchor.query('COMMIT')
    return SqlSnapshot.parse(exported!['snapshot']!)
  } finally {
    await anchor.close()
  }
}

/** The same under a snapshot whose own transaction lasts until the end. Throws as `loadTables` does. */
export async function loadUnderSnapshot(
  targets: readonly AppliedTable[],
  seq: CommitSeq,
  options: LoadOptions,
): Promise<void> {
  await new Load(targets, seq, options).run()
}

async function beginOn(connection: QueryConnection, snapshotName: string): Promise<void> {
  await connection.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  try {
    await connection.query(`SET TRANSACTION SNAPSHOT ${quoteLiteral(snapshotName)}`)
  } catch (cause) {
    const message = 'The connection that kept the snapshot of the load was lost. The load begins anew.'
    throw cause instanceof CacheError ? cause : new ConnectionError('lost', message, true, { cause })
  }
}

class Load {
  readonly #seq: CommitSeq
  readonly #options: LoadOptions
  readonly #parts: Part[]
  readonly #left: Map<AppliedTable, number>
  readonly #rowsEstimated: number
  readonly #view = new TupleView()
  #rows = 0
  #bytes = 0

  constructor(targets: readonly AppliedTable[], seq: CommitSeq, options: LoadOptions) {
    this.#seq = seq
    this.#options = options
    this.#parts = targets.flatMap(partsOf)
    this.#left = new Map(
      targets.map(target => [target, this.#parts.filter(part => part.target === target).length]),
    )
    this.#rowsEstimated = targets.reduce((sum, { mapping }) => sum + Math.max(mapping.estimatedRows, 0), 0)
  }

  async run(): Promise<void> {
    this.#report()
    const failure = new AbortController()
    const signal = AbortSignal.any([this.#options.signal, failure.signal])
    const workers = Math.min(this.#options.workers, this.#parts.length)
    // One that fails stops the others; all have ended before the error goes up, so that nothing writes to the store behind it.
    const ended = await Promise.allSettled(
      Array.from({ length: workers }, () =>
        this.#work(signal).catch((error: unknown) => {
          failure.abort(error)
          throw error
        }),
      ),
    )
    this.#options.signal.throwIfAborted()
    if (failure.signal.aborted) throw asError(failure.signal.reason)
    assert(
      ended.every(({ status }) => status === 'fulfilled') && this.#parts.length === 0,
      'a load that ends has read every part',
    )
  }

  async #work(signal: AbortSignal): Promise<void> {
    let connection: QueryConnection | null = null
    let attempts = 0
    try {
      for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
        signal.throwIfAborted()
        try {
          connection ??= await this.#connect(signal)
          await this.#readPart(connection, part, signal)
          attempts = 0
        } catch (error) {
          const givenUp = error instanceof TableGivenUp
          attempts += givenUp ? 0 : 1
          if (signal.aborted || (!givenUp && !mayTryAgain(error)) || attempts >= PART_ATTEMPTS_MAX) {
            if (!signal.aborted && isFault(error))
              this.#options.onFault?.({ table: part.target.mapping.name, position: null })
            throw asLoadError(error, part.target.mapping)
          }
          if (!givenUp)
            this.#options.logger.warn(
              `Loading a part of ${part.target.mapping.name} again: ${asError(error).message}`,
            )
          this.#parts.push(part)
          await connection?.close()
          connection = null
        }
      }
    } finally {
      await connection?.close()
    }
  }

  async #connect(signal: AbortSignal): Promise<QueryConnection> {
    const connection = await this.#options.connections.query(signal)
    try {
      await beginOn(connection, this.#options.snapshotName)
      return connection
    } catch (error) {
      await connection.close()
      throw error
    }
  }

  async #readPart(connection: QueryConnection, part: Part, signal: AbortSignal): Promise<void> {
    const { table } = part.target
    if (table.failed === null) {
      const stop = () => void connection.close()
      signal.addEventListener('abort', stop, { once: true })
      try {
        await this.#copy(connection, part)
        await verifyNotRewritten(connection, part)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof MemoryLimitError)) throw error
        table.fail(error)
        this.#options.logger.error(error.message)
        throw new TableGivenUp()
      } finally {
        signal.removeEventListener('abort', stop)
      }
    }
    this.#left.set(part.target, this.#left.get(part.target)! - 1)
    this.#report()
  }

  async #copy(connection: QueryConnection, part: Part): Promise<void> {
    const { mapping, table } = part.target
    const { filter } = mapping
    const { clock, timers } = this.#options.runtime
    const reader = new CopyTextReader(mapping.columns.length)
    let sliceEnds = clock.monotonicMs() + this.#options.sliceMs
    for await (const chunk of connection.copyOut(copyStatement(part))) {
      if (table.failed !== null) throw new TableGivenUp()
      this.#bytes += chunk.length
      reader.push(chunk)
      let rows = 0
      while (reader.next(this.#view)) {
        if (filter !== null && !filter.matches(this.#view)) throw notMeant(mapping.name)
        table.load(this.#view, this.#seq)
        this.#rows++
        if (++rows % ROWS_PER_LOOK !== 0 || clock.monotonicMs() < sliceEnds) continue
        this.#report()
        await timers.yield()
        sliceEnds = clock.monotonicMs() + this.#options.sliceMs
      }
      if (clock.monotonicMs() < sliceEnds) continue
      this.#report()
      await timers.yield()
      sliceEnds = clock.monotonicMs() + this.#options.sliceMs
    }
  }

  #report(): void {
    const left = [...this.#left.values()]
    this.#options.onProgress({
      phase: 'load',
      tables: left.length,
      tablesDone: left.filter(parts => parts === 0).length,
      rows: this.#rows,
      rowsEstimated: this.#rowsEstimated,
      bytes: this.#bytes,
    })
  }
}

/** The rest of a table that outgrew its memory is not read; its connection is in the middle of a COPY and goes with it. */
class TableGivenUp extends Error {}

/** A lost connection may be replaced; what the server or this library says about the data is final. */
function mayTryAgain(error: unknown): boolean {
  if (error instanceof CacheError) return error.transient && !(error instanceof DivergedError)
  const sqlState = (error as { code?: unknown }).code
  return typeof sqlState !== 'string' || sqlState.length !== 5 || /^(08|57P)/.test(sqlState)
}

/** Whether it is the table's rows that can't be read, and not the connection or the right to. */
function isFault(error: unknown): boolean {
  if (error instanceof CacheError) return error instanceof DecodeError || error instanceof InternalError
  const { code } = error as { code?: unknown }
  return typeof code !== 'string' || code.length !== 5 || isAboutData(code)
}

function asLoadError(error: unknown, mapping: TableMapping): Error {
  const { code } = error as { code?: unknown }
  if (code === UNDEFINED_TABLE || code === UNDEFINED_COLUMN)
    return new DivergedError(mapping.name, 'it was dropped or altered before it was read.', { cause: error })
  if (code !== INSUFFICIENT_PRIVILEGE) return asError(error)
  const table = quoteQualified(mapping.schema, mapping.table)
  const message =
    'this role may not read it, or only through row-level security, which the change stream ignores. ' +
    `Let its owner run: GRANT SELECT ON ${table} TO <the role>; and see allowRlsBypass for tables with row-level security.`
  return new SetupError([{ kind: 'no-select-right', table: mapping.name, message }], { cause: error })
}

function partsOf(target: AppliedTable): Part[] {
  if (target.mapping.keep !== 'all') return [{ target, fromBlock: 0, toBlock: 0 }]
  const { blocks, partitions } = target.mapping
  // The same blocks of all leaves are read at once.
  const partBlocks = Math.ceil(PART_BLOCKS / Math.max(1, partitions?.length ?? 1))
  const parts: Part[] = []
  for (let block = 0; block === 0 || block < blocks; block += partBlocks) {
    const last = block + partBlocks >= blocks
    parts.push({ target, fromBlock: block, toBlock: last ? null : block + partBlocks })
  }
  return parts
}

function copyStatement({ target: { mapping }, fromBlock, toBlock }: Part): string {
  const columns = mapping.columns.map(({ column }) => `t.${quoteIdentifier(column)}`).join(', ')
  const bounds = [
    fromBlock === 0 ? undefined : `t.ctid >= '(${fromBlock},0)'`,
    toBlock === null ? undefined : `t.ctid < '(${toBlock},0)'`,
  ].filter(bound => bound !== undefined)
  if (mapping.filter !== null) bounds.push(mapping.filter.sql)
  const where = bounds.length === 0 ? '' : ` WHERE ${bounds.join(' AND ')}`
  return `COPY (SELECT ${columns} FROM ${quoteQualified(mapping.schema, mapping.table)} AS t${where}) TO STDOUT`
}

/** It would be in memory or not by whether it was loaded or streamed. */
function notMeant(table: string): InternalError {
  return new InternalError(`A row of table ${table} is one of its where to PostgreSQL, and none here.`)
}

/**
 * DDL that rewrites or empties a table is not held back by a snapshot: a COPY that comes after it reads no rows and no error. So, with the
 * COPY's lock still held, the table's file as the snapshot has it is compared with the one that was read.
 */
async function verifyNotRewritten(connection: QueryConnection, { target: { mapping } }: Part): Promise<void> {
  const { name, oid, partitions } = mapping
  const table = quoteLiteral(quoteQualified(mapping.schema, mapping.table))
  const [row] = await connection.query(
    partitions === null ? sameFileSql(oid, table) : samePartitionsSql(oid, table),
  )
  if (row?.same !== 't')
    throw new DivergedError(name, 'it was rewritten, emptied or replaced while it was read.')
}

const sameFileSql = (oid: number, table: string): string =>
  `SELECT c.oid = ${table}::regclass AND c.relfilenode = pg_relation_filenode(${table}::regclass) AS same
     FROM pg_catalog.pg_class c WHERE c.oid = ${oid}`

// The same of each leaf; and which those are, since DETACH takes rows away in silence. pg_partition_tree tells of now, whatever the snapshot.
const samePartitionsSql = (oid: number, table: string): string =>
  `WITH RECURSIVE tree (oid) AS (
     SELECT ${oid}::oid
     UNION ALL
     SELECT h.inhrelid FROM tree JOIN pg_catalog.pg_inherits h ON h.inhparent = tree.oid AND NOT h.inhdetachpending)
   SELECT ${oid} = ${table}::regclass AND NOT EXISTS (
     SELECT FROM (SELECT c.oid, c.relfilenode FROM tree JOIN pg_catalog.pg_class c USING (oid)) AS seen
       FULL JOIN (SELECT relid::oid AS oid, coalesce(pg_relation_filenode(relid), 0) AS relfilenode FROM pg_partition_tree(${oid})) AS now USING (oid)
      WHERE seen.relfilenode IS DISTINCT FROM now.relfilenode) AS same`
