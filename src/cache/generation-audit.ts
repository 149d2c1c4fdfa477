import type { Applier } from '../apply/applier.js'
import type { AppliedTable } from '../apply/binding.js'
import { Auditor } from '../audit/auditor.js'
import { type Compared, Comparer } from '../audit/comparer.js'
import type { Mismatch } from '../audit/comparison.js'
import { forgetKeys } from '../audit/forget.js'
import type { Lsn } from '../change/lsn.js'
import type { TableMapping } from '../mapping/mapping.js'
import type { Store } from '../store/store.js'
import { type GenerationBase, normaliserOf } from './generation-context.js'
import type { GenerationFills } from './generation-fills.js'

export interface AuditHost {
  readonly store: Store
  readonly applier: Applier
  readonly fills: GenerationFills
  readonly tables: () => readonly AppliedTable[]
  /** The server's start time, if it is known. */
  readonly startedAt: () => string | null
  /** Resolves when the position is visible. */
  readonly reached: (position: Lsn, signal: AbortSignal) => Promise<void>
  /** Has the server flush its log. */
  readonly nudge: () => void
  /** Resolves when it is found out whether a table was altered; false if that can't be had now. */
  readonly look: (signal: AbortSignal) => Promise<boolean>
  /** The server may have been replaced. */
  readonly suspect: () => void
  /** The table's rows were found to differ from PostgreSQL's: it is to be read anew. */
  readonly differs: (target: AppliedTable) => void
  readonly onCompared: (mapping: TableMapping, compared: Compared) => void
  readonly onMismatches: (mapping: TableMapping, mismatches: readonly Mismatch[]) => void
}

/** Compares a generation's tables with PostgreSQL, and sees to what differs. */
export class GenerationAudit {
  readonly comparer: Comparer
  readonly #base: GenerationBase
  readonly #host: AuditHost

  constructor(base: GenerationBase, host: AuditHost) {
    const { options, fallThrough, setup } = base
    const { store, applier, fills, startedAt, reached, nudge, look, suspect, onCompared } = host
    this.#base = base
    this.#host = host
    this.comparer = new Comparer({
      store,
      applier,
      log: () => fills.log,
      slotSnapshot: fills.slotSnapshot,
      runtime: options.runtime,
      sliceMs: options.sliceMs,
      run: fallThrough,
      startedAt,
      normalise: normaliserOf(setup.server),
      reached,
      nudge,
      look,
      suspect,
      onCompared,
    })
  }

  /** What was found to differ from PostgreSQL is told, forgotten or read anew. */
  mend(target: AppliedTable, mismatches: readonly Mismatch[]): void {
    this.#host.onMismatches(target.mapping, mismatches)
    if (!forgetKeys(target.table, mismatches)) this.#host.differs(target)
  }

  /** Audits rows until `signal` aborts, if that is wanted at all. */
  async run(signal: AbortSignal): Promise<void> {
    const { options, fallThrough, isBusy } = this.#base
    const { runtime, logger, auditRowsPerSecond } = options
    if (auditRowsPerSecond === null) return
    const auditor = new Auditor({
      runtime,
      logger,
      store: this.#host.store,
      rowsPerSecond: auditRowsPerSecond,
      comparer: this.comparer,
      tables: this.#host.tables,
      run: fallThrough,
      isBusy,
      onMismatches: (target, mismatches) => this.mend(target, mismatches),
    })
    await auditor.run(signal)
  }
}
