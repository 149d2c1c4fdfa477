/**
 * The self-audit under load: writers with transactions of one row to thousands, readers that fill a bounded table, commits that hang on a standby
 * that is not there; meanwhile rows are audited by chance, and all tables verified again and again. Memory is right, so nothing may be found.
 */
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { DecoderName } from '../src/decode/index.js'
import { type Cache, CacheError, defineTable, openCache, type Verification } from '../src/index.js'
import type { CacheTable } from '../src/query/table.js'
import { TupleView } from '../src/change/change.js'
import { openPool } from './pool.js'
import { Random } from './random.js'

export interface AuditOptions {
  readonly databaseUrl: string
  readonly seed: number
  /** How many rows are to be changed, at least. */
  readonly changes: number
  readonly decoder: DecoderName
  /** Alters a value in memory, which has to be found. */
  readonly corrupt?: boolean
}

export interface AuditResult {
  readonly changes: number
  readonly transactions: number
  readonly changesPerSecond: number
  /** Keys that were compared, and that could not be, as they were being changed. */
  readonly audited: number
  readonly excluded: number
  readonly verifications: number
  /** Rows that the last verification compared, when nothing was written any more. */
  readonly verifiedAtRest: number
  readonly excludedAtRest: number
  readonly mismatched: number
  /** Whether a row that was altered in memory was found and mended. */
  readonly mended: boolean
}

const WRITERS = 4
/** Each writer has keys of its own, so that none waits for another one. */
const KEYS = 20_000
const ROWS_MAX = 5_000
const FILLS = 4
const ROWS_PER_SECOND = 2_000
const MAX_STALENESS_MS = 60_000
/** Commits hang for a moment, so often. */
const HANG_EVERY_MS = 2_000
const HANG_MS = 100

const numbers = defineTable<{ id: number; n: number; note: string }>({ name: 'numbers' })
const texts = defineTable<{ id: string; body: string }>({ name: 'texts' })
const parts = defineTable<{ id: number; n: number }>({ name: 'parts', keep: { maxRows: 1_500 } })

const SCHEMA = `
  create table numbers (id int primary key, n bigint not null, note text);
  create table texts (id text primary key, n int not null default 0, body text not null);
  alter table texts alter body set storage external;
  create table parts (id int primary key, n int not null);
  insert into parts select g, 0 from generate_series(0, 9999) g`

/** Creates the tables in an empty database, and writes until so many rows have been changed, or one is found to differ. */
export async function runAudit(options: AuditOptions): Promise<AuditResult> {
  const { databaseUrl, seed, decoder, corrupt = false } = options
  const random = new Random(seed)
  const pool = openPool(databaseUrl, 4)
  const stop = new AbortController()
  try {
    await pool.query(SCHEMA)
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
    const done = { changes: 0, transactions: 0, verifications: 0 }
    const isEnough = (): boolean =>
      stop.signal.aborted || done.changes >= options.changes || (mismatched > 0 && !corrupt)
    const startedMs = performance.now()
    const writers = Array.from({ length: WRITERS }, (_, writer) =>
      write(databaseUrl, random.fork(writer + 1), writer, done, isEnough),
    )
    const others = [
      ...Array.from({ length: FILLS }, (_, reader) => fill(cache, random.fork(100 + reader), stop.signal)),
      verifyAgain(cache, done, stop.signal),
      hang(databaseUrl, stop.signal),
    ]
    const all = Promise.all([...writers, ...others])
    // What fails ends the run; the others end when they are told.
    const mended = corrupt ? await Promise.race([corruptOne(cache), all.then(() => false)]) : true
    await Promise.race([Promise.all(writers), all])
    const seconds = (performance.now() - startedMs) / 1_000
    stop.abort()
    await all
    await cache.waitFor(await cache.token(), { timeoutMs: MAX_STALENESS_MS })
    const atRest = await cache.verify()
    const audits = cache.health().tables.map(({ audit }) => audit)
    return {
      changes: done.changes,
      transactions: done.transactions,
      changesPerSecond: Math.round(done.changes / seconds),
      audited: sum(audits.map(({ audited }) => audited)),
      excluded: sum(audits.map(({ excluded }) => excluded)),
      verifications: done.verifications + 1,
      verifiedAtRest: sum(atRest.tables.map(({ rows, absent }) => rows + absent)),
      excludedAtRest: sum(atRest.tables.map(({ excluded }) => excluded)),
      mismatched,
      mended,
    }
  } finally {
    stop.abort()
    await pool.end()
  }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0)
}

/** Sizes from one to the largest, as likely in each decade. */
function sizeOf(random: Random): number {
  return Math.max(1, Math.floor(Math.exp((random.below(10_000) / 10_000) * Math.log(ROWS_MAX))))
}

