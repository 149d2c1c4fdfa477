import { type FillAnswer, FillLateError } from '../apply/wanted.js'
import { KeyError, NotLocalError, SnapshotMissError, TableReloadingError } from '../errors.js'
import type { Lsn } from '../change/lsn.js'
import type { CommitSeq } from '../store/address.js'
import type { Snapshot } from '../store/snapshot.js'
import type { Confined } from './coverage.js'
import { keyBytesOf, type LiveTable, lookUp } from './live.js'
import type { CheckedQuery } from './query.js'

/** How many keys of a `prefetch` are asked for at one time. */
const PREFETCH_AT_ONCE = 1000

/** A row that was read into memory, or null, and of which state that is. */
export interface FilledRow {
  readonly row: object | null
  /** The commit that it is as of; null if it is as PostgreSQL gave it at that moment. */
  readonly seq: CommitSeq | null
  /** A position that it is not before. */
  readonly lsn: Lsn
}

/** Rows that were read into memory, and the position that they are not before. */
export interface Filled {
  readonly rows: object[]
  readonly lsn: Lsn
}

/**
 * The row with a key, primary or unique, that memory does not know, which is known from then on; null if there is none, undefined if that could not
 * be had in time.
 *
 * @throws {DatabaseReadError} @throws {OverloadedError} @throws {ConnectionError} Rejects with the signal's reason when it aborts.
 */
export async function fillByKey(
  live: LiveTable,
  key: unknown,
  fresh: boolean,
  signal?: AbortSignal,
): Promise<FilledRow | undefined> {
  const { uniques, finder } = live
  const unique = uniques.read(key)
  const answer =
    unique === null
      ? await fillKey(live, keyBytesOf(live, key), fresh, signal)
      : await fillOnly(live, unique, fresh, signal)
  if (answer === undefined) return undefined
  const { seq, position: lsn } = answer
  const row = unique === null ? rowOf(live, answer) : uniques.only(finder.choose(answer.rows, unique))
  return { row: row ?? null, seq, lsn }
}

function rowOf({ table }: LiveTable, { rows }: FillAnswer): object | null {
  const [row] = rows
  return row === undefined ? null : table.decodePacked(row)
}

/** Undefined if it was too late, or there is nothing that could be filled any more. */
async function fillKey(
  live: LiveTable,
  key: Buffer,
  fresh: boolean,
  signal: AbortSignal | undefined,
): Promise<FillAnswer | undefined> {
  return unlessLate(live.filler?.fill(live, key, fresh, signal))
}

async function unlessLate<T>(filling: Promise<T> | undefined): Promise<T | undefined> {
  try {
    return await filling
  } catch (error) {
    // Of a table that has just been found to be altered nothing can be filled, until it is read in its new shape.
    if (error instanceof FillLateError || error instanceof TableReloadingError) return undefined
    throw error
  }
}

/** The one key or group that the query is confined to; undefined also if it is not confined to just one. */
async function fillOnly(
  live: LiveTable,
  { where }: CheckedQuery,
  fresh: boolean,
  signal: AbortSignal | undefined,
): Promise<FillAnswer | undefined> {
  const confined = live.finder.coverage?.confine(where) ?? null
  return confined === null || !isOne(confined)
    ? undefined
    : (await fillAll(live, confined, fresh, signal))?.[0]
}

function isOne({ keys, groups }: Confined): boolean {
  return keys.length + groups.length === 1
}

async function fillAll(
  live: LiveTable,
  { keys, groups }: Confined,
  fresh: boolean,
  signal: AbortSignal | undefined,
): Promise<FillAnswer[] | undefined> {
  const { filler } = live
  if (filler === null) return undefined
  return unlessLate(
    allOf([
      ...keys.map(key => filler.fill(live, key, fresh, signal)),
      ...groups.map(value => filler.fillGroup(live, value, fresh, signal)),
    ]),
  )
}

/** Waits for all, also when one fails, so that no rejection is left to nobody. */
async function allOf<T>(asked: readonly Promise<T>[]): Promise<T[]> {
  const ends = await Promise.allSettled(asked)
  return ends.map(end => {
    if (end.status === 'rejected') throw end.reason
    return end.value
  })
}

