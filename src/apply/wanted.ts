import type { Lsn } from '../change/lsn.js'
import { asError } from '../errors.js'
import type { Timers } from '../runtime.js'
import type { CommitSeq } from '../store/address.js'
import type { GroupValue } from '../store/group-index.js'
import type { PackedRow } from '../store/packed-row.js'

/** The fill did not come to an end in time, or at all: ask PostgreSQL itself. */
export class FillLateError extends Error {}

/** What a fill found. */
export interface FillAnswer {
  /** The row of a key, if there is one; all rows of a group. */
  readonly rows: readonly PackedRow[]
  /** The commit at which this is the state; null for a fresh answer, which may be ahead of the visible state. */
  readonly seq: CommitSeq | null
  /** From this commit on it was the same, of a key; Infinity if nobody can say. */
  readonly since: CommitSeq
  /** As of this position, at least. */
  readonly position: Lsn
}

/** How long an answer is held back for its commit. */
export interface Patience {
  readonly timers: Timers
  readonly waitMs: number
}

interface Waiter {
  readonly fresh: boolean
  cancelLimit: (() => void) | null
  readonly settle: (answer: FillAnswer | null, error: Error | null) => void
}

/** The query that asks for it. */
interface Asking {
  readonly isSent: boolean
  /** Null until it is answered. */
  readonly reply: object | null
  readonly wanted: ReadonlyMap<string, Wanted>
  abort(error: Error): void
}

/** One thing that is asked for, and all who wait for it. */
export abstract class Wanted {
  /** Null while it waits to be asked for again. */
  batch: Asking | null = null
  attempts = 0
  /** Forgotten on purpose meanwhile: the answer is not kept. */
  isCancelled = false
  /** Keys that have to be asked for in the same query. */
  readonly companions = new Map<string, Buffer>()
  readonly #waiters = new Set<Waiter>()

  /** `id` is unique among all that is wanted of a table. */
  constructor(readonly id: string) {}

  /** Whether anybody waits for it. */
  get isWanted(): boolean {
    return this.#waiters.size > 0
  }

  get wantsFresh(): boolean {
    for (const { fresh } of this.#waiters) if (fresh) return true
    return false
  }

  /** The answer, for one more who waits. `onLeave` is called if the signal makes them give up. */
  wait(
    fresh: boolean,
    signal: AbortSignal | undefined,
    onLeave: () => void,
    patience: Patience | null,
  ): Promise<FillAnswer> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        waiter.settle(null, asError(signal!.reason))
        onLeave()
      }
      const waiter: Waiter = {
        fresh,
        cancelLimit: null,
        settle: (answer, error) => {
          this.#waiters.delete(waiter)
          waiter.cancelLimit?.()
          signal?.removeEventListener('abort', onAbort)
          if (answer === null) reject(error!)
          else resolve(answer)
        },
      }
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
      if (patience !== null) limitOne(waiter, patience)
    })
  }

  /** From now on nobody waits for longer than that. */
  limit(patience: Patience): void {
    for (const waiter of this.#waiters) if (waiter.cancelLimit === null) limitOne(waiter, patience)
  }

  resolve(answer: FillAnswer): void {
    for (const waiter of this.#waiters) waiter.settle(answer, null)
  }

  /** Answers those who do not wait for the commit. */
  resolveFresh(answer: FillAnswer): void {
    for (const waiter of this.#waiters) if (waiter.fresh) waiter.settle(answer, null)
  }

  reject(error: Error): void {
    for (const waiter of this.#waiters) waiter.settle(null, error)
  }
}

function limitOne(waiter: Waiter, { timers, waitMs }: Patience): void {
  waiter.cancelLimit = timers.after(waitMs, () => waiter.settle(null, new FillLateError()))
}

/** A key's row. */
export class WantedKey extends Wanted {
  constructor(
    id: string,
    readonly key: Buffer,
  ) {
    super(id)
  }
}

/** The rows with one value of an index. */
export class WantedGroup extends Wanted {
  constructor(readonly value: GroupValue) {
    super(value.id)
  }
}
