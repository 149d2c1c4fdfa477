/**
 * The self-audit under load: writers with transactions of one row to a hundred thousand, readers that fill a bounded table, commits that hang on a
 * standby that is not there; meanwhile rows are audited by chance, and all tables verified again and again. Memory is right, so nothing may be found;
 * but for one row, at the end, that is altered in memory.
 */
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { TupleView } from '../src/change/change.js'
import type { DecoderName } from '../src/decode/index.js'
import { type Cache, CacheError, defineTable, openCache, type Verification } from '../src/index.js'
import type { CacheTable } from '../src/query/table.js'
import { AUDIT_SCHEMA, write, WRITERS, type Written } from './audit-writer.js'
import { openPool } from './pool.js'
import { Random } from './random.js'

export interface AuditOptions {
  readonly databaseUrl: string
  readonly seed: number
  /** How many rows are to be changed, at least. */
  readonly changes: number
  readonly decoder: DecoderName
  /** Alters values in memory while it is written, which the audit has to find. */
  readonly corrupt?: boolean
  /** Told now and then. */
  readonly onProgress?: (progress: AuditProgress) => void
}

export interface AuditProgress {
  readonly changes: number
  /** Since it was last told. */
  readonly changesPerSecond: number
  readonly transactions: number
  readonly verifications: number
  readonly audited: number
  readonly mismatched: number
}

export interface AuditResult {
  readonly changes: number
  readonly transactions: number
  /** Rows that the largest transaction changed. */
  readonly largest: number
  readonly changesPerSecond: number
  /** Keys that were compared, and that could not be, as they were being changed. */
  readonly audited: number
  readonly excluded: number
  readonly verifications: number
  /** Rows that the last verification compared, when nothing was written any more. */
  readonly verifiedAtRest: number
  readonly excludedAtRest: number
  readonly mismatched: number
  /** Whether what was altered in memory was found, no more than that, and mended. */
  readonly mended: boolean
}

/** What the server is set to for many changes: room for them in memory, a bounded log, dead rows cleared away soon. */
export const auditSettings = {
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  autovacuum_naptime: '5s',
  jit: 'off',
}

const READERS = 4
/** Keys that a reader asks for at once, and its pause. */
const READ_KEYS = 4
const READ_PAUSE_MS = 5
const ROWS_PER_SECOND = 2_000
const MAX_STALENESS_MS = 60_000
/** Commits hang for a moment, so often. */
const HANG_EVERY_MS = 2_000
const HANG_MS = 100
/** After a verification, for each row that it compared, so many have to be changed before the next one. */
const CHANGES_PER_VERIFIED = 0.5
/** Of tables that are not empty, while they are written. */
const VERIFICATIONS_MIN = 1
const LOOK_EVERY_MS = 20
const TELL_EVERY_MS = 15_000

const numbers = defineTable<{ id: number; n: number; note: string }>({ name: 'numbers' })
const texts = defineTable<{ id: string; body: string }>({ name: 'texts' })
const parts = defineTable<{ id: number; n: number }>({ name: 'parts', keep: { maxRows: 1_500 } })

/** Creates the tables in an empty database, and writes until so many rows have been changed, or one is found to differ. */
export async function runAudit(options: AuditOptions): Promise<AuditResult> {
  const { databaseUrl, seed, decoder, corrupt = false } = options
  const random = new Random(seed)
  const pool = openPool(databaseUrl, 4)
  const stop = new AbortController()
  try {
    await pool.query(AUDIT_SCHEMA)
    await using cache = await openCache({
      pool,
      decoder,
      entities: [numbers, texts, parts],
      maxStaleness: MAX_STALENESS_MS,
      audit: { rowsPerSecond: ROWS_PER_SECOND },
    })
    let mismatched = 0
    cache.on('mismatch', ({ count }) => {
      mismatched += count
    })
    const written: Written = { changes: 0, transactions: 0, largest: 0 }
    const verified = { times: 0 }
    const isEnough = (): boolean =>
      stop.signal.aborted ||
      (mismatched > 0 && !corrupt) ||
      (written.changes >= options.changes && verified.times >= VERIFICATIONS_MIN)
    const startedMs = performance.now()
    const writers = Array.from({ length: WRITERS }, (_, writer) =>
      write({ databaseUrl, random: random.fork(writer + 1), writer, cache, written, isEnough }),
    )
    const counts = (): Omit<AuditProgress, 'changesPerSecond'> => ({
      changes: written.changes,
      transactions: written.transactions,
      verifications: verified.times,
      audited: audited(cache),
      mismatched,
    })
    const others = [
      ...Array.from({ length: READERS }, (_, reader) => read(cache, random.fork(100 + reader), stop.signal)),
      verifyAgain(cache, written, verified, stop.signal),
      hang(databaseUrl, stop.signal),
      tell(counts, options.onProgress, stop.signal),
    ]
    const all = Promise.all([...writers, ...others])
    // What fails ends the run; the others end when they are told.
    const foundInTime = corrupt ? await Promise.race([corruptAll(cache), all.then(() => false)]) : true
    await Promise.race([Promise.all(writers), all])
    const seconds = (performance.now() - startedMs) / 1_000
    stop.abort()
    await all
    await cache.waitFor(await cache.token(), { timeoutMs: MAX_STALENESS_MS })
    const atRest = await cache.verify()
    const found = {
      changes: written.changes,
      transactions: written.transactions,
      largest: written.largest,
      changesPerSecond: Math.round(written.changes / seconds),
      audited: audited(cache),
      excluded: sum(cache.health().tables.map(({ audit }) => audit.excluded)),
      verifications: verified.times + 1,
      verifiedAtRest: sum(atRest.tables.map(({ rows, absent }) => rows + absent)),
      excludedAtRest: sum(atRest.tables.map(({ excluded }) => excluded)),
      mismatched,
    }
    return { ...found, mended: foundInTime && (await corruptOne(cache)) }
  } finally {
    stop.abort()
    await pool.end()
  }
}

