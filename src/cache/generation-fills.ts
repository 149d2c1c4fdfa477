import type { AppliedTable } from '../apply/binding.js'
import { CommitLog } from '../apply/commit-log.js'
import { Filler } from '../apply/fill.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { LiveTable } from '../query/live.js'
import type { Store } from '../store/store.js'
import { type GenerationBase, normaliserOf } from './generation-context.js'

export interface FillsHost {
  readonly store: Store
  /** The server's start time, if it is known. */
  readonly startedAt: () => string | null
  /** Has the server flush its log. */
  readonly nudge: () => void
  /** The server may have been replaced. */
  readonly suspect: () => void
}

/** What a generation's bounded tables need: recent commits, and who reads what they don't know. Neither is there before the first such table. */
export class GenerationFills {
  /** What the slot's own snapshot saw. */
  readonly slotSnapshot: SqlSnapshot
  readonly #base: GenerationBase
  readonly #host: FillsHost
  #log: CommitLog | null = null
  #filler: Filler | null = null

  constructor(base: GenerationBase, slotSnapshot: SqlSnapshot, host: FillsHost) {
    this.#base = base
    this.slotSnapshot = slotSnapshot
    this.#host = host
  }

  get log(): CommitLog | null {
    return this.#log
  }

  get filler(): Filler | null {
    return this.#filler
  }

  /** From now on commits are to be kept in the log that is returned. Called once, for the first bounded table. */
  begin(): CommitLog {
    const log = new CommitLog(this.slotSnapshot.xmax)
    this.#log = log
    this.#filler = this.#makeFiller(log)
    return log
  }

  /** The table with what reads the keys that it does not know. */
  serve(live: LiveTable & AppliedTable): LiveTable & AppliedTable {
    return live.table.residency === null ? live : { ...live, filler: this.#filler }
  }

  #makeFiller(log: CommitLog): Filler {
    const { options, fallThrough, setup } = this.#base
    const { store, startedAt, nudge, suspect } = this.#host
    return new Filler({
      log,
      slotSnapshot: this.slotSnapshot,
      timers: options.runtime.timers,
      waitMs: options.fillWaitMs,
      run: fallThrough,
      position: () => store.position,
      visible: () => store.visible,
      startedAt,
      normalise: normaliserOf(setup.server),
      nudge,
      suspect,
      rules: options.fillRules,
    })
  }
}
