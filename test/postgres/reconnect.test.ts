import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  defineTable,
  NotReadyError,
  openCache,
  type OpenCacheOptions,
  StaleError,
  type TableChange,
} from '../../src/index.js'
import {
  caughtUp,
  databaseOn,
  type OwnDatabase,
  poolOf,
  recordingLogger,
  rowsByKey,
  until,
} from '../support/cache.js'
import { type PostgresServer, startPostgres } from '../support/postgres.js'
import { shows } from '../support/shows.js'

/** Every commit moves money from one account to another, and counts that in both. */
interface Account {
  readonly id: number
  readonly balance: number
  readonly moves: number
}

const accounts = defineTable<Account>({ name: 'accounts' })
const ACCOUNTS = 20
const EACH = 100

// Of its own, since it is stopped and crashed; commits must outlive that.
let server: PostgresServer
let log = ''
beforeAll(async () => {
  server = await startPostgres({
    settings: { fsync: 'on', max_replication_slots: 2, log_checkpoints: 'on' },
    log: text => {
      log += text
    },
  })
})
afterAll(() => server[Symbol.asyncDispose]())

async function bank(): Promise<OwnDatabase> {
  const db = await databaseOn(server)
  await db.query('create table accounts (id int primary key, balance int, moves int)')
  await db.query('insert into accounts select i, $2::int, 0 from generate_series(1, $1::int) i', [
    ACCOUNTS,
    EACH,
  ])
  return db
}

/** Moves money until it is told to stop; a server that is down is waited for. */
function business(url: string): { stop(): Promise<void> } {
  const pool = new pg.Pool({ connectionString: url, max: 3 })
  pool.on('error', () => undefined)
  let going = true
  const worker = async (n: number): Promise<void> => {
    for (let i = n; going; i++) {
      const from = (i % ACCOUNTS) + 1
      const to = ((i * 7 + 3) % ACCOUNTS) + 1
      // In the order of their ids, so that two workers don't wait for each other.
      await pool
        .query(
          `with locked as (select id from accounts where id in ($1, $2) order by id for update)
           update accounts set moves = moves + 1, balance = balance + case id when $1 then -1 else 1 end
            where id in (select id from locked) and $1::int <> $2::int`,
          [from, to],
        )
        .catch(() => new Promise(resolve => setTimeout(resolve, 10)))
    }
  }
  const workers = [0, 1, 2].map(worker)
  const stop = async (): Promise<void> => {
    if (!going) return
    going = false
    await Promise.all(workers)
    await pool.end()
  }
  onTestFinished(stop)
  return { stop }
}

/** Reads all the time; what a reader sees must be one commit's state, and never an older one than before. */
function watchful(cache: Cache): { stop(): Promise<{ reads: number; refused: number }> } {
  const { local } = cache.table(accounts)
  const seen = new Map<number, number>()
  let going = true
  let reads = 0
  let refused = 0
  const look = (): void => {
    let sum = 0
    try {
      for (let id = 1; id <= ACCOUNTS; id++) {
        const account = local.get(id)!
        if (account.moves < (seen.get(id) ?? 0)) throw new Error(`Account ${id} went back.`)
        seen.set(id, account.moves)
        sum += account.balance
      }
      if (sum !== ACCOUNTS * EACH) throw new Error(`${sum} is the sum of no commit.`)
      reads++
    } catch (error) {
      if (!(error instanceof StaleError || error instanceof NotReadyError)) throw error
      refused++
    }
  }
  const watching = (async () => {
    while (going) {
      look()
      await new Promise(resolve => setImmediate(resolve))
    }
  })()
  return {
    async stop() {
      going = false
      await watching
      return { reads, refused }
    },
  }
}

async function expectEqualToTable(cache: Cache, db: OwnDatabase): Promise<void> {
  await caughtUp(cache)
  const inDatabase = rowsByKey(await db.query<Account>('select * from accounts'), ({ id }) => id)
  expect(rowsByKey(cache.table(accounts).local, ({ id }) => id)).toEqual(inDatabase)
}

