/** Memory that no longer is PostgreSQL's, for whatever reason, is found and mended; and what is only on its way is not taken for that. */
import { expect, onTestFinished, test } from 'vitest'
import {
  type Cache,
  CacheError,
  type CacheEvents,
  ClosedError,
  defineTable,
  openCache,
  type OpenCacheOptions,
  OptionError,
  type VerifyProgress,
} from '../../src/index.js'
import {
  caughtUp,
  databaseOn,
  ledger,
  type OwnDatabase,
  poolOf,
  recordingLogger,
  until,
} from '../support/cache.js'
import { alterInMemory, liveOf } from '../support/memory-fault.js'
import { startPostgres } from '../support/postgres.js'
import { testDatabase } from '../support/servers.js'

const things = defineTable<{ id: number; note: string }>({ name: 'things' })
const recent = defineTable<{ id: number; note: string }>({ name: 'recent', keep: { maxRows: 100 } })

const SCHEMA = ['things', 'recent']
  .map(
    name => `create table ${name} (id int primary key, note text);
      insert into ${name} select i, 'note ' || i from generate_series(10, 60) i;`,
  )
  .join('')

interface Opened {
  readonly cache: Cache
  readonly db: Pick<OwnDatabase, 'query' | 'url'>
  readonly found: CacheEvents['mismatch'][]
  readonly logger: ReturnType<typeof recordingLogger>
}

async function open(options: Partial<OpenCacheOptions> = {}): Promise<Opened> {
  const db = await testDatabase()
  await db.query(SCHEMA)
  return openOn(db, options)
}

async function openOn(db: Opened['db'], options: Partial<OpenCacheOptions> = {}): Promise<Opened> {
  const logger = recordingLogger()
  const cache = await openCache({ pool: poolOf(db.url), entities: [things, recent], logger, ...options })
  onTestFinished(() => cache.close())
  const found: CacheEvents['mismatch'][] = []
  cache.on('mismatch', event => found.push(event))
  return { cache, db, found, logger }
}

const auditOf = (cache: Cache, table: number) => cache.health().tables[table]!.audit

async function readable(cache: Cache): Promise<void> {
  await until(() => cache.health().tables[0]!.failed === null, 'the table has been read anew')
}

test('the audit finds a row that was altered in memory, and mends it, without a word of its values', async () => {
  const { cache, found, logger } = await open({ audit: { rowsPerSecond: 500 } })
  await until(() => auditOf(cache, 0).audited > 0, 'rows are audited')
  expect(auditOf(cache, 0).mismatched).toBe(0)
  alterInMemory(cache, things, 1, 'note 20', 'note 2X')
  await until(() => found.length > 0, 'it is found')
  expect(found).toEqual([{ table: 'public.things', kind: 'different', count: 1 }])
  await readable(cache)
  expect(cache.table(things).local.get(20)).toEqual({ id: 20, note: 'note 20' })
  expect(auditOf(cache, 0).mismatched).toBe(1)
  expect(cache.health().reconnects).toBe(0)
  expect(JSON.stringify([found, logger.lines])).not.toMatch(/note \d/)
})

test('what a bounded table says wrongly of a row, or of a key that it takes for absent, is forgotten', async () => {
  const { cache, found } = await open({ audit: { rowsPerSecond: 500 } })
  const table = cache.table(recent)
  await table.findUnique({ where: { id: 20 } })
  await table.findUnique({ where: { id: 21 } })
  await until(() => auditOf(cache, 1).audited > 0, 'rows are audited')
  alterInMemory(cache, recent, 1, 'note 20', 'note 2X')
  await until(() => found.length === 1, 'the row is found')
  expect(await table.findUnique({ where: { id: 20 } })).toEqual({ id: 20, note: 'note 20' })
  liveOf(cache, recent).table.residency!.installer.install(Buffer.from('\x0230'), null)
  await until(() => found.length === 2, 'the absence is found')
  expect(await table.findUnique({ where: { id: 30 } })).toEqual({ id: 30, note: 'note 30' })
  expect(found.map(({ table: name, kind }) => `${name} ${kind}`)).toEqual([
    'public.recent different',
    'public.recent missing',
  ])
  expect(table.local.get(21)).toEqual({ id: 21, note: 'note 21' })
  expect(cache.health().reconnects).toBe(0)
})

test('a bounded table whose wrong row a snapshot still sees forgets all that it knew', async () => {
  const { cache, found } = await open({ audit: { rowsPerSecond: 500 } })
  await cache.table(recent).findUnique({ where: { id: 20 } })
  using snapshot = cache.snapshot()
  alterInMemory(cache, recent, 1, 'note 20', 'note 2X')
  await until(() => found.length > 0, 'it is found')
  await until(() => cache.health().tables[1]!.failed === null, 'the table is back')
  expect(() => snapshot.table(recent).local.get(20)).toThrow(CacheError)
  expect(cache.health().reconnects).toBe(0)
  expect(await cache.table(recent).findUnique({ where: { id: 20 } })).toEqual({ id: 20, note: 'note 20' })
})

