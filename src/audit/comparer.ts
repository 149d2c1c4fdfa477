import type { Applier } from '../apply/applier.js'
import type { AppliedTable } from '../apply/binding.js'
import type { CommitLog } from '../apply/commit-log.js'
import { idOf } from '../apply/fill-image.js'
import { blocksSql, type FillReply, keysSql, readReply, type Statement } from '../apply/fill-sql.js'
import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { QueryConnection, Runtime } from '../runtime.js'
import type { RowId } from '../store/address.js'
import type { RecordFormat } from '../store/record.js'
import type { Store } from '../store/store.js'
import type { TableStore } from '../store/table.js'
import { compareKey, type Mismatch, type SampledKey } from './comparison.js'

/** Keys that one question asks for at most. */
export const KEYS_MAX = 200
/** Keys compared between two looks at the clock. */
const KEYS_PER_LOOK = 64
/** How long a position is waited for before the server is asked to flush its log. */
const NUDGE_AFTER_MS = 15

/** What is compared: these keys, or all rows that PostgreSQL has in these blocks of the table's file. */
export type Question =
  | { readonly kind: 'keys'; readonly keys: readonly SampledKey[] }
  | { readonly kind: 'blocks'; readonly from: number; readonly to: number }

export interface Compared {
  /** Keys that were compared. */
  readonly audited: number
  /** Keys among them that both sides have no row for. */
  readonly absent: number
  /** Keys that could not be: a commit that the query did not see has changed them, or may have. */
  readonly excluded: readonly SampledKey[]
  readonly mismatches: readonly Mismatch[]
}

export interface ComparerOptions {
  readonly store: Store
  readonly applier: Pick<Applier, 'touch'>
  /** The recent commits on bounded tables; null if there are none. */
  readonly log: () => CommitLog | null
  /** What the slot's own snapshot saw: more than others do, as long as a commit waits for a standby. */
  readonly slotSnapshot: SqlSnapshot
  readonly runtime: Pick<Runtime, 'clock' | 'timers'>
  readonly sliceMs: number
  /** Runs a query on a session of the primary's, when there is room for it. */
  readonly run: <T>(work: (session: QueryConnection) => Promise<T>, signal: AbortSignal) => Promise<T>
  /** The server's start time, if it is known; another one means another server. */
  readonly startedAt: () => string | null
  readonly normalise: (insertPosition: Lsn) => Lsn
  /** Resolves when the position is visible. */
  readonly reached: (position: Lsn, signal: AbortSignal) => Promise<void>
  /** Has the server flush its log. */
  readonly nudge: () => void
  /** Resolves when it is found out whether a table was altered, which is then closed; false if that can't be had now. */
  readonly look: (signal: AbortSignal) => Promise<boolean>
  /** The server may have been replaced. */
  readonly suspect: () => void
  /** Told of every comparison. */
  readonly onCompared: (mapping: TableMapping, compared: Compared) => void
}

/**
 * Compares keys in memory with what one query saw of them, exactly, while commits arrive all the time.
 *
 * An ordinary snapshot has no position: it may lack commits that memory shows, since they wait for a standby or came later, and it may see
 * commits that memory does not show yet. For the latter the insert position, asked for after the snapshot was taken, is waited for: then
 * all that the query saw is visible here. Keys that a commit has changed which the query did not see are left out. For all others both sides are
 * the state after one commit: the visible one.
 */
export class Comparer {
  readonly #options: ComparerOptions
  /** Whether an ordinary snapshot was shown to see all that the slot's saw. */
  #isSettled = false
  /** One comparison at a time. */
  #line: Promise<unknown> = Promise.resolve()

  constructor(options: ComparerOptions) {
    this.#options = options
  }

