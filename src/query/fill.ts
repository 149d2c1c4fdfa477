import type { FillAnswer } from '../apply/fill-batch.js'
import { FillLateError } from '../apply/fill-batch.js'
import { KeyError, NotLocalError, SnapshotMissError } from '../errors.js'
import type { Lsn } from '../change/lsn.js'
import type { CommitSeq } from '../store/address.js'
import type { Snapshot } from '../store/snapshot.js'
import { keyBytesOf, type LiveTable, lookUp } from './live.js'

/** How many keys of a `prefetch` are asked for at one time. */
const PREFETCH_AT_ONCE = 1000

/**
 * The row with a key that memory does not know, which is known from then on; null if there is none, undefined if that could not be had in time.
 *
 * @throws {DatabaseReadError} @throws {OverloadedError} @throws {ConnectionError} Rejects with the signal's reason when it aborts.
 */
export async function fillByKey(
  live: LiveTable,
  key: unknown,
  fresh: boolean,
  signal?: AbortSignal,
): Promise<(Located<object> & { readonly lsn: Lsn }) | undefined> {
  const found = await fill(live, keyBytesOf(live, key), fresh, signal)
  return found === undefined ? undefined : { row: rowOf(live, found), seq: found.seq, lsn: found.position }
}

/** An answer, and of which state it is. */
export interface Located<Row> {
  readonly row: Row | null
  /** The commit that it is as of; null if PostgreSQL gave it as it was at that moment. */
  readonly seq: CommitSeq | null
  /** Where that commit ends, or a position that the answer is not before; null where only PostgreSQL could say. */
  readonly lsn: Lsn | null
}

/** Undefined if it was too late, or there is nothing that could be filled any more. */
async function fill(
  live: LiveTable,
  key: Buffer,
  fresh: boolean,
  signal: AbortSignal | undefined,
): Promise<FillAnswer | undefined> {
  if (live.filler === null) return undefined
  try {
    return await live.filler.fill(live, key, fresh, signal)
  } catch (error) {
    if (error instanceof FillLateError) return undefined
    throw error
  }
}

function rowOf({ table }: LiveTable, { row }: FillAnswer): object | null {
  return row === null ? null : table.decodePacked(row)
}

/**
 * The row with a key that memory does not know as of a snapshot's commit. What PostgreSQL has now is the row's state at that commit if nothing has
 * changed it since.
 *
 * @throws {SnapshotMissError} if that can't be shown. @throws what `fillByKey` throws.
 */
export async function fillInSnapshot(
  live: LiveTable,
  snapshot: Snapshot,
  key: unknown,
  signal?: AbortSignal,
): Promise<object | null> {
  const found = await fill(live, keyBytesOf(live, key), false, signal)
  if (found === undefined) throw new SnapshotMissError(live.mapping.name, 'it could not be read in time')
  if (found.since <= snapshot.seq) return rowOf(live, found)
  try {
    return lookUp(live, key, snapshot.seq) ?? null
  } catch (error) {
    if (!(error instanceof NotLocalError)) throw error
    throw new SnapshotMissError(live.mapping.name, 'it was changed since, or may have been', { cause: error })
  }
}

/** Makes these keys known, as many as have room. Keys that only PostgreSQL can compare, and such as are late, are left out. */
export async function prefetch(
  live: LiveTable,
  keys: Iterable<unknown>,
  signal?: AbortSignal,
): Promise<void> {
  if (live.table.residency === null) return
  let asked: Promise<unknown>[] = []
  for (const key of keys) {
    if (isKnown(live, key)) continue
    asked.push(fillByKey(live, key, false, signal))
    if (asked.length < PREFETCH_AT_ONCE) continue
    await allOf(asked)
    asked = []
  }
  await allOf(asked)
}

/** Waits for all, also when one fails, so that no rejection is left to nobody. */
async function allOf(asked: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(asked)).find(({ status }) => status === 'rejected')
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
}

function isKnown(live: LiveTable, key: unknown): boolean {
  return live.table.residency!.known(keyBytesOf(live, key)) !== undefined
}

/** Forgets what memory knows of this key. False if it knew nothing. @throws {KeyError} */
export function evict(live: LiveTable, key: unknown): boolean {
  const { table, mapping, filler } = live
  if (table.residency === null)
    throw new KeyError(mapping.name, "all rows of this table are kept (keep: 'all'), so none can be evicted.")
  const bytes = keyBytesOf(live, key)
  filler?.evicted(live, bytes)
  return table.residency.evict(bytes)
}
