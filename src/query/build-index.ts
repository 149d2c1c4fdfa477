import { NotLocalError } from '../errors.js'
import type { Runtime } from '../runtime.js'
import type { TableStore } from '../store/table.js'
import type { LiveTable } from './live.js'
import type { IndexProgress } from './types.js'

/** Rows between two looks at the clock. */
const ROWS_PER_LOOK = 64

export interface BuildOptions {
  readonly runtime: Runtime
  /** The longest turn. */
  readonly sliceMs: number
  readonly signal: AbortSignal
  readonly onProgress?: ((progress: IndexProgress) => void) | undefined
}

/**
 * Makes an index of a table that is read and written meanwhile; queries use it once it is whole. What is written from the beginning on enters it as it
 * does any other index, and all versions that are there enter it row by row: so it serves every reader, a snapshot that was open before, too.
 *
 * @throws {NotLocalError} if its values can't be compared here. @throws {MemoryLimitError} if there is no room for it. @throws whatever the table failed
 * with. Rejects with the signal's reason when it aborts. Then nothing of it is left.
 */
export async function buildIndex(
  { table, finder, mapping }: LiveTable,
  columns: readonly number[],
  { runtime, sliceMs, signal, onProgress }: BuildOptions,
): Promise<void> {
  const { clock, timers } = runtime
  mustBeReadable(table)
  const made = finder.beginIndex(columns)
  if (made.length === 0)
    throw new NotLocalError(mapping.name, 'type', 'only PostgreSQL compares values of these columns.')
  const { indexes } = table
  try {
    for (const { stored } of made) indexes.mustHaveRoom(stored.key, table.rowEnd)
    let sliceEndsMs = clock.monotonicMs() + sliceMs
    for (let row = 0; row < table.rowEnd; row++) {
      for (const { stored } of made) indexes.enter(stored, row)
      if (row % ROWS_PER_LOOK !== 0 || clock.monotonicMs() < sliceEndsMs) continue
      onProgress?.({ rows: row + 1, rowsTotal: table.rowEnd })
      await timers.yield()
      signal.throwIfAborted()
      sliceEndsMs = clock.monotonicMs() + sliceMs
    }
    // A table that fails is emptied.
    mustBeReadable(table)
  } catch (error) {
    for (const { stored } of made) indexes.remove(stored)
    throw error
  }
  finder.adopt(made)
}

function mustBeReadable({ failed }: TableStore): void {
  if (failed !== null) throw failed
}