  /**
   * Compares, and asks a second time for what differs: only that is a mismatch. `onRow` is told of rows in memory that PostgreSQL has too.
   *
   * @throws what the table failed with, if it can't be read. Rejects with what the query rejects with, or the signal's reason when it aborts.
   */
  compare(
    target: AppliedTable,
    question: Question,
    signal: AbortSignal,
    onRow?: (row: RowId) => void,
  ): Promise<Compared> {
    const turn = this.#line.then(async () => {
      const compared = await this.#compareTwice(target, question, signal, onRow)
      this.#options.onCompared(target.mapping, compared)
      return compared
    })
    this.#line = turn.catch(() => undefined)
    return turn
  }

  async #compareTwice(
    target: AppliedTable,
    question: Question,
    signal: AbortSignal,
    onRow: ((row: RowId) => void) | undefined,
  ): Promise<Compared> {
    signal.throwIfAborted()
    const first = await this.#compare(target, question, signal, onRow)
    if (first.mismatches.length === 0) return first
    // A table that was altered differs as well, and is read anew for that.
    const isKnown = await this.#options.look(signal)
    throwIfFailed(target.table)
    if (!isKnown) return withExcluded(first, first.mismatches)
    let result = withExcluded(first, [])
    for (let at = 0; at < first.mismatches.length; at += KEYS_MAX) {
      const keys = first.mismatches.slice(at, at + KEYS_MAX)
      const again = await this.#compare(target, { kind: 'keys', keys }, signal, undefined)
      result = {
        ...result,
        excluded: [...result.excluded, ...again.excluded],
        mismatches: [...result.mismatches, ...again.mismatches],
      }
    }
    return { ...result, audited: first.audited - (result.excluded.length - first.excluded.length) }
  }

  async #compare(
    target: AppliedTable,
    question: Question,
    signal: AbortSignal,
    onRow: ((row: RowId) => void) | undefined,
  ): Promise<Compared> {
    const { store, applier, reached, normalise } = this.#options
    const { table } = target
    const log = this.#options.log()
    throwIfFailed(table)
    const underWay = store.recent.sending()
    const hold = table.residency === null ? null : log!.hold()
    const touches = table.residency === null ? applier.touch(table) : null
    try {
      const reply = await this.#ask(target, question, signal)
      const asked = keysOf(question, reply)
      if (!this.#isComparable(reply) || store.recent.wasAheadOf(underWay, reply.snapshot, table))
        return { audited: 0, absent: 0, excluded: asked, mismatches: [] }
      await this.#nudging(() => reached(normalise(reply.position), signal))
      throwIfFailed(table)
      touches?.settle(reply.snapshot)
      const mayDiffer =
        hold === null
          ? (key: Buffer): boolean => touches!.mayHave(key)
          : changedUnseen(log!, hold.after, reply.snapshot, table)
      return await this.#compareKeys(target, asked, reply, mayDiffer, onRow)
    } finally {
      store.recent.answered(underWay)
      if (hold !== null) log!.release(hold)
      if (table.touches === touches) table.touches = null
    }
  }

  async #ask({ table, mapping }: AppliedTable, question: Question, signal: AbortSignal): Promise<FillReply> {
    const { sql, parameters } = statementOf(mapping, table.format, question)
    const answer = await this.#options.run(session => session.query(sql, parameters), signal)
    return readReply(mapping, table.format, answer)
  }

  /** Whether the answer is the primary's, and of a server whose new snapshots see all that was loaded. */
  #isComparable({ inRecovery, startedAt, snapshot }: FillReply): boolean {
    const known = this.#options.startedAt()
    if (inRecovery || (known !== null && known !== startedAt)) {
      this.#options.suspect()
      return false
    }
    this.#options.store.recent.confirm(snapshot)
    this.#isSettled ||= snapshot.includes(this.#options.slotSnapshot)
    return this.#isSettled
  }

  async #nudging(wait: () => Promise<void>): Promise<void> {
    const { runtime, nudge } = this.#options
    const cancel = runtime.timers.after(NUDGE_AFTER_MS, nudge)
    try {
      await wait()
    } finally {
      cancel()
    }
  }

  /** Each key by itself is compared at the visible state of that moment, so that others may be changed in between. */
  async #compareKeys(
    { table }: AppliedTable,
    asked: readonly SampledKey[],
    reply: FillReply,
    mayDiffer: (key: Buffer) => boolean,
    onRow: ((row: RowId) => void) | undefined,
  ): Promise<Compared> {
    const { store, runtime, sliceMs } = this.#options
    const excluded: SampledKey[] = []
    const mismatches: Mismatch[] = []
    let audited = 0
    let absent = 0
    let sliceEnds = runtime.clock.monotonicMs() + sliceMs
    for (const [number, sampled] of asked.entries()) {
      // What a bounded table's log says is of one moment.
      if (table.residency === null && number % KEYS_PER_LOOK === KEYS_PER_LOOK - 1) {
        if (runtime.clock.monotonicMs() > sliceEnds) {
          await runtime.timers.yield()
          sliceEnds = runtime.clock.monotonicMs() + sliceMs
          throwIfFailed(table)
        }
      }
      const expected = reply.rows.get(idOf(sampled.key))?.row ?? null
      if (onRow !== undefined && expected !== null) onRow(table.findBytes(sampled.key))
      if (mayDiffer(sampled.key)) {
        excluded.push(sampled)
        continue
      }
      const verdict = compareKey(table, sampled, expected, store.visible)
      if (verdict === 'unknown') continue
      audited++
      if (verdict === 'absent') absent++
      else if (verdict !== 'equal') mismatches.push({ ...sampled, kind: verdict })
    }
    return { audited, absent, excluded, mismatches }
  }
}

function throwIfFailed({ failed }: TableStore): void {
  if (failed !== null) throw failed
}

function withExcluded(first: Compared, keys: readonly SampledKey[]): Compared {
  const audited = first.audited - keys.length
  return { ...first, audited, excluded: [...first.excluded, ...keys], mismatches: [] }
}

function statementOf(mapping: TableMapping, format: RecordFormat, question: Question): Statement {
  if (question.kind === 'blocks') return blocksSql(mapping, question.from, question.to)
  const keys = question.keys.map(({ key }) => key)
  return keysSql(mapping, format, keys)
}

function keysOf(question: Question, { rows }: FillReply): readonly SampledKey[] {
  if (question.kind === 'keys') return question.keys
  return Array.from(rows.keys(), id => ({ key: Buffer.from(id, 'latin1'), row: null }))
}

/** Whether a commit on the bounded table that the snapshot does not see has changed a key, or may have. */
function changedUnseen(
  log: CommitLog,
  after: number,
  snapshot: SqlSnapshot,
  table: TableStore,
): (key: Buffer) => boolean {
  const entries = log.after(after, snapshot)
  if (entries === null) return () => true
  const unseen = entries.flatMap(({ xid, tables }) => {
    const changes = snapshot.sees(xid) ? undefined : tables.get(table)
    return changes === undefined ? [] : [changes]
  })
  // The transaction in progress is not visible, but what it has written can't be forgotten either.
  return key => log.pendingTouches(table, key) || unseen.some(changes => changes.touches(key))
}