/**
 * The query's rows, where it is confined to keys or groups of which memory does not know all, as it does from then on; undefined if that could
 * not be had in time. Throws as `fillByKey`.
 */
export async function fillQuery(
  live: LiveTable,
  query: CheckedQuery,
  signal?: AbortSignal,
): Promise<Filled | undefined> {
  const { finder, store } = live
  const confined = finder.coverage?.confine(query.where) ?? null
  if (confined === null) return undefined
  if (isOne(confined)) {
    const [answer] = (await fillAll(live, confined, false, signal)) ?? []
    return answer === undefined
      ? undefined
      : { rows: finder.choose(answer.rows, query), lsn: answer.position }
  }
  const missing = finder.coverage!.missing(confined, store.visible)
  if ((await fillAll(live, missing, false, signal)) === undefined) return undefined
  // Each was of a commit of its own; the visible state has all of them, unless one had to leave already.
  const rows = ifKnown(() => finder.findChecked(query, store.visible))
  return rows === undefined ? undefined : { rows, lsn: store.position }
}

function ifKnown<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof NotLocalError) return undefined
    throw error
  }
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
  const unique = live.uniques.read(key)
  if (unique !== null)
    return live.uniques.only(await fillQueryInSnapshot(live, snapshot, unique, signal)) ?? null
  const found = await fillKey(live, keyBytesOf(live, key), false, signal)
  if (found === undefined) throw late(live)
  if (found.since <= snapshot.seq) return rowOf(live, found)
  const row = ifKnown(() => lookUp(live, key, snapshot.seq) ?? null)
  if (row === undefined) throw changed(live)
  return row
}

/**
 * The query's rows as of a snapshot's commit, where memory does not know all of the keys or groups that it is confined to. Throws as
 * `fillInSnapshot`.
 */
export async function fillQueryInSnapshot(
  live: LiveTable,
  snapshot: Snapshot,
  query: CheckedQuery,
  signal?: AbortSignal,
): Promise<object[]> {
  const { finder } = live
  const confined = finder.coverage!.confine(query.where)!
  const missing = finder.coverage!.missing(confined, snapshot.seq)
  const answers = await fillAll(live, missing, false, signal)
  if (answers === undefined) throw late(live)
  const rows = ifKnown(() => finder.findChecked(query, snapshot.seq))
  if (rows !== undefined) return rows
  const [answer] = answers
  // What was not kept is the snapshot's nevertheless, as long as nothing has been committed since.
  if (answer !== undefined && isOne(confined) && answer.seq === snapshot.seq)
    return finder.choose(answer.rows, query)
  throw changed(live)
}

function late({ mapping }: LiveTable): SnapshotMissError {
  return new SnapshotMissError(mapping.name, 'it could not be read in time')
}

function changed({ mapping }: LiveTable): SnapshotMissError {
  return new SnapshotMissError(mapping.name, 'it was changed since, or may have been')
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

function isKnown(live: LiveTable, key: unknown): boolean {
  const { uniques, finder, table, store } = live
  const unique = uniques.read(key)
  if (unique !== null) return finder.coverage!.knowledge(unique.where, store.visible) !== 'unknown'
  return table.residency!.known(keyBytesOf(live, key)) !== undefined
}

/** Forgets what memory knows of this key, primary or unique. False if it knew nothing. @throws {KeyError} */
export function evict(live: LiveTable, key: unknown): boolean {
  const { table, mapping, filler, uniques, finder } = live
  const { residency } = table
  if (residency === null)
    throw new KeyError(mapping.name, "all rows of this table are kept (keep: 'all'), so none can be evicted.")
  const unique = uniques.read(key)
  if (unique !== null) {
    const [value] = finder.coverage!.confine(unique.where)?.groups ?? []
    if (value === undefined) return false
    filler?.evicted(live, value)
    return residency.groups.evict(value)
  }
  const bytes = keyBytesOf(live, key)
  filler?.evicted(live, bytes)
  return residency.evict(bytes)
}
