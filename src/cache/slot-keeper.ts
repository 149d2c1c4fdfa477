import { asError } from '../errors.js'
import { type Connections, pause } from '../runtime.js'
import type { DurableSlot } from '../source/slot-source.js'
import { dropSlot } from '../wire/durable-slot.js'
import type { SessionPool } from '../wire/session-pool.js'
import type { ResolvedOptions } from './options.js'

/** Between two looks at the slots. */
const LOOK_EVERY_MS = 1_000
/** A slot of ours whose process has not been seen for so long is an orphan; if the process lives after all, it loads anew. */
const ORPHANED_AFTER_MS = 10 * 60_000
/** How long the end of our own walsender is waited for when its slot is dropped. */
const DROP_PATIENCE_MS = 2_000
/** Orphans are told by it: slots whose names begin otherwise are nobody's but their owners'. */
const OWN_PREFIX = 'walcache_'

const LOOK = `
  select slot_name as name, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) as retained,
    concat_ws(' ', confirmed_flush_lsn, to_jsonb(s) ->> 'inactive_since') as progress
  from pg_catalog.pg_replication_slots s
  where slot_type = 'logical' and database = current_database() and not temporary and not pg_is_in_recovery()
    and (slot_name = $1 or starts_with(slot_name, '${OWN_PREFIX}'))`

/** An inactive slot that may have been left behind. */
interface Suspect {
  readonly progress: string
  readonly sinceMs: number
}

/**
 * Sees to it that durable slots harm no server: ours is given up when it holds back more of the log than it may, ours is dropped at the end, and
 * so are those that processes which crashed have left behind.
 */
export class SlotKeeper {
  readonly #slot: DurableSlot
  readonly #walBudgetBytes: number
  readonly #options: ResolvedOptions
  readonly #connections: Connections
  readonly #sessions: SessionPool
  readonly #suspects = new Map<string, Suspect>()
  #retainedBytes: number | null = null

  constructor(
    slot: DurableSlot,
    walBudgetBytes: number,
    options: ResolvedOptions,
    connections: Connections,
    sessions: SessionPool,
  ) {
    this.#slot = slot
    this.#walBudgetBytes = walBudgetBytes
    this.#options = options
    this.#connections = connections
    this.#sessions = sessions
  }

  /** Bytes of the log that our slot keeps the server from recycling, as last seen; null before that. */
  get retainedBytes(): number | null {
    return this.#retainedBytes
  }

  /** Looks again and again until `signal` aborts. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers } = this.#options.runtime
    while (!signal.aborted) {
      await this.#look(signal).catch((error: unknown) => {
        // Whether the server is there is others' business.
        if (!signal.aborted)
          this.#options.logger.debug(`The slots could not be looked at: ${asError(error).message}`)
      })
      await pause(timers, LOOK_EVERY_MS, signal)
    }
  }

  /** Drops our slot. Never rejects: if that can't be done, the log says how. */
  async drop(): Promise<void> {
    const { name } = this.#slot
    await this.#drop(name, new AbortController().signal).catch((error: unknown) =>
      this.#options.logger.warn(
        `Replication slot "${name}" could not be dropped (${asError(error).message}). It holds back the server's log until it is: ` +
          `SELECT pg_drop_replication_slot('${name}').`,
      ),
    )
  }

  async #look(signal: AbortSignal): Promise<void> {
    const rows = await this.#sessions.run(session => session.query(LOOK, [this.#slot.name]), signal)
    const found = new Set(rows.map(({ name }) => name!))
    for (const name of this.#suspects.keys()) if (!found.has(name)) this.#suspects.delete(name)
    for (const { name, active, retained, progress } of rows) {
      if (name === this.#slot.name) await this.#budget(Number(retained), signal)
      else if (active === 't') this.#suspects.delete(name!)
      else if (this.#isOrphan(name!, progress!)) await this.#bury(name!, signal)
    }
  }

  async #budget(retainedBytes: number, signal: AbortSignal): Promise<void> {
    this.#retainedBytes = retainedBytes
    if (retainedBytes <= this.#walBudgetBytes) return
    this.#options.logger.warn(
      `Replication slot "${this.#slot.name}" holds back ${retainedBytes} bytes of the server's log, more than walBudgetBytes ` +
        `(${this.#walBudgetBytes}). It is dropped, and the cache loads anew. If it recurs, the cache is slower than the writers, or the budget is too small.`,
    )
    await this.#drop(this.#slot.name, signal)
    this.#retainedBytes = null
  }

  /** Whether it has been inactive, and its progress the same, at every look for long. */
  #isOrphan(name: string, progress: string): boolean {
    const nowMs = this.#options.runtime.clock.monotonicMs()
    const suspect = this.#suspects.get(name)
    if (suspect?.progress === progress) return nowMs - suspect.sinceMs > ORPHANED_AFTER_MS
    this.#suspects.set(name, { progress, sinceMs: nowMs })
    return false
  }

  async #bury(name: string, signal: AbortSignal): Promise<void> {
    this.#suspects.delete(name)
    await this.#drop(name, signal)
    this.#options.logger.warn(
      `Replication slot "${name}", which nobody had used for ${ORPHANED_AFTER_MS / 60_000} minutes, was dropped.`,
    )
  }

  /** The role that replicates may drop slots and end its own walsender; the one that queries need not. */
  async #drop(name: string, signal: AbortSignal): Promise<void> {
    const { runtime } = this.#options
    const claim = { runtime, signal, ownPid: this.#slot.walSenderPid, patienceMs: DROP_PATIENCE_MS }
    const replication = await this.#connections.replication(signal)
    try {
      await dropSlot(replication, name, claim)
    } finally {
      await replication.close()
    }
  }
}
