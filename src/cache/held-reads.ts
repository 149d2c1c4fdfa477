import { SnapshotMissError } from '../errors.js'
import { tablesInOtherFiles } from '../freshness/files.js'
import type { LogPages } from '../freshness/server-position.js'
import type { TableMapping } from '../mapping/mapping.js'
import { isUnknown } from '../query/answer.js'
import type { BeyondMemory } from '../query/beyond-memory.js'
import { DatabaseReader, type RunQuery } from '../query/database.js'
import { DatabaseGate } from '../query/gate.js'
import type { LiveTable } from '../query/live.js'
import type { CheckedQuery } from '../query/query.js'
import type { Condition } from '../query/where.js'
import type { HeldTransaction } from './held-transaction.js'
import type { Looks } from './setup.js'

/** What the transaction's own line lets through is let through. */
const UNBOUNDED = Number.POSITIVE_INFINITY

export interface HeldReadsContext {
  readonly transaction: HeldTransaction
  readonly pages: () => LogPages
  /** What the tables looked like to the transaction. */
  readonly looks: Looks
  /** What they look like now. */
  readonly lookNow: () => Promise<Looks>
}

/**
 * Asks a transaction that is held open for what memory can't answer.
 *
 * A snapshot does not hold DDL back: a table that is rewritten or emptied looks empty to it, one whose columns change their names has other values under
 * them. So after each read the tables are looked at anew, from outside.
 */
export class HeldReads implements BeyondMemory {
  readonly #context: HeldReadsContext
  /** By table. */
  readonly #readers = new Map<number, DatabaseReader>()

  constructor(context: HeldReadsContext) {
    this.#context = context
  }

  answers(error: unknown): boolean {
    return isUnknown(error)
  }

  async findUnique(live: LiveTable, key: unknown, signal: AbortSignal | undefined): Promise<object | null> {
    return (await this.#readerOf(live).findByKey(live, key, signal)).value
  }

  async findMany(live: LiveTable, query: CheckedQuery, signal: AbortSignal | undefined): Promise<object[]> {
    return (await this.#readerOf(live).findMany(live, query, signal)).value
  }

  async count(live: LiveTable, where: Condition, signal: AbortSignal | undefined): Promise<number> {
    return (await this.#readerOf(live).count(live, where, signal)).value
  }

  #readerOf({ mapping }: LiveTable): DatabaseReader {
    const known = this.#readers.get(mapping.oid)
    if (known !== undefined) return known
    const { transaction, pages } = this.#context
    const run: RunQuery = (work, signal) =>
      transaction.read(async session => {
        const answer = await work(session)
        await this.#mustBeUnaltered(mapping)
        return answer
      }, signal)
    const reader = new DatabaseReader(new DatabaseGate(UNBOUNDED, 0), run, pages)
    this.#readers.set(mapping.oid, reader)
    return reader
  }

  async #mustBeUnaltered({ oid, name }: TableMapping): Promise<void> {
    const { looks, lookNow } = this.#context
    const now = await lookNow()
    const isAltered = now.fingerprint[oid] !== looks.fingerprint[oid]
    if (isAltered || tablesInOtherFiles(looks.files ?? '', now.files ?? '').includes(oid))
      throw new SnapshotMissError(name, 'the table was altered, truncated or rewritten since')
  }
}
