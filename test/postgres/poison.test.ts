/** What can't be taken into memory, however often it is tried, ends in an error that names it, and not in an endless loop. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { POISON_ATTEMPTS_MAX } from '../../src/cache/poison.js'
import { type Cache, ClosedError, defineTable, openCache, PoisonError } from '../../src/index.js'
import { caughtUp, poolOf, recordingLogger, until, untilNothingIsLeft } from '../support/cache.js'
import { shows } from '../support/shows.js'
import { testDatabase, type TestDatabase } from '../support/servers.js'
import { type Tampering, tamperedRuntime } from '../support/tampered-runtime.js'

interface Row {
  readonly id: number
  readonly note: string
}

const sick = defineTable<Row>({ name: 'sick' })
const sound = defineTable<Row>({ name: 'sound' })

/** Where it stands in a payload or chunk, the server's word is spoiled. */
const MARK = Buffer.from('POISON')

const withTables = async (): Promise<TestDatabase> => {
  const db = await testDatabase()
  await db.query(`
    create table sick (id int primary key, note text); insert into sick values (1, 'well');
    create table sound (id int primary key, note text); insert into sound values (1, 'well')`)
  return db
}

async function open(db: TestDatabase, tampering: Tampering): Promise<Cache> {
  const pool = poolOf(db.url)
  const runtime = await tamperedRuntime(pool, tampering)
  const cache = await openCache({ pool, entities: [sick, sound], runtime, logger: recordingLogger() })
  onTestFinished(() => cache.close())
  return cache
}

/** Writes what poisons `table`, again and again, until the cache has drawn its conclusion. */
async function writeUntil(db: TestDatabase, table: string, condition: () => boolean): Promise<void> {
  let id = 100
  await until(async () => {
    if (condition()) return true
    await db.query(`insert into ${table} values ($1, 'POISON')`, [id++])
    await db.query(`insert into sound values ($1, 'well')`, [id++])
    return condition()
  }, 'it is given up')
}

/** Spoils the kind of the value that the mark stands in, or, if there is no change, the tag of the whole message. */
const spoilValue = (bytes: Uint8Array, start: number, end: number): void => {
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).indexOf(MARK, start)
  if (at >= start && at < end) bytes[at - 5] = 0x3f
}

describe('a table whose changes can’t be decoded', () => {
  test('is left out after a few attempts, and the others go on', async () => {
    shows('C44')
    const db = await withTables()
    let streams = 0
    const cache = await open(db, { frame: spoilValue, replication: () => void streams++ })
    const told = cache.table(sick).changes()
    const kinds = new Set<string>()
    const end = (async () => {
      for await (const { kind } of told) kinds.add(kind)
    })().catch((error: unknown) => error)
    const failure = () => cache.health().tables[0]!.failed
    await writeUntil(db, 'sick', () => failure() instanceof PoisonError)
    await until(() => cache.state === 'live', 'the others are live')
    expect(failure()).toMatchObject({
      code: 'CACHE_POISON',
      table: 'public.sick',
      attempts: POISON_ATTEMPTS_MAX,
    })
    expect((failure() as PoisonError).lsn).toBeGreaterThan(0n)
    expect(failure()?.cause).toMatchObject({ code: 'CACHE_DECODE', table: 'public.sick' })
    expect(failure()?.message).not.toContain('POISON')
    expect(() => cache.table(sick).local.get(1)).toThrow(PoisonError)
    // PostgreSQL can read what memory can't hold.
    expect(await cache.table(sick).findUnique({ where: { id: 1 } })).toEqual({ id: 1, note: 'well' })
    const strict = cache.table(sick).findUnique({ where: { id: 1 }, onUnknown: 'throw' })
    await expect(strict).rejects.toBeInstanceOf(PoisonError)
    expect(await end).toBeInstanceOf(PoisonError)
    expect([...kinds].every(kind => kind === 'gap' || kind === 'insert')).toBe(true)

    const { reconnects } = cache.health()
    // On a slow machine one of them may have lasted for long enough to count as a success.
    expect(reconnects).toBeGreaterThanOrEqual(POISON_ATTEMPTS_MAX)
    expect(streams).toBe(reconnects + 1)
    await db.query(`insert into sick values (50, 'POISON')`)
    await db.query(`insert into sound values (50, 'later')`)
    await caughtUp(cache)
    expect(cache.table(sound).local.get(50)).toEqual({ id: 50, note: 'later' })
    expect(cache.health().reconnects).toBe(reconnects)
    await cache.close()
    await untilNothingIsLeft(db)
  })

  test('is loaded anew and goes on if it fails once', async () => {
    const db = await withTables()
    let spoiled = 0
    const cache = await open(db, {
      frame: (bytes, start, end) => {
        if (spoiled > 0 || Buffer.from(bytes.subarray(start, end)).indexOf(MARK) < 0) return
        spoiled++
        spoilValue(bytes, start, end)
      },
    })
    await db.query(`insert into sick values (2, 'POISON')`)
    await until(() => cache.health().reconnects === 1 && cache.state === 'live', 'it was loaded anew')
    await caughtUp(cache)
    expect(cache.table(sick).local.get(2)).toEqual({ id: 2, note: 'POISON' })
  })
})

test('messages that can’t be told to be of any table end the cache with their position', async () => {
  const db = await withTables()
  const cache = await open(db, {
    frame: (bytes, start, end) => {
      if (Buffer.from(bytes.subarray(start, end)).indexOf(MARK) >= 0) bytes[start] = 0x3f
    },
  })
  await writeUntil(db, 'sick', () => cache.state === 'failed')
  expect(cache.health().lastError).toMatchObject({ code: 'CACHE_POISON', table: null })
  expect(() => cache.table(sound).local.get(1)).toThrow(ClosedError)
  await expect(cache.table(sound).findUnique({ where: { id: 1 } })).rejects.toMatchObject({
    code: 'CACHE_CLOSED',
    cause: { code: 'CACHE_POISON' },
  })
  await cache.close()
  await untilNothingIsLeft(db)
})

describe('a table that can’t be read', () => {
  const shorten = (chunk: Uint8Array, sql: string): Uint8Array =>
    sql.includes('"sick"') ? Buffer.from(chunk).fill(0x5c, 0, 1).subarray(0, -1) : chunk

  test('keeps the cache from opening, and is named', async () => {
    const db = await withTables()
    let streams = 0
    const error = await open(db, { copy: shorten, replication: () => void streams++ }).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 'CACHE_POISON', table: 'public.sick', lsn: null })
    expect(streams).toBe(POISON_ATTEMPTS_MAX)
    await untilNothingIsLeft(db)
  })

  test('any more when it is read anew beside the stream is left out, and the others go on', async () => {
    const db = await withTables()
    let isSpoiled = false
    const cache = await open(db, { copy: (chunk, sql) => (isSpoiled ? shorten(chunk, sql) : chunk) })
    isSpoiled = true
    await db.query('alter table sick add column more int')
    const failure = () => cache.health().tables[0]!.failed
    await until(() => failure() instanceof PoisonError, 'it is given up')
    expect(failure()).toMatchObject({ table: 'public.sick', lsn: null })
    await db.query(`insert into sick values (2, 'x'); insert into sound values (2, 'x')`)
    await caughtUp(cache)
    expect(cache.table(sound).local.has(2)).toBe(true)
    expect(cache.health().reconnects).toBe(0)
    await cache.close()
    await untilNothingIsLeft(db)
  })
})