function audited(cache: Cache): number {
  return sum(cache.health().tables.map(({ audit }) => audit.audited))
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0)
}

async function tell(
  counts: () => Omit<AuditProgress, 'changesPerSecond'>,
  onProgress: AuditOptions['onProgress'],
  signal: AbortSignal,
): Promise<void> {
  let toldMs = performance.now()
  let before = 0
  while (!signal.aborted) {
    await unlessStopped(delay(TELL_EVERY_MS, null, { signal }), signal)
    const nowMs = performance.now()
    const now = counts()
    const changesPerSecond = Math.round(((now.changes - before) * 1_000) / (nowMs - toldMs))
    onProgress?.({ ...now, changesPerSecond })
    toldMs = nowMs
    before = now.changes
  }
}

async function read(cache: Cache, random: Random, signal: AbortSignal): Promise<void> {
  const ask = (): Promise<unknown> => cache.table(parts).findUnique({ where: { id: random.below(12_000) } })
  while (!signal.aborted) {
    await Promise.all(Array.from({ length: READ_KEYS }, ask))
    await delay(READ_PAUSE_MS)
  }
}

async function verifyAgain(
  cache: Cache,
  written: Written,
  verified: { times: number },
  signal: AbortSignal,
): Promise<void> {
  let due = 0
  while (!signal.aborted) {
    if (written.changes < due) {
      await delay(LOOK_EVERY_MS)
      continue
    }
    const found = await unlessStopped(cache.verify({ signal }), signal)
    if (found === null) return
    const rows = sum(found.tables.map(table => table.rows))
    if (rows > 0) verified.times++
    due = written.changes + CHANGES_PER_VERIFIED * rows
  }
}

async function unlessStopped<T>(work: Promise<T>, signal: AbortSignal): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (!signal.aborted) throw error
    return null
  }
}

async function hang(databaseUrl: string, signal: AbortSignal): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const set = async (names: string): Promise<void> => {
    await client.query(`alter system set synchronous_standby_names = '${names}'`)
    await client.query('select pg_reload_conf()')
  }
  try {
    while (!signal.aborted) {
      await delay(HANG_EVERY_MS)
      await set('nosuch')
      await delay(HANG_MS)
      await set('')
    }
  } finally {
    await set('')
    await client.end()
  }
}

/** Alters one byte of all rows in memory, and waits until the audit finds that and it is mended. */
async function corruptAll(cache: Cache): Promise<boolean> {
  const { table, store } = (cache.table(numbers) as unknown as CacheTable<object>).live
  while (table.sizeAt(store.visible) === 0) await delay(10)
  const found = new Promise<void>(resolve => {
    cache.on('mismatch', () => resolve())
  })
  alter(cache, Number.POSITIVE_INFINITY)
  await found
  await readable(cache)
  return true
}

/** Alters one byte of one row in memory. True if `verify()` finds just that, and nothing any more once it is mended. */
async function corruptOne(cache: Cache): Promise<boolean> {
  if (alter(cache, 1) === 0) return true
  const { mismatched } = await cache.verify()
  await readable(cache)
  return mismatched === 1 && (await isEqual(cache))
}

async function isEqual(cache: Cache): Promise<boolean> {
  const { mismatched }: Verification = await cache.verify()
  return mismatched === 0
}

/** Returns how many rows were altered. */
function alter(cache: Cache, rows: number): number {
  const { table, store } = (cache.table(numbers) as unknown as CacheTable<object>).live
  const view = new TupleView()
  let altered = 0
  for (let row = 0; row < table.rowEnd && altered < rows; row++) {
    const record = table.recordAt(row, store.visible)
    if (record === 0) continue
    table.point(record, view)
    const last = view.ends[2]! - 1
    view.bytes[last] = view.bytes[last]! === 0x58 ? 0x59 : 0x58
    altered++
  }
  return altered
}

async function readable(cache: Cache): Promise<void> {
  for (;;) {
    try {
      if (cache.table(numbers).local.size >= 0) return
    } catch (error) {
      if (!(error instanceof CacheError)) throw error
      await delay(10)
    }
  }
}