const openBank = (db: OwnDatabase, options: Partial<OpenCacheOptions> = {}): Promise<Cache> =>
  openCache({ pool: poolOf(db.url), entities: [accounts], ...options })

const cutStream = (db: OwnDatabase) =>
  db.query<{ cut: boolean }>(
    'select pg_terminate_backend(active_pid) as cut from pg_replication_slots where database = $1 and active',
    [db.name],
  )

const isLiveAgain = (cache: Cache, after: number) => (): boolean =>
  cache.health().reconnects > after && cache.state === 'live'

describe('a walsender that is killed', () => {
  test('again and again, under load, shows no reader a wrong or older state', async () => {
    shows('C1')
    const db = await bank()
    await using cache = await openBank(db)
    const { stop: close } = business(db.url)
    const watch = watchful(cache)
    for (let kills = 0; kills < 5; kills++) {
      const { reconnects } = cache.health()
      await cutStream(db)
      await until(isLiveAgain(cache, reconnects), 'it streams again')
    }
    await close()
    await expectEqualToTable(cache, db)
    const { reads, refused } = await watch.stop()
    expect(reads).toBeGreaterThan(0)
    expect(refused).toBe(0)
    expect(cache.health().reconnects).toBeGreaterThanOrEqual(5)
    expect(cache.health().lastError).toMatchObject({ code: 'CACHE_CONNECTION', failure: 'lost' })
  })

  test('a snapshot from before shows its own commit afterwards', async () => {
    const db = await bank()
    await using cache = await openBank(db)
    using snapshot = cache.snapshot()
    const { local } = snapshot.table(accounts)
    expect(local.get(1)).toEqual({ id: 1, balance: EACH, moves: 0 })
    await db.query('update accounts set moves = 7')
    await caughtUp(cache)
    await cutStream(db)
    await until(isLiveAgain(cache, 0), 'it streams again')
    await db.query('delete from accounts where id < 5')
    await caughtUp(cache)
    expect(cache.table(accounts).local.size).toBe(ACCOUNTS - 4)
    expect(local.size).toBe(ACCOUNTS)
    expect([...local].every(({ moves, balance }) => moves === 0 && balance === EACH)).toBe(true)
    expect(local.get(3)).toEqual({ id: 3, balance: EACH, moves: 0 })
    expect(snapshot.position < cache.position).toBe(true)
  })

  test('while it loads costs an attempt and nothing else', async () => {
    const db = await bank()
    await db.query(`create table padding as select 1`)
    let loads = 0
    let cut: Promise<unknown> | undefined
    await using cache = await openBank(db, {
      onProgress: ({ tablesDone, rows }) => {
        if (tablesDone === 0 && rows === 0 && ++loads <= 2) cut = cutStream(db)
      },
    })
    await cut
    await expectEqualToTable(cache, db)
    expect(cache.health().reconnects).toBeGreaterThanOrEqual(1)
  })

  test('before its snapshot was taken over costs an attempt and nothing else', async () => {
    const db = await bank()
    // As soon as the slot is there its walsender is ended, so that the snapshot is gone when it is to be used.
    const hunter = await db.connect()
    let kills = 0
    let hunting = true
    const hunt = (async () => {
      while (hunting) {
        const { rows } = await hunter.query<{ cut: boolean }>(
          `select pg_terminate_backend(active_pid) as cut from pg_replication_slots
            where database = $1 and active and confirmed_flush_lsn is not null`,
          [db.name],
        )
        kills += rows.length
        if (kills >= 3) hunting = false
      }
    })()
    await using cache = await openBank(db)
    await until(() => kills >= 3 && cache.state === 'live', 'it has survived three kills')
    await hunt
    await expectEqualToTable(cache, db)
  })

  test('whose slot was the last that the server had is waited for', async () => {
    shows('C18')
    const db = await bank()
    const logger = recordingLogger()
    await using cache = await openBank(db, { logger })
    await db.query(`select pg_create_physical_replication_slot('theirs')`)
    await cutStream(db)
    // Whoever is quicker: one slot is left, for the cache or for this.
    await db.query(`select pg_create_physical_replication_slot('more')`).catch(() => undefined)
    await until(
      () => logger.lines.some(line => /max_replication_slots/.test(line)) || cache.health().reconnects > 0,
      'it has tried',
    )
    expect(cache.state).not.toBe('failed')
    await db.query(
      `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name in ('theirs', 'more')`,
    )
    await until(() => cache.state === 'live', 'it streams again')
    await expectEqualToTable(cache, db)
  })
})

