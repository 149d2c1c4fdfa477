import type { Xid8 } from '../change/xid.js'
import type { CommitSeq } from '../store/address.js'
import type { PackedRow } from '../store/packed-row.js'
import type { AppliedTable } from './binding.js'
import type { CommitLog, LogEntry } from './commit-log.js'
import type { FillRules } from './fill-rules.js'
import type { FillReply, Statement } from './fill-sql.js'
import type { Wanted } from './wanted.js'

/** What something wanted has come to after the commits that the query did not see. */
export type Merged =
  /** Its rows. */
  | { readonly kind: 'known'; readonly rows: readonly PackedRow[] }
  /** A value of a row is not to be had: it is the one of the row under `base`, before a commit that moved or changed that. */
  | { readonly kind: 'incomplete'; readonly base: string }
  /** The log no longer says what a commit made of it, or contradicts itself: a later query has to be asked. */
  | { readonly kind: 'ask again' }
  /** There are more rows than are kept, or were read. */
  | { readonly kind: 'too large' }

export const ASK_AGAIN: Merged = { kind: 'ask again' }

/** What was made known. */
export interface Kept {
  readonly rows: readonly PackedRow[]
  /** See `FillAnswer`. */
  readonly since: CommitSeq
}

/** What one query asks for. */
export abstract class FillBatch<W extends Wanted = Wanted> {
  readonly wanted = new Map<string, W>()
  isSent = false
  /** Every commit up to this one of the log was visible to whatever was asked when the query was sent. */
  logAfter = 0
  reply: FillReply | null = null
  cancelNudge: (() => void) | null = null
  /** The horizon with which the rows were last tried. */
  horizonTried: Xid8 | null = null
  readonly #abort = new AbortController()

  /** `rules` are for tests that take one away. */
  constructor(
    readonly table: AppliedTable,
    readonly rules: FillRules,
  ) {}

  get signal(): AbortSignal {
    return this.#abort.signal
  }

  add(wanted: W): void {
    wanted.batch = this
    this.wanted.set(wanted.id, wanted)
  }

  /** Whether nothing more is to be asked for in the same query. */
  abstract get isFull(): boolean

  get wantsFresh(): boolean {
    for (const wanted of this.wanted.values()) if (wanted.wantsFresh) return true
    return false
  }

  abstract statement(): Statement

  /** Brings what the query saw to the visible state: `entries` are the commits that it may not have seen, in their order. */
  abstract merge(entries: readonly LogEntry[]): (id: string) => Merged

  /** Whether its row's last writer, and all that it wrote, is shown to have been published, at this horizon. */
  abstract isFast(wanted: W, horizon: Xid8): boolean

  /** Whether the transaction in progress, which is not visible yet, has passed it already. */
  abstract isPending(wanted: W, rows: readonly PackedRow[], log: CommitLog): boolean

  /** Makes its visible state known; null if the transaction in progress has written it. */
  abstract install(wanted: W, rows: readonly PackedRow[]): Kept | null

  /** What is the answer to those who wait for something that was forgotten on purpose. */
  abstract passOn(wanted: W, rows: readonly PackedRow[]): Kept

  protected sees(entry: LogEntry): boolean {
    return this.rules.sees(this.reply!, entry)
  }

  abort(error: Error): void {
    this.#abort.abort(error)
  }
}
