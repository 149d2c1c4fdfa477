import type { AppliedTable } from '../apply/binding.js'
import type { Fault } from '../apply/fault.js'
import { RowLostError } from '../apply/filtered-writes.js'
import { loadUnderSnapshot } from '../apply/load.js'
import { ThinnedError } from '../apply/truncated.js'
import { type Lsn, normaliseInsertLsn, parseLsn } from '../change/lsn.js'
import { SqlSnapshot } from '../change/sql-snapshot.js'
import {
  asError,
  CacheError,
  ConnectionError,
  DatabaseReadError,
  DivergedError,
  MemoryLimitError,
  PublicationError,
  SetupError,
  TableChangedError,
} from '../errors.js'
import type { Fingerprint } from '../freshness/fingerprint.js'
import type { TableMapping } from '../mapping/mapping.js'
import { relationOids, samePartitions } from '../mapping/relations.js'
import type { CallerSession } from '../mapping/session.js'
import type { LiveTable } from '../query/live.js'
import { pause, type QueryConnection } from '../runtime.js'
import { type Backoff, backoffMs } from '../source/backoff.js'
import { ensurePublication } from '../wire/publication.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { ResolvedOptions } from './options.js'
import { Poison } from './poison.js'
import { readFingerprint, resolveAgain, type Setup } from './setup.js'

/** Between two looks at the transactions that have written a table. */
const WRITERS_EVERY_MS = 10
/** A table that no longer fits its declaration is looked at again so often: somebody may put it right. */
const OUT_EVERY_MS = 5_000
const AGAIN: Backoff = { firstMs: 50, longestMs: 2_000 }

/** The locks of those who write a table, or a partition; they are released after what was written is visible to every new query. */
const WRITERS_SQL = `
  SELECT DISTINCT virtualtransaction AS writer FROM pg_catalog.pg_locks
   WHERE locktype = 'relation' AND granted AND relation = ANY ($1::oid[]) AND pid <> pg_backend_pid()
     AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
     AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')`

/** A table as it was read anew. */
export interface Reread {
  readonly live: LiveTable & AppliedTable
  /** What the query saw. */
  readonly snapshot: SqlSnapshot
  /** Every transaction that it saw ends at or before this position. */
  readonly reached: Lsn
  readonly fingerprint: Fingerprint
  /** When it was read, on the local monotonic clock. */
  readonly readMs: number
}

/** The generation whose tables are read anew. */
export interface ReloadHost {
  /** Whether the table is to be added: what keeps it from being read is told to whoever asked for it, once. */
  isAdded(mapping: TableMapping): boolean
  /** Whether the stream's changes of this table are ours to set aside. */
  isWatched(mapping: TableMapping): boolean
  /** Sets the table's changes aside from now on, those of all its partitions; those that were set aside before are forgotten. */
  begin(mapping: TableMapping): void
  /** A table of the store that is not part of it yet. */
  readonly makeTable: (mapping: TableMapping) => LiveTable & AppliedTable
  readonly visible: () => number
  /** Waits until `reread` can become part of the store, and makes it so: it can be read again. */
  adopt(mapping: TableMapping, reread: Reread, signal: AbortSignal): Promise<void>
  /** It can't be read until somebody puts it right, or any more. */
  putOut(mapping: TableMapping, error: CacheError): void
}

export interface ReloadContext {
  readonly options: ResolvedOptions
  readonly session: CallerSession
  readonly sessions: SessionPool
  readonly setup: Setup
}

/**
 * Reads tables anew beside the running stream, one at a time: those that were changed in a way that the stream does not tell.
 *
 * The table's changes are set aside from before the first step on. Whoever was writing it then is waited for: what they wrote before the table
 * was published is never sent, and what was delivered already may not be visible to queries yet. Then it is read by an ordinary query, whose
 * snapshot tells which of the changes it saw; the others are applied on top, and all appears as one commit.
 */
export class TableReloads {
  readonly #context: ReloadContext
  readonly #host: ReloadHost
  /** Those to be read anew. */
  readonly #due = new Set<TableMapping>()
  /** Those that wait until they are looked at again. */
  readonly #waiting = new Set<TableMapping>()
  #wake: () => void = () => undefined
  readonly #poison = new Poison()
  /** What is being read now, and what calls it off. */
  #reading: { readonly mapping: TableMapping; readonly abort: AbortController } | null = null
  /** What the attempt that is about to fail failed of, if it was what the table holds. */
  #fault: Fault | null = null
  /** What was said of those that no longer fit, and what ends the wait until they are looked at again. */
  readonly #out = new Map<object, { readonly message: string; readonly cancel: () => void }>()

