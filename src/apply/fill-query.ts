import { ConnectionError } from '../errors.js'
import { type FillEvent, fillChannel } from '../observe.js'
import type { QueryConnection, TextRow } from '../runtime.js'
import type { FillRules } from './fill-rules.js'
import type { Statement } from './fill-sql.js'

/** What the statement gives, in the isolation that the rules say. */
export async function askIn(
  session: QueryConnection,
  { sql, parameters }: Statement,
  { isolation }: FillRules,
): Promise<TextRow[]> {
  if (isolation === 'read committed') return session.query(sql, parameters)
  await session.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  try {
    // The snapshot is taken here, before the statement has its locks.
    await session.query('SELECT 1')
    return await session.query(sql, parameters)
  } finally {
    await session.query('ROLLBACK')
  }
}

/** The answer came from a standby, whose snapshots list no running transactions. */
export function onStandby(): ConnectionError {
  return new ConnectionError(
    'refused',
    'The connection has reached a standby (pg_is_in_recovery()): what it sees can not be joined to the change stream of the primary. ' +
      'Give the address of the primary, or target_session_attrs=primary.',
    true,
  )
}

/** For whoever listens. */
export function tellOfFill(table: string, keys: number, rows: number): void {
  if (fillChannel.hasSubscribers) fillChannel.publish({ table, keys, rows } satisfies FillEvent)
}
