import { Applier, type ApplierOptions } from '../../src/apply/applier.js'
import type { AppliedTable, BoundRelation } from '../../src/apply/binding.js'
import { silentLogger } from '../../src/observe.js'
import type { ScriptSource } from '../../src/source/script-source.js'
import type { Store } from '../../src/store/store.js'
import { VirtualRuntime } from './virtual-runtime.js'

/** The writer of these tables, on a virtual clock. Whoever is told or asked anything is in `more`. */
export function applierOf(
  store: Store,
  tables: readonly AppliedTable[],
  more: Partial<ApplierOptions> = {},
): Applier {
  return new Applier({
    store,
    tables,
    runtime: new VirtualRuntime(),
    sliceMs: 5,
    logger: silentLogger,
    onPosition: () => undefined,
    onAborted: () => undefined,
    ...more,
  })
}

/** Applies all that the source has, then ends. */
export async function applyAll(applier: Applier, source: ScriptSource<BoundRelation>): Promise<void> {
  const end = new AbortController()
  for await (const batch of source.batches(end.signal)) {
    await applier.apply(batch)
    await source.close()
  }
}
