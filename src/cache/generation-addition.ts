import { type CacheError, NotReadyError, TableReloadingError } from '../errors.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { LiveTable } from '../query/live.js'
import type { GenerationBase } from './generation-context.js'
import { resolveAdded } from './setup.js'

/** The generation that gets one more table. */
export interface AdditionHost {
  readonly tables: readonly LiveTable[]
  /** Aborts when the stream ends; null while there is none. */
  readonly streaming: AbortSignal | null
  /** Whether the decoder can add tables to its stream. */
  readonly canGrow: boolean
  /** This is one of its tables, and can be read. */
  readonly onTable: (live: LiveTable) => void
  /** Reads the table beside the stream. Resolves when it can be read. */
  readonly read: (mapping: TableMapping, signal: AbortSignal) => Promise<void>
  readonly end: (error: CacheError) => void
}

/** As `Generation.addTable`. */
export async function addTable(
  { options, session: callers, sessions, setup }: GenerationBase,
  { tables, streaming, canGrow, onTable, read, end }: AdditionHost,
  declaration: object,
  signal: AbortSignal,
  onLoad: () => void,
): Promise<void> {
  if (streaming === null) throw new NotReadyError()
  // Called off too late, it was loaded all the same.
  const held = tables.find(({ mapping }) => mapping.declaration === declaration)
  if (held !== undefined) return onTable(held)
  const either = AbortSignal.any([streaming, signal])
  const mapping = await sessions.run(
    session => resolveAdded(session, options, callers, setup, declaration),
    either,
  )
  either.throwIfAborted()
  if (canGrow) return read(mapping, either)
  onLoad()
  // Should it not fit any more by then, only this one is left out.
  setup.mappings.push(mapping)
  end(new TableReloadingError(mapping.name, 'is being added'))
}
