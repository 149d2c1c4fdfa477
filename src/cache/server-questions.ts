import { type LogPages, positionColumns, readPosition } from '../freshness/server-position.js'
import { parseTimelineHistory, type TimelineHistory } from '../wire/timeline.js'
import type { LogPosition } from '../freshness/token.js'
import type { Connections } from '../runtime.js'
import type { SessionPool } from '../wire/session-pool.js'
import { asCacheError } from './lifecycle.js'

/** Where the server is now: at or after everything that it has shown. @throws {CacheError} */
export async function askPosition(sessions: SessionPool, pages: LogPages): Promise<LogPosition> {
  try {
    return await sessions.run(async session => {
      const [row] = await session.query(`SELECT ${positionColumns('pg_current_wal_insert_lsn()')}`)
      return readPosition(row!, pages)
    })
  } catch (error) {
    throw asCacheError(error)
  }
}

/** From which timelines, and where, this one has come. Rejects with the signal's reason when it aborts. */
export async function askHistory(
  connections: Connections,
  timeline: number,
  signal: AbortSignal,
): Promise<TimelineHistory> {
  const replication = await connections.replication(signal)
  try {
    const [row] = await replication.query(`TIMELINE_HISTORY ${timeline}`)
    return parseTimelineHistory(row!['content']!)
  } finally {
    await replication.close()
  }
}
