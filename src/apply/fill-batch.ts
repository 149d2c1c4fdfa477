import type { Lsn } from '../change/lsn.js'
import type { Xid8 } from '../change/xid.js'
import { asError } from '../errors.js'
import type { Timers } from '../runtime.js'
import type { CommitSeq } from '../store/address.js'
import type { PackedRow } from '../store/residency.js'
import type { AppliedTable } from './binding.js'
import type { FillImage } from './fill-image.js'
import type { FillReply } from './fill-sql.js'

/** The fill did not come to an end in time, or at all: ask PostgreSQL itself. */
export class FillLateError extends Error {}

/** What a fill found. */
export interface FillAnswer {
  readonly row: PackedRow | null
  /** The commit at which this is the key's state; null for a fresh answer, which may be ahead of the visible state. */
  readonly seq: CommitSeq | null
  /** From this commit on it was the same. */
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

/** One key that is asked for, and all who wait for it. */
export class KeyFill {
  /** Null while it waits to be asked for again. */
  batch: FillBatch | null = null
  attempts = 0
  /** Forgotten on purpose meanwhile: the answer is not kept. */
  isCancelled = false
  /** Keys that have to be asked for in the same query. */
  readonly companions = new Map<string, Buffer>()
  readonly #waiters = new Set<Waiter>()

  constructor(
    /** The key's bytes as a map's key. */
    readonly id: string,
    readonly key: Buffer,
  ) {}

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

/** The keys of one query. */
export class FillBatch {
  readonly keys = new Map<string, KeyFill>()
  isSent = false
  /** Every commit up to this one of the log was visible to whatever was asked when the query was sent. */
  logAfter = 0
  reply: FillReply | null = null
  cancelNudge: (() => void) | null = null
  /** The horizon with which the rows were last tried. */
  horizonTried: Xid8 | null = null
  readonly #abort = new AbortController()
  /** All that was asked for, also what is answered by now. */
  readonly #asked = new Set<string>()

  constructor(readonly table: AppliedTable) {}

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  add(fill: KeyFill): void {
    fill.batch = this
    this.keys.set(fill.id, fill)
    this.#asked.add(fill.id)
  }

  get wantsFresh(): boolean {
    for (const fill of this.keys.values()) if (fill.wantsFresh) return true
    return false
  }

  /** What the query saw under each key. */
  image(): FillImage {
    const image = new Map<string, PackedRow | null>()
    for (const id of this.#asked) image.set(id, this.reply!.rows.get(id)?.row ?? null)
    return image
  }

  abort(error: Error): void {
    this.#abort.abort(error)
  }
}
