import { type Cell, cellOf, type Operation } from './pairs.js'
import { keyOf, type TableSpec } from './schema.js'
import { isExternal } from './server/heap.js'
import type { Change, Transaction } from './server/transaction.js'

export type FeatureCounts = Record<string, number>

/** What of a history has to reach the cache by its stream; loads do not count. */
export const FRAMES_MIN = 60
export const TRANSACTIONS_MIN = 6

/** What has been done in a history, counted. */
export class Coverage {
  /** Frames that were sent, again and again. */
  frames = 0
  /** Each frame of the log once. */
  distinctFrames = 0
  /** Commits of which frames were sent, each once. */
  streamed = 0
  writes = 0
  comparisons = 0
  transactions = 0
  /** Of each transaction that a writer has begun, and nobody has looked at since: its operations, and the tables they were on. */
  readonly exposed = new Map<Transaction, Set<Cell>>()
  readonly #operations = new Map<TableSpec | null, Map<Operation, number>>()
  #untouchedToast = 0
  #keyChanges = 0
  #truncations = 0
  #transaction = -1
  #frame = -1

  /** A frame is sent: the `frame`th of commit `transaction`, for this change if it is one's. */
  frame(transaction: number, frame: number, change: Change | null): void {
    this.frames++
    if (transaction < this.#transaction || (transaction === this.#transaction && frame <= this.#frame)) return
    if (transaction !== this.#transaction) this.streamed++
    this.#transaction = transaction
    this.#frame = frame
    this.distinctFrames++
    if (change === null) return
    if (change.kind === 'truncate') this.#truncations++
    else if (change.kind === 'update' && change.spec !== null) this.#updated(change.spec, change)
  }

  #updated(spec: TableSpec, { old, new: now }: Change): void {
    if (keyOf(spec, old!) !== keyOf(spec, now!)) this.#keyChanges++
    if (now!.some((text, at) => text === old![at] && isExternal(spec, at, text))) this.#untouchedToast++
  }

  /** What every history is to have streamed, and this one has not yet. */
  lacks({ truncates }: { readonly truncates: boolean }): string[] {
    const has: Readonly<Record<string, boolean>> = {
      [`${FRAMES_MIN} frames`]: this.distinctFrames >= FRAMES_MIN,
      [`${TRANSACTIONS_MIN} transactions`]: this.streamed >= TRANSACTIONS_MIN,
      'an out-of-line value that was left alone': this.#untouchedToast > 0,
      'a changed key': this.#keyChanges > 0,
      'a TRUNCATE': this.#truncations > 0 || !truncates,
    }
    return Object.keys(has).filter(name => !has[name])
  }

  /** A statement had an effect; of one that is about a whole transaction, on each of its tables, or on none. */
  operation(operation: Operation, spec: TableSpec | null, transaction: Transaction): void {
    this.writes++
    const counts = this.#operations.get(spec) ?? new Map<Operation, number>()
    this.#operations.set(spec, counts.set(operation, (counts.get(operation) ?? 0) + 1))
    this.expose(operation, spec, transaction)
  }

  /** The same without its being a write of its own. */
  expose(operation: Operation, spec: TableSpec | null, transaction: Transaction): void {
    const cells = this.exposed.get(transaction)
    if (cells === undefined) this.exposed.set(transaction, new Set([cellOf(operation, spec)]))
    else cells.add(cellOf(operation, spec))
  }

  /** Effects of statements, by kind and table: `update accounts`. */
  get operations(): FeatureCounts {
    const counts: FeatureCounts = {}
    for (const [spec, of] of this.#operations)
      for (const [operation, count] of of) counts[`${operation} ${spec?.name ?? '-'}`] = count
    return counts
  }
}
