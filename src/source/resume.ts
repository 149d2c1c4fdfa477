import { formatLsn, type Lsn, parseLsn } from '../change/lsn.js'
import { type Xid8, widenXid } from '../change/xid.js'
import { type Asked, type Claim, freeSlot, type SlotRow } from '../wire/durable-slot.js'

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
  /** How far its log goes. */
  readonly written: Lsn
  readonly startedAt: string
  /** Our slot, with nobody streaming from it; null if there is none. */
  readonly slot: SlotRow | null
  /** Of the transactions in question, whether it has them all; true if none was in question. */
  readonly hasCommits: boolean
}

/** SQLSTATE of an id that was never given out. */
const INVALID_PARAMETER_VALUE = '22023'

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
  const isSameServer = startedAt === left.startedAt
  return {
    systemId: system!['systemid']!,
    timeline: Number(system!['timeline']),
    written: parseLsn(system!['xlogpos']!),
    startedAt,
    slot,
    // A server that was not restarted has lost nothing; and what waits for a standby there is not committed to its eyes yet.
    hasCommits: isSameServer || (await hasCommitted(replication, left.xids)),
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
  // The old primary's stream may have been ahead of the standby that was promoted; its slot would skip what came instead.
  if (found.timeline !== left.timeline)
    return `the server was failed over or restored: its timeline is ${found.timeline} and was ${left.timeline}`
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
