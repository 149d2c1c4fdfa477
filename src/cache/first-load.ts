import type { AppliedTable } from '../apply/binding.js'
import type { Fault } from '../apply/fault.js'
import { loadTables } from '../apply/load.js'
import type { Lsn } from '../change/lsn.js'
import type { SqlSnapshot } from '../change/sql-snapshot.js'
import type { LiveTable } from '../query/live.js'
import { Store } from '../store/store.js'
import type { GenerationBase } from './generation-context.js'
import { liveTable } from './live-table.js'

/** All tables of a generation as of its slot's beginning. */
export interface FirstLoad {
  readonly store: Store
  readonly tables: readonly (LiveTable & AppliedTable)[]
  /** What the slot's own snapshot saw. */
  readonly slotSnapshot: SqlSnapshot
}

/**
 * Loads all tables, as of the beginning of a slot, into a store of their own.
 *
 * @throws {CacheError} Rejects with the signal's reason when it aborts.
 */
export async function loadFirst(
  { options, sessions, setup }: GenerationBase,
  start: { readonly lsn: Lsn; readonly snapshotName: string },
  onFault: (fault: Fault) => void,
  signal: AbortSignal,
): Promise<FirstLoad> {
  const { runtime, logger } = options
  const store = new Store({
    limitBytes: options.memoryBytes,
    tableLimitBytes: options.tableMemoryBytes,
    hashSeed: Math.floor(runtime.random() * 2 ** 32),
  })
  const tables = setup.mappings.map(mapping => liveTable(store, mapping, 'within', options.addedIndexes))
  const slotSnapshot = await loadTables(tables, store.begin(), {
    connections: { query: abort => sessions.lease(abort) },
    snapshotName: start.snapshotName,
    // One for the anchor, and one left for reads that can't wait.
    workers: Math.max(1, options.connections - 2),
    runtime,
    sliceMs: options.sliceMs,
    signal,
    logger,
    onProgress: options.onProgress,
    onFault,
  })
  store.publish(start.lsn)
  return { store, tables, slotSnapshot }
}
