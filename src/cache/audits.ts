import type { Compared } from '../audit/comparer.js'
import { type AuditCounts, countMismatches, type MismatchKind } from '../audit/report.js'
import type { Mismatch } from '../audit/comparison.js'
import type { TableMapping } from '../mapping/mapping.js'
import { type AuditEvent, auditChannel, type Logger } from '../observe.js'
import type { Emitter } from './emitter.js'
import type { CacheEvents } from './events.js'

const KINDS: readonly MismatchKind[] = ['missing', 'extra', 'different']

/** What all comparisons with PostgreSQL have found, table by table, since the cache was opened. */
export class AuditLedger {
  readonly #logger: Logger
  readonly #events: Pick<Emitter<CacheEvents>, 'emit'>
  /** By declaration, which outlives generations. */
  readonly #counts = new Map<object, AuditCounts>()

  constructor(logger: Logger, events: Pick<Emitter<CacheEvents>, 'emit'>) {
    this.#logger = logger
    this.#events = events
  }

  countsOf({ declaration }: TableMapping): AuditCounts {
    let counts = this.#counts.get(declaration)
    if (counts === undefined) {
      counts = { audited: 0, mismatched: 0, excluded: 0 }
      this.#counts.set(declaration, counts)
    }
    return counts
  }

  /** Takes note of one comparison. */
  compared(mapping: TableMapping, { audited, excluded }: Compared): void {
    const counts = this.countsOf(mapping)
    counts.audited += audited
    counts.excluded += excluded.length
    if (auditChannel.hasSubscribers)
      auditChannel.publish({
        table: mapping.name,
        audited,
        excluded: excluded.length,
      } satisfies AuditEvent)
  }

  /** Tells of what was found to differ. */
  mismatched(mapping: TableMapping, mismatches: readonly Mismatch[]): void {
    if (mismatches.length === 0) return
    this.countsOf(mapping).mismatched += mismatches.length
    const counts = countMismatches(mismatches)
    for (const kind of KINDS) {
      const count = counts[kind]
      if (count > 0) this.#events.emit('mismatch', { table: mapping.name, kind, count })
    }
    const found = KINDS.map(kind => `${counts[kind]} ${kind}`).join(', ')
    this.#logger.error(
      `Table ${mapping.name} was found to differ from PostgreSQL in memory: ${found}. What differs is being mended. Please report this.`,
    )
  }
}