test('verify compares every row, says how each table differs, and has it mended', async () => {
  const { cache, found } = await open()
  await cache.table(recent).prefetch([10, 11, 12, 5])
  const rows: string[] = []
  const onProgress = ({ table }: VerifyProgress): void => void rows.push(table)
  expect(await cache.verify({ onProgress })).toEqual({
    mismatched: 0,
    tables: [
      {
        name: 'public.things',
        rows: 51,
        absent: 0,
        excluded: 0,
        mismatches: { missing: 0, extra: 0, different: 0 },
      },
      {
        name: 'public.recent',
        rows: 3,
        absent: 1,
        excluded: 0,
        mismatches: { missing: 0, extra: 0, different: 0 },
      },
    ],
  })
  expect(new Set(rows)).toEqual(new Set(['public.things', 'public.recent']))
  alterInMemory(cache, things, 1, 'note 20', 'note 2X')
  alterInMemory(cache, things, 1, 'note 21', 'note 2Y')
  // It can't be found by its key any more, and the key that it has now is that of no row.
  alterInMemory(cache, things, 0, '35', '95')
  const verified = await cache.verify({ tables: [things] })
  expect(verified.mismatched).toBe(4)
  expect(verified.tables[0]).toMatchObject({
    name: 'public.things',
    mismatches: { missing: 1, extra: 1, different: 2 },
  })
  expect(found).toEqual([
    { table: 'public.things', kind: 'missing', count: 1 },
    { table: 'public.things', kind: 'extra', count: 1 },
    { table: 'public.things', kind: 'different', count: 2 },
  ])
  await readable(cache)
  expect((await cache.verify()).mismatched).toBe(0)
  expect([...cache.table(things).local].length).toBe(51)
})

test('verify waits for a table that is being read anew, and can be called off', async () => {
  const { cache, db } = await open()
  await db.query(`alter table things alter note type text using upper(note)`)
  const { tables, mismatched } = await cache.verify()
  expect(mismatched).toBe(0)
  expect(tables[0]!.rows).toBe(51)
  const stop = new AbortController()
  const verifying = cache.verify({ signal: stop.signal })
  stop.abort(new Error('called off'))
  await expect(verifying).rejects.toThrow('called off')
  await expect(cache.verify({ tables: [defineTable({ name: 'things' })] })).rejects.toThrow(OptionError)
})

test('verify waits for the first load and ends with the cache; nothing of the audit is left', async () => {
  const db = await testDatabase()
  await db.query(SCHEMA)
  const { settled, runtime } = await ledger(db)
  const pool = poolOf(db.url)
  const cache = await openCache({
    pool,
    entities: [things, recent],
    audit: { rowsPerSecond: 1_000 },
    wait: false,
    runtime,
  })
  expect((await cache.verify()).mismatched).toBe(0)
  await until(() => auditOf(cache, 0).audited > 0, 'rows are audited')
  const verifying = cache.verify()
  const [ended] = await Promise.allSettled([verifying, cache.close()])
  expect(ended).toMatchObject({ status: 'rejected', reason: expect.any(ClosedError) })
  await pool.end()
  await settled()
})

test('a commit that hangs on a standby, and that memory shows, is no mismatch', async () => {
  await using server = await startPostgres()
  const db = await databaseOn(server)
  await db.query(SCHEMA)
  const { cache, found } = await openOn(db, { audit: { rowsPerSecond: 1_000 } })
  await db.query('set synchronous_commit = local')
  await db.query(`update things set note = 'announced' where id = 10`)
  await caughtUp(cache)
  await db.query(`alter system set synchronous_standby_names = 'nosuch'`)
  await db.query('select pg_reload_conf()')
  const writer = await db.connect()
  const show = async (): Promise<unknown> => (await writer.query('show synchronous_standby_names')).rows[0]
  await until(async () => JSON.stringify(await show()).includes('nosuch'), 'the setting is taken over')
  const hanging = writer.query(`update things set note = 'hanging' where id = 20`)
  await until(() => cache.table(things).local.get(20)?.note === 'hanging', 'memory shows the commit')
  const { tables, mismatched } = await cache.verify({ tables: [things] })
  expect(mismatched).toBe(0)
  expect(tables[0]!.excluded).toBeGreaterThan(0)
  await db.query(`alter system set synchronous_standby_names = ''`)
  await db.query('select pg_reload_conf()')
  await hanging
  await until(async () => (await cache.verify()).tables[0]!.excluded === 0, 'all can be compared')
  expect(found).toEqual([])
}, 60_000)