test('a COPY that an operator cancels is begun again', async () => {
  const db = await bank()
  await db.query(`insert into accounts select i, 0, 0 from generate_series(1000, 200000) i`)
  const canceller = await db.connect()
  let cancelled = 0
  await using cache = await openBank(db, {
    onProgress: ({ rows, tablesDone }) => {
      if (rows > 0 && tablesDone === 0 && cancelled === 0) {
        cancelled++
        void canceller.query(
          `select pg_cancel_backend(pid) from pg_stat_activity where query like 'COPY%' and datname = current_database()`,
        )
      }
    },
  })
  expect(cancelled).toBe(1)
  expect(cache.table(accounts).local.size).toBe(199_001 + ACCOUNTS)
})

describe('a server', () => {
  test.each(['fast', 'immediate'] as const)(
    'that is restarted (%s) is read from again, and no reader went back',
    async mode => {
      const db = await bank()
      await using cache = await openBank(db)
      const { stop: close } = business(db.url)
      const watch = watchful(cache)
      await until(() => cache.table(accounts).local.get(1)!.moves > 5, 'business has begun')
      await server.restart(mode)
      await until(isLiveAgain(cache, 0), 'it streams again')
      const { moves } = cache.table(accounts).local.get(1)!
      await until(() => cache.table(accounts).local.get(1)!.moves > moves + 5, 'business goes on')
      await close()
      const after = new pg.Client({ connectionString: db.url })
      await after.connect()
      await expectEqualToTable(cache, {
        ...db,
        query: async <R extends object>(sql: string) => (await after.query(sql)).rows as R[],
      })
      await after.end()
      await watch.stop()
    },
  )

  test('that is down is done without for as long as the bound allows, and is then found again', async () => {
    const db = await bank()
    const bounded = await openBank(db, { maxStaleness: 1_000 })
    const serving = await openBank(db, {
      maxStaleness: 1_000,
      onStale: { local: 'serve', asynchronous: 'serve' },
    })
    onTestFinished(async () => {
      await bounded.close()
      await serving.close()
    })
    const events: TableChange<Account>[] = []
    const reader = (async () => {
      for await (const change of bounded.table(accounts).changes()) events.push(change)
    })()
    const table = bounded.table(accounts)
    await server.stop('immediate')
    expect(table.local.get(1)?.balance).toBe(EACH)
    expect((await table.findUnique({ where: { id: 1 } }))?.balance).toBe(EACH)

    await until(() => bounded.health().stalenessMs > 1_000, 'the bound is exceeded')
    expect(() => table.local.get(1)).toThrow(StaleError)
    expect(() => bounded.snapshot()).toThrow(StaleError)
    await expect(table.findUnique({ where: { id: 1 }, onStale: 'throw' })).rejects.toBeInstanceOf(StaleError)
    await expect(table.findUnique({ where: { id: 1 } })).rejects.toMatchObject({
      code: 'CACHE_CONNECTION',
      transient: true,
    })
    expect((await table.findUnique({ where: { id: 1 }, onStale: 'serve' }))?.balance).toBe(EACH)
    expect((await table.findUnique({ where: { id: 1 }, maxStaleness: 3_600_000 }))?.balance).toBe(EACH)
    await until(() => serving.health().stalenessMs > 1_000, 'the bound is exceeded')
    expect(serving.table(accounts).local.get(1)?.balance).toBe(EACH)
    expect((await serving.table(accounts).findUnique({ where: { id: 1 } }))?.balance).toBe(EACH)
    expect(bounded.state).toBe('reconnecting')
    await expect(bounded.token()).rejects.toMatchObject({ code: 'CACHE_CONNECTION' })

    await server.start()
    await until(() => bounded.state === 'live' && serving.state === 'live', 'both stream again')
    expect(table.local.get(1)?.balance).toBe(EACH)
    await caughtUp(bounded)
    const writer = new pg.Client({ connectionString: db.url })
    await writer.connect()
    await writer.query('update accounts set balance = 1 where id = 1')
    await writer.end()
    await caughtUp(bounded)
    await until(() => events.length > 0, 'the reader of changes hears of it')
    // Loaded anew, there was no difference to tell.
    expect(events).toMatchObject([
      { kind: 'update', old: { balance: EACH }, new: { balance: 1 }, last: true },
    ])
    await bounded.close()
    await reader
  })
})

