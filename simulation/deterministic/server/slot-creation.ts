import type { TextRow } from '../../../src/runtime.js'
import type { Backend } from './backend.js'
import { lsnText } from './log.js'
import { DUPLICATE_OBJECT, LOCK_NOT_AVAILABLE, ServerError } from './server-error.js'
import type { Slot } from './slots.js'
import { row } from './statements-types.js'
import type { Transaction } from './transaction.js'

/**
 * A slot in the making. The server waits, twice, for every transaction that was running: only then can it decode whatever commits from here on.
 * Its snapshot comes from the log, so it counts as committed what is in limbo.
 */
export class SlotCreation {
  readonly #backend: Backend
  readonly #slot: Slot
  readonly #startedMs: number
  #rounds = 0
  #waitsFor: Transaction[]

  constructor(
    backend: Backend,
    { name, plugin, isTemporary }: Pick<Slot, 'name' | 'plugin' | 'isTemporary'>,
  ) {
    const { server } = backend
    server.faults.beforeStatement('create slot')
    if (server.slots.byName.has(name))
      throw new ServerError(DUPLICATE_OBJECT, `replication slot "${name}" already exists`)
    this.#backend = backend
    const position = server.model.log.insert
    this.#slot = {
      name,
      plugin,
      isTemporary,
      confirmed: position,
      persisted: position,
      activePid: backend.pid,
      invalidation: null,
      isReady: false,
    }
    server.slots.byName.set(name, this.#slot)
    this.#startedMs = server.scheduler.nowMs
    this.#waitsFor = [...server.model.runningTransactions]
  }

  /** The slot's row; undefined as long as it waits. */
  answer(): TextRow[] | undefined {
    const { server, lockTimeoutMs } = this.#backend
    const { model } = server
    this.#waitsFor = this.#waitsFor.filter(({ xid }) => model.isRunning(xid))
    if (this.#waitsFor.length > 0) {
      if (lockTimeoutMs === 0 || server.scheduler.nowMs - this.#startedMs < lockTimeoutMs) return undefined
      server.slots.byName.delete(this.#slot.name)
      server.faults.count('slot waits for writers')
      throw new ServerError(LOCK_NOT_AVAILABLE, 'canceling statement due to lock timeout')
    }
    if (++this.#rounds < 2) {
      this.#waitsFor = [...model.runningTransactions]
      return undefined
    }
    return this.#made()
  }

  #made(): TextRow[] {
    const { server } = this.#backend
    const { model } = server
    const slot = this.#slot
    // A record of its own, flushed: the log up to here is on disk.
    model.log.write(64)
    model.flush()
    slot.confirmed = model.log.insert
    slot.persisted = slot.confirmed
    slot.isReady = true
    server.slotMadeMs = server.scheduler.nowMs
    const snapshot = model.slotSnapshot()
    return [
      row('create slot', {
        slot_name: slot.name,
        consistent_point: lsnText(slot.confirmed),
        snapshot_name: this.#backend.exportSnapshot(snapshot),
        output_plugin: slot.plugin,
      }),
    ]
  }
}
