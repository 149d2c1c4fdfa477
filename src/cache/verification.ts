import type { AppliedTable } from '../apply/binding.js'
import type { Comparer } from '../audit/comparer.js'
import type { Mismatch } from '../audit/comparison.js'
import { countMismatches, type TableVerification, type Verification } from '../audit/report.js'
import { type VerifiedTable, verifyTable } from '../audit/verify.js'
import { asError, CacheError, DatabaseReadError, NotReadyError } from '../errors.js'
import { isolated } from '../observe.js'
import type { RunQuery } from '../query/database.js'
import { pause, type Runtime } from '../runtime.js'
import { type Backoff, backoffMs } from '../source/backoff.js'
import type { Store } from '../store/store.js'
import type { VerifyOptions } from './types.js'

/** A table that is read anew meanwhile, or whose stream is lost, is begun anew so often. */
const ATTEMPTS_MAX = 20
const AGAIN: Backoff = { firstMs: 100, longestMs: 5_000 }

/** What is read now. */
export interface Verifiable {
  readonly store: Store
  readonly comparer: Comparer
  /** Aborts when it ends; null while it does not stream. */
  readonly streaming: AbortSignal | null
  readonly tables: readonly AppliedTable[]
  mend(target: AppliedTable, mismatches: readonly Mismatch[]): void
}

export interface VerificationContext {
  readonly runtime: Runtime
  readonly sliceMs: number
  readonly run: RunQuery
  /** @throws {CacheError} if nothing can be read. */
  readonly live: () => Verifiable
  readonly closing: AbortSignal
}

/** Compares whole tables with PostgreSQL, one after another, and has mended what differs. */
export async function verify(
  context: VerificationContext,
  declarations: readonly object[],
  options: VerifyOptions,
): Promise<Verification> {
  const progress =
    options.onProgress === undefined ? () => undefined : isolated('onProgress', options.onProgress)
  const tables: TableVerification[] = []
  for (const [tablesDone, declaration] of declarations.entries()) {
    const report = (table: string, rows: number): void =>
      progress({ table, tables: declarations.length, tablesDone, rows })
    tables.push(await verifyOne(context, declaration, report, options.signal))
  }
  const mismatched = tables.reduce(
    (sum, { mismatches: { missing, extra, different } }) => sum + missing + extra + different,
    0,
  )
  return { tables, mismatched }
}

async function verifyOne(
  context: VerificationContext,
  declaration: object,
  report: (table: string, rows: number) => void,
  signal: AbortSignal | undefined,
): Promise<TableVerification> {
  const { runtime, closing } = context
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryOne(context, declaration, report, signal)
    } catch (error) {
      signal?.throwIfAborted()
      closing.throwIfAborted()
      if (attempt === ATTEMPTS_MAX || !(error instanceof CacheError) || !error.transient) throw error
    }
    const waiting = signal === undefined ? closing : AbortSignal.any([signal, closing])
    await pause(
      runtime.timers,
      backoffMs(AGAIN, attempt, () => runtime.random()),
      waiting,
    )
  }
}

/** @throws {CacheError} that is transient if it is to be begun anew. */
async function tryOne(
  context: VerificationContext,
  declaration: object,
  report: (table: string, rows: number) => void,
  signal: AbortSignal | undefined,
): Promise<TableVerification> {
  const { runtime, sliceMs, run, live, closing } = context
  const current = live()
  const { store, comparer, streaming } = current
  const target = current.tables.find(({ mapping }) => mapping.declaration === declaration)
  if (target === undefined || streaming === null) throw new NotReadyError()
  const { name } = target.mapping
  const ends = signal === undefined ? [closing, streaming] : [closing, streaming, signal]
  try {
    const found = await verifyTable(target, {
      store,
      comparer,
      runtime,
      sliceMs,
      run,
      signal: AbortSignal.any(ends),
      onAudited: audited => report(name, audited),
    })
    if (found.mismatches.length > 0) current.mend(target, found.mismatches)
    return reportOf(name, found)
  } catch (error) {
    if (error instanceof CacheError) throw error
    throw new DatabaseReadError(name, { cause: asError(error) })
  }
}

function reportOf(name: string, { audited, absent, excluded, mismatches }: VerifiedTable): TableVerification {
  return { name, rows: audited - absent, absent, excluded, mismatches: countMismatches(mismatches) }
}