async function write(
  databaseUrl: string,
  random: Random,
  writer: number,
  done: { changes: number; transactions: number },
  isEnough: () => boolean,
): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl })
  client.on('error', () => undefined)
  await client.connect()
  try {
    while (!isEnough()) {
      if (random.chance(0.5))
        await client.query(`set synchronous_commit = ${random.pick(['local', 'on', 'off'])}`)
      await client.query('begin')
      let changes = 0
      for (let left = random.between(1, 4); left > 0; left--) {
        const isTakenBack = random.chance(0.1)
        if (isTakenBack) await client.query('savepoint s')
        const changed = await statement(client, random, writer)
        if (isTakenBack) await client.query('rollback to s')
        else changes += changed
      }
      const isGivenUp = random.chance(0.05)
      await client.query(isGivenUp ? 'rollback' : 'commit')
      if (isGivenUp) continue
      done.changes += changes
      done.transactions++
    }
  } finally {
    await client.end()
  }
}

/** Changes a run of this writer's keys. Returns how many rows that were. */
async function statement(client: pg.Client, random: Random, writer: number): Promise<number> {
  const size = sizeOf(random)
  const from = writer * 2 * KEYS + random.below(KEYS - Math.min(size, KEYS - 1))
  const to = from + size - 1
  const value = random.below(1_000_000)
  const run = async (sql: string, ...values: (number | string)[]): Promise<number> =>
    (await client.query(sql, values)).rowCount ?? 0
  const kind = random.weighted({ upsert: 5, update: 5, remove: 2, move: 1, texts: 2, parts: 3, empty: 0.02 })
  switch (kind) {
    case 'upsert':
      return run(
        `insert into numbers select g, $3::bigint + g, 'note ' || g from generate_series($1::int, $2::int) g
         on conflict (id) do update set n = excluded.n, note = excluded.note || ' again'`,
        from,
        to,
        value,
      )
    case 'update':
      return run('update numbers set n = n + $3 where id between $1 and $2', from, to, value)
    case 'remove':
      return run('delete from numbers where id between $1 and $2', from, to)
    case 'move': {
      // Into this writer's other keys.
      const removed = await run('delete from numbers where id between $1 and $2', from + KEYS, to + KEYS)
      const moved = await run(
        'update numbers set id = id + $3::int where id between $1 and $2',
        from,
        to,
        KEYS,
      )
      return removed + moved
    }
    case 'texts':
      return texted(run, random, writer, Math.ceil(size / 50))
    case 'parts':
      return run(
        'update parts set n = n + 1 where id between $1 and $2 and id % $3 = $4',
        from % 9_000,
        (from % 9_000) + Math.ceil(size / 5),
        WRITERS,
        writer,
      )
    case 'empty':
      return run('delete from texts where id like $1', `${writer}-%`)
  }
}

/** Long values, which are not sent where they are not changed, under keys that are texts. */
async function texted(
  run: (sql: string, ...values: (number | string)[]) => Promise<number>,
  random: Random,
  writer: number,
  size: number,
): Promise<number> {
  const from = random.below(500)
  const to = from + size - 1
  if (random.chance(0.5))
    return run(
      `update texts set n = n + 1 where id in (select $1 || g from generate_series($2::int, $3::int) g)`,
      `${writer}-`,
      from,
      to,
    )
  return run(
    `insert into texts select $1 || g, 0, repeat(md5(g::text || $4::text), $5::int) from generate_series($2::int, $3::int) g
     on conflict (id) do update set body = excluded.body`,
    `${writer}-`,
    from,
    to,
    random.below(1_000),
    random.pick([1, 4, 100]),
  )
}

async function fill(cache: Cache, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await cache.table(parts).findUnique({ where: { id: random.below(12_000) } })
    if (random.chance(0.1)) await delay(1)
  }
}

async function verifyAgain(
  cache: Cache,
  done: { verifications: number },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const verified = await unlessStopped(cache.verify({ signal }), signal)
    if (verified !== null) done.verifications++
  }
}

async function unlessStopped(
  verifying: Promise<Verification>,
  signal: AbortSignal,
): Promise<Verification | null> {
  try {
    return await verifying
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

/** Alters one byte of a row's values in memory, and waits until that is found and mended. */
async function corruptOne(cache: Cache): Promise<boolean> {
  const { live } = cache.table(numbers) as unknown as CacheTable<object>
  const { table, store } = live
  const view = new TupleView()
  while (table.sizeAt(store.visible) === 0) await delay(10)
  const found = new Promise<void>(resolve => {
    cache.on('mismatch', () => resolve())
  })
  for (let row = 0; row < table.rowEnd; row++) {
    const record = table.recordAt(row, store.visible)
    if (record === 0) continue
    table.point(record, view)
    const last = view.ends[2]! - 1
    view.bytes[last] = view.bytes[last]! === 0x58 ? 0x59 : 0x58
  }
  await found
  for (;;) {
    try {
      if (cache.table(numbers).local.size >= 0) return true
    } catch (error) {
      if (!(error instanceof CacheError)) throw error
      await delay(10)
    }
  }
}
