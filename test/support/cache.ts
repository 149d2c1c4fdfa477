/** What tests of a whole cache on a real server share. */
import { inspect } from 'node:util'
import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import type { Cache, LocalReads, Logger } from '../../src/index.js'
import { type Runtime, systemRuntime } from '../../src/runtime.js'
import { createDatabase, type PostgresServer } from './postgres.js'

const LOOK_EVERY_MS = 5
const PATIENCE_MS = 20_000

/** Resolves as soon as `condition` holds; looks again and again, and gives up with `what` was waited for. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Waited ${patienceMs} ms in vain until ${what}.`)
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS))
  }
}

/** A pool of the application's, ended with the test. */
export function poolOf(url: string, config: pg.PoolConfig = {}): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, ...config })
  // A test that stops the server sees it in its queries; without a listener the process would end.
  pool.on('error', () => undefined)
  onTestFinished(async () => {
    if (!pool.ended) await pool.end()
  })
  return pool
}

/** A database on a server of the test's own; its connections end with the test, so that no transaction outlives it. */
export interface OwnDatabase {
  readonly name: string
  readonly url: string
  /** Runs SQL on a connection that all calls share; returns the rows, as pg parses them. */
  query<Row extends object = Record<string, unknown>>(
    sql: string,
    values?: readonly unknown[],
  ): Promise<Row[]>
  connect(): Promise<pg.Client>
}

export async function databaseOn(server: Pick<PostgresServer, 'url'>): Promise<OwnDatabase> {
  const url = await createDatabase(server)
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    onTestFinished(() => client.end())
    return client
  }
  const shared = await connect()
  return {
    name: new URL(url).pathname.slice(1),
    url,
    connect,
    query: async (sql, values) =>
      (await shared.query(sql, values === undefined ? undefined : [...values])).rows,
  }
}

/** One with a table `users` (id, name) of so many rows: 'user 1' and so on. */
export async function usersDatabaseOn(server: Pick<PostgresServer, 'url'>, rows = 3): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query('create table users (id int primary key, name text)')
  await db.query(`insert into users select i, 'user ' || i from generate_series(1, $1::int) i`, [rows])
  return db
}

/** A logger that keeps its lines. */
export function recordingLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const keep =
    (level: string) =>
    (message: string): void =>
      void lines.push(`${level}: ${message}`)
  return { lines, debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error') }
}

/** Resolves when everything that was committed before the call is visible in `cache`, across reloads. */
export async function caughtUp(cache: Cache): Promise<void> {
  await cache.waitFor(await cache.token(), { timeoutMs: PATIENCE_MS })
}

/** All rows, by the text of their key. */
export function rowsByKey<Row extends object>(
  rows: Iterable<Row> | LocalReads<Row>,
  key: (row: Row) => unknown,
): Map<string, Row> {
  return new Map([...rows].map(row => [String(key(row)), row]))
}

/** What of ours is on the server: slots of this database, and sessions that call themselves walcache's. */
export async function leftOnServer(db: Pick<OwnDatabase, 'query'>): Promise<string[]> {
  const rows = await db.query<{ what: string }>(
    `select 'slot ' || slot_name as what from pg_replication_slots where database = current_database()
     union all
     select 'session ' || pid || ' ' || state || ' ' || query from pg_stat_activity
      where application_name = 'walcache' and datname = current_database()`,
  )
  return rows.map(({ what }) => what)
}

/** Resolves when nothing of ours is on the server: a session that was cut is gone a moment later. */
export async function untilNothingIsLeft(db: Pick<OwnDatabase, 'query'>): Promise<void> {
  let left: string[] = []
  const gone = async (): Promise<boolean> => {
    left = await leftOnServer(db)
    return left.length === 0
  }
  await until(gone, 'nothing is left on the server', 5_000).catch((error: unknown) => {
    throw new Error(`Left on the server: ${left.join('; ')}`, { cause: error })
  })
}

/** Open sockets of this process. */
export function openSockets(): number {
  return process.getActiveResourcesInfo().filter(kind => kind === 'TCPSocketWrap').length
}

/** The real clock and timers, and how many timers are set. `pace` lets time run that many times as fast, from the beginning or from `hurry` on. */
export function countingRuntime(
  pace = 1,
): Runtime & { readonly timersPending: number; hurry(pace: number): void } {
  const { clock, timers, random } = systemRuntime
  const pending = new Set<object>()
  let times = pace
  let sinceMs = clock.monotonicMs()
  let passedMs = sinceMs * pace
  const nowMs = (): number => passedMs + (clock.monotonicMs() - sinceMs) * times
  return {
    random,
    clock: { monotonicMs: nowMs, wallMs: () => clock.wallMs() },
    timers: {
      yield: () => timers.yield(),
      microtask: callback => timers.microtask(callback),
      after(delayMs, callback) {
        const timer = {}
        pending.add(timer)
        const cancel = timers.after(delayMs / times, () => {
          pending.delete(timer)
          callback()
        })
        return () => {
          pending.delete(timer)
          cancel()
        }
      },
    },
    get timersPending() {
      return pending.size
    },
    hurry(faster) {
      passedMs = nowMs()
      sinceMs = clock.monotonicMs()
      times = faster
    },
  }
}

/** Where in what a developer would print of `error` one of `secrets` stands; undefined if nowhere. */
export function leakIn(error: unknown, secrets: readonly string[]): string | undefined {
  const texts = [inspect(error, { depth: 10, showHidden: false }), JSON.stringify(error) ?? '']
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    texts.push(cause.message, cause.stack ?? '')
  return texts.find(text => secrets.some(secret => text.includes(secret)))
}

/** What is open now, and a runtime that counts timers; `settled` expects it to be so again, here and on the server. */
export async function ledger(
  db: OwnDatabase,
): Promise<{ settled(): Promise<void>; runtime: ReturnType<typeof countingRuntime> }> {
  const sockets = openSockets()
  const runtime = countingRuntime()
  return {
    runtime,
    async settled() {
      expect(runtime.timersPending).toBe(0)
      await until(() => openSockets() <= sockets, 'our sockets are closed')
      await untilNothingIsLeft(db)
    },
  }
}

/** A transaction that has written and is still open: a slot waits for it. Returns what ends it. */
export async function openWriter(db: OwnDatabase): Promise<() => Promise<void>> {
  const writer = await db.connect()
  await writer.query('begin')
  await writer.query('create table something (id int)')
  return async () => void (await writer.query('rollback'))
}

/** Whether a slot waits for such a transaction. */
export const slotIsWaiting = (db: OwnDatabase) => async (): Promise<boolean> => {
  const slots = await db.query(
    `select from pg_replication_slots where database = $1 and active and confirmed_flush_lsn is null`,
    [db.name],
  )
  return slots.length === 1
}

/** Sets synchronous_standby_names, and waits until sessions see it. */
export async function setStandbys(db: OwnDatabase, names: string): Promise<void> {
  await db.query(`alter system set synchronous_standby_names = '${names}'`)
  await db.query('select pg_reload_conf()')
  await until(async () => {
    const [row] = await db.query<{ names: string }>(
      `select current_setting('synchronous_standby_names') as names`,
    )
    return row!.names === names
  }, 'the setting is taken over')
}
