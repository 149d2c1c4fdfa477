import { normaliseInsertLsn, parseLsn } from '../change/lsn.js'
import type { TextRow } from '../runtime.js'
import { SharedQuestion } from './shared-question.js'
import type { LogPosition } from './token.js'

/** Sizes that say where a page of the log begins. */
export interface LogPages {
  readonly walBlockBytes: number
  readonly walSegmentBytes: number
}

/**
 * Columns that name a position of a primary's log: of which cluster, of which timeline (the first 8 digits of a segment's name), where.
 * `position` is an SQL expression. All are texts: they may be asked for on a client of the caller's, whose parser for int8 mostly makes numbers,
 * which can't hold a system identifier.
 */
export function positionColumns(position: string): string {
  return `(SELECT system_identifier FROM pg_catalog.pg_control_system())::text AS system,
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) AS segment, (${position})::text AS position`
}

/** The position in a row of `positionColumns`; an insert position is moved back over a page's header. */
export function readPosition(row: TextRow, pages: LogPages): LogPosition {
  return {
    systemId: BigInt.asUintN(64, BigInt(row['system']!)).toString(),
    timeline: Number.parseInt(row['segment']!.slice(0, 8), 16),
    lsn: normaliseInsertLsn(parseLsn(row['position']!), pages.walBlockBytes, pages.walSegmentBytes),
  }
}

/** The position up to which the server has written its log. */
export class ServerPosition extends SharedQuestion<LogPosition> {}
