import { formatLsn, type Lsn, parseLsn } from '../change/lsn.js'
import { type Xid8, widenXid } from '../change/xid.js'
import { type Asked, type Claim, freeSlot, type SlotRow } from '../wire/durable-slot.js'
import { parseTimelineHistory } from '../wire/timeline.js'

/** Where a stream was left: what has to be true of the server still, if it is to be gone on with. */
export interface LeftOff {
  readonly systemId: string
  readonly timeline: number
  /** Everything before it has been applied, and nothing after it. */
  readonly position: Lsn
  /** `pg_postmaster_start_time()` of the server that was streamed from, if it is known. */
  readonly startedAt: string | null
  /** The output plugin of the slot. */
  readonly plugin: string
  /** The ids of the newest transactions that were applied, as the stream has them: 32 bits. */
  readonly xids: readonly number[]
}

/** What the server is found to be. */
export interface FoundServer {
  readonly systemId: string
  readonly timeline: number
  /** Where the timeline of what was applied was left for this one; null if it is the same, or not known to lead to this one. */
  readonly leftAt: Lsn | null
  /** How far its log goes. */
  readonly written: Lsn
  readonly startedAt: string
  /** Our slot, with nobody streaming from it; null if there is none. */
  readonly slot: SlotRow | null
  /** Of the transactions in question, whether it has them all; true if none was in question. */
  readonly hasCommits: boolean
}

// SQLSTATEs: of an id that was never given out, of a file that was removed.
const INVALID_PARAMETER_VALUE = '22023'
const UNDEFINED_FILE = '58P01'

/**
 * Looks at the server that the stream would be gone on with.
 *
 * @throws {SlotInUseError} @throws {SlotError} @throws {ConnectionError}
 */
export async function inspectForResume(
  replication: Asked,
  slotName: string,
  left: LeftOff,
  claim: Claim,
): Promise<FoundServer> {
  const slot = await freeSlot(replication, slotName, claim)
  // After the slot is known to be ours alone: an end of the log that is read earlier might be one that was crashed away since.
  const [system] = await replication.query('IDENTIFY_SYSTEM')
  const [row] = await replication.query('select pg_postmaster_start_time() as started')
  const startedAt = row!['started']!
  const timeline = Number(system!['timeline'])
  const isSameServer = startedAt === left.startedAt && timeline === left.timeline
  const mayBePromoted = timeline !== left.timeline && slot?.isSynced === true
  return {
    systemId: system!['systemid']!,
    timeline,
    leftAt: mayBePromoted ? await endOf(replication, left.timeline, timeline) : null,
    written: parseLsn(system!['xlogpos']!),
    startedAt,
    slot,
    // A server that was not restarted has lost nothing; and what waits for a standby there is not committed to its eyes yet.
    hasCommits: isSameServer || (await hasCommitted(replication, left.xids)),
  }
}

/** Where a timeline was left, by the history of a later one; null if that does not come from it, or its history is not there any more. */
async function endOf(replication: Asked, left: number, timeline: number): Promise<Lsn | null> {
  try {
    const [row] = await replication.query(`TIMELINE_HISTORY ${timeline}`)
    return parseTimelineHistory(row!['content']!).get(left) ?? null
  } catch (error) {
    if ((error as { code?: unknown }).code === UNDEFINED_FILE) return null
    throw error
  }
}

/** Whether all of these transactions are committed here: after a crash, or on a copy of the server, they may never have been. */
async function hasCommitted(session: Asked, xids: readonly number[]): Promise<boolean> {
  if (xids.length === 0) return true
  const [next] = await session.query('select pg_snapshot_xmax(pg_current_snapshot()) as xmax')
  const reference = BigInt(next!['xmax']!) as Xid8
  const ids = xids.map(xid => `('${widenXid(xid, reference)}'::xid8)`).join(', ')
  try {
    const [row] = await session.query(
      `select bool_and(pg_xact_status(id) = 'committed') as committed from (values ${ids}) as applied (id)`,
    )
    return row!['committed'] === 't'
  } catch (error) {
    if ((error as { code?: unknown }).code === INVALID_PARAMETER_VALUE) return false
    throw error
  }
}

/** Why the stream can't be gone on with; null if it can. */
export function resumeObstacle(left: LeftOff, found: FoundServer): string | null {
  const { slot } = found
  if (found.systemId !== left.systemId) return 'this is another database cluster'
  const otherTimeline = timelineObstacle(left, found)
  if (otherTimeline !== null) return otherTimeline
  if (found.written < left.position)
    return `the server's log ends at ${formatLsn(found.written)}, before what was applied (${formatLsn(left.position)})`
  if (!found.hasCommits) return 'the server does not have the transactions that were applied last'
  if (slot === null) return 'the slot is gone'
  if (slot.isTemporary || slot.plugin !== left.plugin) return 'another slot has taken its name'
  if (slot.invalidation !== null) return `the server has given the slot up (${slot.invalidation})`
  if (slot.confirmed === null || slot.confirmed > left.position)
    return 'the slot has moved on: somebody else has read from it, or made it anew'
  return null
}

/**
 * Why what was applied may not be all, or more, than what the server's timeline has of it; null if it is just that.
 *
 * Two timelines have the same log up to where the one was left for the other. So all that was applied before that point, and nothing else, precedes it in
 * both, and the stream goes on with what comes after. Beyond that point the old primary's stream may have been ahead of the standby: the new
 * primary's slot would be taken at its word, and skip what came instead.
 */
function timelineObstacle({ timeline, position }: LeftOff, found: FoundServer): string | null {
  if (found.timeline === timeline) return null
  const why = `the server was failed over or restored: its timeline is ${found.timeline} and was ${timeline}`
  if (found.slot?.isSynced !== true) return `${why}, and it has no copy of the slot`
  if (found.leftAt === null) return `${why}, and it does not tell where that one was left`
  if (position <= found.leftAt) return null
  return `${why} up to ${formatLsn(found.leftAt)}, and more than that was applied (${formatLsn(position)})`
}