  constructor(context: ReloadContext, host: ReloadHost) {
    this.#context = context
    this.#host = host
  }

  /** The table can't be read any more, and its changes are set aside: it is to be read anew. */
  request(mapping: TableMapping): void {
    this.#due.add(mapping)
    this.#wake()
  }

  /** It is not to be read any more. */
  withdraw(mapping: TableMapping): void {
    this.#due.delete(mapping)
    if (this.#reading?.mapping === mapping)
      this.#reading.abort.abort(new DivergedError(mapping.name, 'it is not wanted any more.'))
  }

  /** Works until `signal` aborts. Rejects if what is wrong concerns more than one table. */
  async run(signal: AbortSignal): Promise<void> {
    const { options } = this.#context
    const { timers, random } = options.runtime
    let failures = 0
    signal.addEventListener('abort', () => this.#stop(), { once: true })
    while (!signal.aborted) {
      const [mapping] = this.#due
      if (mapping === undefined) {
        await this.#requested(signal)
        continue
      }
      const abort = new AbortController()
      this.#reading = { mapping, abort }
      try {
        await this.#reload(mapping, AbortSignal.any([signal, abort.signal]))
        this.#due.delete(mapping)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        if (abort.signal.aborted) continue
        const fault = this.#fault
        this.#fault = null
        if (fault !== null) {
          if (this.#isGivenUp(mapping, fault, asError(error))) continue
        } else if (!mayTryAgain(error)) {
          if (!this.#host.isAdded(mapping)) throw error
          this.#due.delete(mapping)
          this.#host.putOut(mapping, asReadError(mapping, error))
          continue
        }
        options.logger.warn(
          `Reading ${mapping.name} anew failed, and is tried again: ${asError(error).message}`,
        )
        await pause(timers, backoffMs(AGAIN, ++failures, random), signal)
      }
    }
  }

  /** Whether its rows can't be taken into memory, however often it is tried. */
  #isGivenUp(mapping: TableMapping, fault: Fault, cause: Error): boolean {
    const poison = this.#poison.failed(fault, cause)
    if (poison === null) return false
    this.#due.delete(mapping)
    this.#context.options.logger.error(poison.message)
    this.#host.putOut(mapping, poison)
    return true
  }

  #requested(signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      const go = (): void => {
        this.#wake = () => undefined
        signal.removeEventListener('abort', go)
        resolve()
      }
      this.#wake = go
      signal.addEventListener('abort', go, { once: true })
    })
  }

  #stop(): void {
    for (const { cancel } of this.#out.values()) cancel()
    for (const mapping of this.#waiting) this.#due.add(mapping)
  }

  async #reload(mapping: TableMapping, signal: AbortSignal): Promise<void> {
    const { options, sessions } = this.#context
    const host = this.#host
    try {
      if (host.isWatched(mapping)) host.begin(mapping)
      const found = await sessions.run(session => this.#publish(session, mapping), signal)
      // Whether the stream has announced another one, and was told that nobody wants it, is not known.
      if (found.oid !== mapping.oid || !host.isWatched(mapping))
        throw new EverythingError(mapping.name, 'it has to be followed from its slot on.')
      // It may have other partitions now.
      if (mapping.partitions !== null) host.begin(found)
      await this.#writersGone(found, signal)
      const reread = await this.#read(found, signal)
      await host.adopt(found, reread, signal).catch((error: unknown) => {
        reread.live.table.fail(new DivergedError(mapping.name, 'it was read anew in vain.'))
        if (error instanceof DivergedError && !isOutdated(error))
          throw new EverythingError(mapping.name, error.message)
        throw error
      })
      this.#out.delete(mapping.declaration)
      options.logger.info(`Table ${mapping.name} was read anew.`)
    } catch (error) {
      // Nobody would call off another attempt.
      if (signal.aborted) throw error
      if (error instanceof MemoryLimitError) host.putOut(mapping, error)
      else if (isOfTable(error)) {
        if (host.isAdded(mapping)) host.putOut(mapping, error)
        else this.#putOut(mapping, error)
      } else throw error
    }
  }

  /** The table as it is now, and in the publication. */
  async #publish(session: QueryConnection, mapping: TableMapping): Promise<TableMapping> {
    const { options, session: callers, setup } = this.#context
    const found = await resolveAgain(session, options, callers, setup, mapping)
    await ensurePublication(session, {
      tables: [found],
      ...(options.publication === undefined ? {} : { name: options.publication }),
    })
    return found
  }

  /** Somebody has to put the table right: it is looked at again now and then. */
  #putOut(mapping: TableMapping, cause: CacheError): void {
    const { logger, runtime } = this.#context.options
    const error = new TableChangedError(mapping.name, { cause })
    if (this.#out.get(mapping.declaration)?.message !== error.message) {
      logger.error(error.message)
      this.#host.putOut(mapping, error)
    }
    this.#waiting.add(mapping)
    const cancel = runtime.timers.after(OUT_EVERY_MS, () => {
      this.#waiting.delete(mapping)
      this.request(mapping)
    })
    this.#out.set(mapping.declaration, { message: error.message, cancel })
  }

  async #writersGone(mapping: TableMapping, signal: AbortSignal): Promise<void> {
    const { sessions, options } = this.#context
    const relations = `{${relationOids(mapping).join(',')}}`
    const writers = async (): Promise<string[]> => {
      const rows = await sessions.run(session => session.query(WRITERS_SQL, [relations]), signal)
      return rows.map(({ writer }) => writer!)
    }
    let left = new Set(await writers())
    while (left.size > 0) {
      await pause(options.runtime.timers, WRITERS_EVERY_MS, signal)
      signal.throwIfAborted()
      left = new Set((await writers()).filter(writer => left.has(writer)))
    }
  }

  async #read(mapping: TableMapping, signal: AbortSignal): Promise<Reread> {
    const { sessions } = this.#context
    const session = await sessions.lease(signal)
    // A server that is out of reach would never answer.
    const end = (): void => void session.close()
    signal.addEventListener('abort', end, { once: true })
    try {
      const reread = await this.#readUnder(session, mapping, signal)
      await session.query('COMMIT')
      return reread
    } finally {
      signal.removeEventListener('abort', end)
      await session.close()
    }
  }

  async #readUnder(session: QueryConnection, before: TableMapping, signal: AbortSignal): Promise<Reread> {
    const { options, sessions, session: callers, setup } = this.#context
    const readMs = options.runtime.clock.monotonicMs()
    await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    const [row] = await session.query(
      'SELECT pg_current_snapshot() AS snapshot, pg_current_wal_insert_lsn() AS position, pg_export_snapshot() AS name',
    )
    // As of the snapshot: what is changed after it makes the read fail, or the next probe find it.
    const mapping = await resolveAgain(session, options, callers, setup, before)
    if (!samePartitions(mapping, before))
      throw new OutdatedReadError(mapping.name, 'it got other partitions, or lost some, before it was read.')
    const { fingerprint } = await readFingerprint(session, setup, false)
    const live = this.#host.makeTable(mapping)
    try {
      await loadUnderSnapshot([live], this.#host.visible(), {
        connections: { query: abort => sessions.lease(abort) },
        snapshotName: row!['name']!,
        workers: Math.max(1, options.connections - 2),
        runtime: options.runtime,
        sliceMs: options.sliceMs,
        signal,
        logger: options.logger,
        onProgress: options.onProgress,
        onFault: fault => {
          this.#fault = fault
        },
      })
      if (live.table.failed !== null) throw live.table.failed
    } catch (error) {
      live.table.fail(new DivergedError(mapping.name, 'it was not read to its end.'))
      throw error
    }
    const { walBlockBytes, walSegmentBytes } = setup.server
    return {
      live,
      fingerprint,
      readMs,
      snapshot: SqlSnapshot.parse(row!['snapshot']!),
      reached: normaliseInsertLsn(parseLsn(row!['position']!), walBlockBytes, walSegmentBytes),
    }
  }
}

/** What was read is no longer so, or may not be: it is read once more. */
export class OutdatedReadError extends DivergedError {}

function isOutdated(error: unknown): boolean {
  return error instanceof OutdatedReadError || error instanceof ThinnedError || error instanceof RowLostError
}

/** It takes a new slot, and with it everything's being loaded anew. */
class EverythingError extends DivergedError {}

/** What somebody has to put right at the table. What is wrong with the server as a whole ends the stream, whoever finds it first. */
function isOfTable(error: unknown): error is SetupError | PublicationError {
  if (error instanceof SetupError) return error.problems.every(({ table }) => table !== undefined)
  return error instanceof PublicationError
}

function asReadError({ name }: TableMapping, error: unknown): CacheError {
  return error instanceof CacheError ? error : new DatabaseReadError(name, { cause: asError(error) })
}

function mayTryAgain(error: unknown): boolean {
  if (error instanceof EverythingError) return false
  return error instanceof DivergedError || (error instanceof ConnectionError && error.transient)
}