describe('a fast shutdown of the server', () => {
  /** Longer than this from the request to the last checkpoint, which comes when all are gone, and it would have been waiting for us. */
  const PROMPT_MS = 1_500

  /** How long the server waited until everybody was gone, by its own log. */
  async function shutdownWaits(): Promise<number> {
    log = ''
    await server.stop('fast')
    const said = (what: string): number =>
      Date.parse(new RegExp(`^(\\S+ \\S+) UTC .*${what}`, 'm').exec(log)?.[1]?.replace(' ', 'T') ?? '')
    const waited = said('checkpoint starting: shutdown') - said('received fast shutdown request')
    expect(log).toContain('database system is shut down')
    await server.start()
    console.log(`The server waited ${waited} ms for its sessions to end.`)
    return waited
  }

  test('does not wait for a cache that streams', async () => {
    shows('C2')
    const db = await bank()
    await using cache = await openBank(db)
    await caughtUp(cache)
    expect(await shutdownWaits()).toBeLessThan(PROMPT_MS)
    await until(isLiveAgain(cache, 0), 'it streams again')
  })

  test('does not wait for a cache that loads', async () => {
    const db = await bank()
    await db.query(`insert into accounts select i, 0, 0 from generate_series(1000, 300000) i`)
    let loading: () => void
    const isLoading = new Promise<void>(resolve => {
      loading = resolve
    })
    const cache = await openBank(db, { wait: false, onProgress: ({ rows }) => rows > 0 && loading() })
    onTestFinished(() => cache.close())
    await isLoading
    expect(await shutdownWaits()).toBeLessThan(PROMPT_MS)
    await cache.ready()
    expect(cache.table(accounts).local.size).toBe(299_001 + ACCOUNTS)
  })

  test('does not wait for a cache that loads anew', async () => {
    const db = await bank()
    await db.query(`insert into accounts select i, 0, 0 from generate_series(1000, 300000) i`)
    let loading: (() => void) | null = null
    await using cache = await openBank(db, { onProgress: ({ rows }) => rows > 0 && loading?.() })
    const isLoading = new Promise<void>(resolve => {
      loading = resolve
    })
    await cutStream(db)
    await isLoading
    expect(await shutdownWaits()).toBeLessThan(PROMPT_MS)
    const { reconnects } = cache.health()
    await until(() => cache.health().reconnects >= reconnects && cache.state === 'live', 'it streams again')
    expect(cache.table(accounts).local.size).toBe(299_001 + ACCOUNTS)
  })

  test('does not wait for a slow reader in the middle of a huge transaction', async () => {
    const db = await bank()
    await db.query(`insert into accounts select i, 0, 0 from generate_series(1000, 200000) i`)
    await using cache = await openBank(db)
    // The application keeps the event loop busy most of the time.
    let busy = true
    onTestFinished(() => {
      busy = false
    })
    void (async () => {
      while (busy) {
        const until = performance.now() + 40
        while (performance.now() < until);
        await new Promise(resolve => setImmediate(resolve))
      }
    })()
    await db.query('update accounts set moves = 1')
    const waited = await shutdownWaits()
    busy = false
    expect(waited).toBeLessThan(PROMPT_MS)
    await until(isLiveAgain(cache, 0), 'it streams again')
    expect(cache.table(accounts).local.get(150_000)?.moves).toBe(1)
  })
})
