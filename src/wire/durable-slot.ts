import { type Lsn, parseLsn } from '../change/lsn.js'
import { SlotError, SlotInUseError } from '../errors.js'
import { pause, type Runtime, type TextRow } from '../runtime.js'
import { checkSlotName } from './slot.js'

/** Between two looks at a slot that is to become free. */
const LOOK_EVERY_MS = 50

// SQLSTATEs.
const UNDEFINED_OBJECT = '42704'
const OBJECT_IN_USE = '55006'

/** Anything that answers SQL without parameters: a walsender of this database does as well. */
export interface Asked {
  query(sql: string): Promise<TextRow[]>
}

/** A logical slot of this database as `pg_replication_slots` has it. */
export interface SlotRow {
  readonly plugin: string
  readonly isTemporary: boolean
  /** The walsender that streams from it; null if none does. */
  readonly activePid: number | null
  /** Why the server has given it up; null if it has not. */
  readonly invalidation: string | null
  /** Whether the server had it from its primary, when it was a standby, and kept it in step. */
  readonly isSynced: boolean
  /** What was confirmed: the stream can't begin before it. Null while it is being made. */
  readonly confirmed: Lsn | null
}

/**
 * The slot `name`, or null if there is none.
 *
 * @throws {SlotError} if there is one of another kind or database: that is somebody else's.
 */
async function readSlot(session: Asked, name: string): Promise<SlotRow | null> {
  checkSlotName(name)
  // The columns that tell why came with 16 and 17, copies on standbys with 17; through to_jsonb the same text runs on 14.
  const [row] = await session.query(
    `select plugin, temporary, active_pid, confirmed_flush_lsn as confirmed,
       slot_type = 'logical' and database = current_database() as ours,
       case when wal_status = 'lost' then coalesce(to_jsonb(s) ->> 'invalidation_reason', 'wal_removed')
            else to_jsonb(s) ->> 'invalidation_reason' end as invalidation,
       coalesce((to_jsonb(s) ->> 'synced')::bool, false) as synced
     from pg_catalog.pg_replication_slots s where slot_name = '${name}'`,
  )
  if (row === undefined) return null
  if (row['ours'] !== 't')
    throw new SlotError(
      name,
      'there is one of this name which is physical, or of another database. Choose another name.',
      false,
    )
  return {
    plugin: row['plugin']!,
    isTemporary: row['temporary'] === 't',
    activePid: row['active_pid'] == null ? null : Number(row['active_pid']),
    invalidation: row['invalidation'] ?? null,
    isSynced: row['synced'] === 't',
    confirmed: row['confirmed'] == null ? null : parseLsn(row['confirmed']),
  }
}

export interface Claim {
  readonly runtime: Pick<Runtime, 'clock' | 'timers'>
  readonly signal: AbortSignal
  /** Our own last walsender, if we had one: it may be there still, since the server has not noticed that we are gone. */
  readonly ownPid: number | null
  /** How long whoever else uses the slot is waited for. */
  readonly patienceMs: number
}

/**
 * The slot once nobody streams from it; null if there is none. Our own last walsender is ended; another's is waited for, never ended.
 *
 * @throws {SlotInUseError} if somebody uses it for longer than `patienceMs`. @throws {SlotError} if it is somebody else's.
 */
export async function freeSlot(
  session: Asked,
  name: string,
  { runtime, signal, ownPid, patienceMs }: Claim,
): Promise<SlotRow | null> {
  const { clock, timers } = runtime
  const deadlineMs = clock.monotonicMs() + patienceMs
  for (;;) {
    const slot = await readSlot(session, name)
    if (slot === null || slot.activePid === null) return slot
    if (slot.activePid === ownPid) await session.query(`select pg_terminate_backend(${ownPid})`)
    if (clock.monotonicMs() > deadlineMs)
      throw new SlotInUseError(name, slot.activePid, await userOf(session, slot.activePid))
    await pause(timers, LOOK_EVERY_MS, signal)
    signal.throwIfAborted()
  }
}

/** Drops the slot if it is there. Throws as `freeSlot` does. */
export async function dropSlot(session: Asked, name: string, claim: Claim): Promise<void> {
  const { clock } = claim.runtime
  const deadlineMs = clock.monotonicMs() + claim.patienceMs
  while ((await freeSlot(session, name, claim)) !== null) {
    try {
      await session.query(`select pg_drop_replication_slot('${name}')`)
      return
    } catch (error) {
      const { code } = error as { code?: unknown }
      if (code === UNDEFINED_OBJECT) return
      // Somebody was quicker.
      if (code !== OBJECT_IN_USE || clock.monotonicMs() > deadlineMs) throw error
    }
  }
}

async function userOf(session: Asked, pid: number): Promise<string> {
  const [row] = await session.query(
    `select application_name as name from pg_catalog.pg_stat_activity where pid = ${pid}`,
  )
  return row?.['name'] || 'unnamed'
}
