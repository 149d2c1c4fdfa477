import type { AppliedTable } from '../apply/binding.js'
import { OverloadedError } from '../errors.js'
import { pause, type QueryConnection, type Runtime } from '../runtime.js'
import { type Backoff, backoffMs } from '../source/backoff.js'
import type { RowId } from '../store/address.js'
import type { Store } from '../store/store.js'
import { type Compared, type Comparer, KEYS_MAX, type Question } from './comparer.js'
import type { Mismatch, SampledKey } from './comparison.js'
import { blocksOf } from './sample.js'

/** Blocks (8 kB each) that one question reads: some thousand small rows. */
const BLOCKS_AT_ONCE = 16
/** Row ids that are looked at between two looks at the clock. */
const ROWS_PER_LOOK = 4_096
/** Keys that were being changed are held so many at most, and tried so often again. */
const EXCLUDED_MAX = 10_000
const ROUNDS_MAX = 5
/** Differing keys of one table that are told apart; there is no use in more. */
const MISMATCHES_MAX = 100_000
const OVERLOADED: Backoff = { firstMs: 50, longestMs: 2_000 }

export interface VerifyTableOptions {
  readonly store: Store
  readonly comparer: Comparer
  readonly runtime: Runtime
  readonly sliceMs: number
  readonly run: <T>(work: (session: QueryConnection) => Promise<T>, signal: AbortSignal) => Promise<T>
  readonly signal: AbortSignal
  /** Told of the keys that were compared so far. */
  readonly onAudited: (audited: number) => void
}

export interface VerifiedTable {
  readonly audited: number
  readonly absent: number
  readonly excluded: number
  readonly mismatches: readonly Mismatch[]
}

/**
 * Compares all of a table, in parts, each under a snapshot of its own: of a whole table first the rows that PostgreSQL has, then those in memory that
 * were not among them; of a bounded one what memory knows. Holds one bit for each row, and the keys that are tried again.
 *
 * @throws what the table failed with, if it can't be read. Rejects with what a query rejects with, or the signal's reason when it aborts.
 */
export async function verifyTable(target: AppliedTable, options: VerifyTableOptions): Promise<VerifiedTable> {
  return new TableVerifier(target, options).run()
}

class TableVerifier {
  readonly #target: AppliedTable
  readonly #options: VerifyTableOptions
  /** Rows in memory that PostgreSQL has as well. */
  #seen = new Uint8Array(0)
  #excluded: SampledKey[] = []
  #left = 0
  readonly #mismatches: Mismatch[] = []
  #audited = 0
  #absent = 0

  constructor(target: AppliedTable, options: VerifyTableOptions) {
    this.#target = target
    this.#options = options
  }

  async run(): Promise<VerifiedTable> {
    const { table } = this.#target
    if (table.residency === null) await this.#compareBlocks()
    await this.#compareRows()
    // There may have been nothing to compare.
    if (table.failed !== null) throw table.failed
    for (let round = 0; round < ROUNDS_MAX && this.#excluded.length > 0; round++) {
      const again = this.#excluded
      this.#excluded = []
      for (let at = 0; at < again.length; at += KEYS_MAX)
        await this.#compare({ kind: 'keys', keys: again.slice(at, at + KEYS_MAX) })
    }
    return {
      audited: this.#audited,
      absent: this.#absent,
      excluded: this.#excluded.length + this.#left,
      mismatches: this.#mismatches,
    }
  }

  async #compareBlocks(): Promise<void> {
    const { run, signal } = this.#options
    // What is written behind the end from now on comes from the stream.
    const blocks = await this.#whenThereIsRoom(() => run(session => blocksOf(session, this.#target), signal))
    // The same blocks of all partitions are read by one question.
    const { partitions } = this.#target.mapping
    const atOnce = Math.ceil(BLOCKS_AT_ONCE / Math.max(1, partitions?.length ?? 1))
    for (let from = 0; from < blocks; from += atOnce)
      await this.#compare({ kind: 'blocks', from, to: from + atOnce }, row => this.#see(row))
  }

  #see(row: RowId): void {
    if (row < 0) return
    const place = row >>> 3
    if (place >= this.#seen.length) {
      const wider = new Uint8Array(Math.max(1024, 2 * place, this.#target.table.rowEnd >>> 3))
      wider.set(this.#seen)
      this.#seen = wider
    }
    this.#seen[place]! |= 1 << (row & 7)
  }

  #wasSeen(row: RowId): boolean {
    return ((this.#seen[row >>> 3] ?? 0) & (1 << (row & 7))) !== 0
  }

  /** The rows in memory that have not been compared yet. */
  async #compareRows(): Promise<void> {
    const { store, runtime, sliceMs, signal } = this.#options
    const { table } = this.#target
    let keys: SampledKey[] = []
    let sliceEnds = runtime.clock.monotonicMs() + sliceMs
    for (let row = 0; row < table.rowEnd; row++) {
      const key = this.#wasSeen(row) ? null : table.keyAt(row, store.visible)
      if (key !== null) keys.push({ key, row })
      if (keys.length === KEYS_MAX) {
        await this.#compare({ kind: 'keys', keys })
        keys = []
        sliceEnds = runtime.clock.monotonicMs() + sliceMs
      } else if (row % ROWS_PER_LOOK === 0 && runtime.clock.monotonicMs() > sliceEnds) {
        await runtime.timers.yield()
        signal.throwIfAborted()
        sliceEnds = runtime.clock.monotonicMs() + sliceMs
      }
    }
    if (keys.length > 0) await this.#compare({ kind: 'keys', keys })
  }

  async #compare(question: Question, onRow?: (row: RowId) => void): Promise<void> {
    const { comparer, signal, onAudited } = this.#options
    const compared = await this.#whenThereIsRoom(() =>
      comparer.compare(this.#target, question, signal, onRow),
    )
    this.#take(compared)
    onAudited(this.#audited)
  }

  #take({ audited, absent, excluded, mismatches }: Compared): void {
    this.#audited += audited
    this.#absent += absent
    for (const key of excluded) {
      if (this.#excluded.length < EXCLUDED_MAX) this.#excluded.push(key)
      else this.#left++
    }
    for (const mismatch of mismatches)
      if (this.#mismatches.length < MISMATCHES_MAX) this.#mismatches.push(mismatch)
  }

  /** Those who wait for an answer go first. */
  async #whenThereIsRoom<T>(work: () => Promise<T>): Promise<T> {
    const { runtime, signal } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (!(error instanceof OverloadedError)) throw error
        await pause(
          runtime.timers,
          backoffMs(OVERLOADED, attempt, () => runtime.random()),
          signal,
        )
        signal.throwIfAborted()
      }
    }
  }
}
