import type { AuditCounts } from '../audit/report.js'
import type { LiveTable } from '../query/live.js'
import type { BoundedHealth, TableHealth } from './health.js'

/** What an operator wants to see of one table. */
export function tableHealth(live: LiveTable, audit: AuditCounts): TableHealth {
  const { mapping, table, store } = live
  const { residency } = table
  return {
    name: mapping.name,
    rows: table.failed !== null ? 0 : (residency?.presentRows ?? table.sizeAt(store.visible)),
    bytes: table.bytes,
    decodedRows: table.decoded.size,
    failed: table.failed,
    bounded: boundedHealth(live),
    audit: { ...audit },
  }
}

function boundedHealth(live: LiveTable): BoundedHealth | null {
  const { table, filler } = live
  const { residency, reads } = table
  if (residency === null) return null
  const fills = filler?.countsOf(live) ?? null
  const { counts } = residency
  const { coverage } = residency.groups
  return {
    absentKeys: residency.absentKeys,
    groups: coverage.groups,
    emptyGroups: coverage.emptyGroups,
    residueBytes: residency.residueBytes,
    hits: reads.hits,
    absentHits: reads.absent,
    misses: reads.misses,
    fills: fills?.queries ?? 0,
    filledKeys: fills?.keys ?? 0,
    filledRows: fills?.rows ?? 0,
    rowsWithoutWait: fills?.fast ?? 0,
    waits: fills?.waits ?? 0,
    nudges: fills?.nudges ?? 0,
    cancelled: fills?.cancelled ?? 0,
    askedAgain: fills?.again ?? 0,
    largeGroups: fills?.tooLarge ?? 0,
    failedFills: fills?.failed ?? 0,
    evictions: {
      rows: counts.evictedForRows,
      bytes: counts.evictedForBytes,
      absent: counts.evictedAbsent,
      withGroup: counts.evictedWithGroup,
      groups: coverage.evicted,
      call: counts.evictedByCall,
      uncovered: counts.uncovered,
    },
    bypassed: counts.bypassed,
  }
}
