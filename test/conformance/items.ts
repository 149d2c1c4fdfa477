/** A table `items` on a server that has a decoder's plugin, and caches over it. */
import pg from 'pg'
import { expect, onTestFinished } from 'vitest'
import type { DecoderName } from '../../src/decode/index.js'
import {
  type Cache,
  defineTable,
  openCache,
  type OpenCacheOptions,
  SetupError,
  type SetupProblem,
} from '../../src/index.js'
import { until } from '../support/cache.js'
import { testDatabase } from '../support/servers.js'
import { type Skip, skipUnlessInstalled } from './installed.js'

export const items = defineTable<Record<string, unknown>>({ name: 'items' })

/** The types that some decoder loses, by `pg_type.oid`. */
export const typeNames: ReadonlyMap<number, string> = new Map([
  [700, 'float4'],
  [701, 'float8'],
  [790, 'money'],
  [1184, 'timestamptz'],
  [1266, 'timetz'],
  [1700, 'numeric'],
])

/** Where statements can be run, and a cache be opened. */
export interface Place {
  readonly url: string
  query<Row extends object>(sql: string): Promise<Row[]>
}

/** A new database for a decoder, in an encoding of one's choice. */
export async function placeFor(name: DecoderName, skip: Skip, encoding = 'UTF8'): Promise<Place> {
  const db = await testDatabase({ major: 15 })
  skipUnlessInstalled(db, name, skip)
  if (encoding === 'UTF8') return db
  const other = `${encoding.toLowerCase()}_${db.name}`
  await db.query(`create database ${other} encoding '${encoding}' locale 'C' template template0`)
  const slots = (): Promise<unknown[]> =>
    db.query('select from pg_replication_slots where database = $1', [other])
  onTestFinished(async () => {
    // A walsender, and its slot with it, leaves a moment after its client.
    await until(async () => (await slots()).length === 0, 'the slots are gone')
    await db.query(`drop database ${other} with (force)`)
  })
  const url = new URL(db.url)
  url.pathname = `/${other}`
  const pool = poolTo(url.href)
  return {
    url: url.href,
    query: async <Row extends object>(sql: string) => (await pool.query<Row>(sql)).rows,
  }
}

function poolTo(url: string, options?: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, options })
  // Its database is dropped under it.
  pool.on('error', () => undefined)
  onTestFinished(() => pool.end())
  return pool
}

/** A cache over `items`, in a zone that is not UTC. */
export async function openItems(
  place: Place,
  name: DecoderName,
  more: Partial<OpenCacheOptions> = {},
): Promise<Cache> {
  const cache = await openCache({
    pool: poolTo(place.url, '-c timezone=America/New_York'),
    entities: [items],
    decoder: name,
    ...more,
  })
  onTestFinished(() => cache.close())
  return cache
}

/** The problems with which such a cache is refused. It has left nothing on the server. */
export async function problemsOf(
  place: Place,
  name: DecoderName,
  more: Partial<OpenCacheOptions> = {},
): Promise<readonly SetupProblem[]> {
  const error: unknown = await openItems(place, name, more).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(SetupError)
  expect(
    await place.query('select slot_name from pg_replication_slots where database = current_database()'),
  ).toEqual([])
  return (error as SetupError).problems
}
