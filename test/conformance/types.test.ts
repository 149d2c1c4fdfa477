/**
 * The type matrix: a cached row is the row that the caller's own `pg` SELECTs, for each type, through each decoder, however the row
 * came into memory. What a decoder can't carry is refused by name. The totals are printed at the end of the run.
 *
 * The defaults of the database and of the role are hostile to texts throughout. The pools pin what they need, as an application
 * would have to: nothing else shows in a row.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { DecoderName } from '../../src/decode/index.js'
import { seed } from '../support/seed.js'
import { HOSTILE, type HostileMatrix, hostileMatrix } from './hostile.js'
import { decoderNames, type Skip, skipUnlessInstalled } from './installed.js'
import { typeRows } from './type-rows.js'
import { matrixTables, NOT_LISTED, SCALARS } from './type-list.js'
import {
  carries,
  compareThroughout,
  movedOut,
  openReader,
  refusals,
  type TypedColumn,
} from './type-matrix.js'

// All types, each way, on a slow machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 })

let matrix: HostileMatrix
beforeAll(async () => {
  matrix = await hostileMatrix(15, seed)
})
afterAll(() => matrix.dropRole())

/** Its offsets are not whole hours, and long ago not whole minutes. */
const UNEVEN = 'America/St_Johns'
/** decoderbufs carries all instants in UTC alone. */
const zoneOf = (name: DecoderName): string => (name === 'decoderbufs' ? 'UTC' : UNEVEN)
const pinned = (zone: string, { url } = matrix): pg.PoolConfig => ({
  connectionString: url,
  options: `-c datestyle=ISO -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1 -c timezone=${zone}`,
})

/** Parsers of one pool, over those of all pools: every text as it is, but for two. */
const OWN: Readonly<Record<number, (text: string) => unknown>> = {
  [pg.types.builtins.INT8]: BigInt,
  [pg.types.builtins.DATE]: text => ({ day: text }),
}
const ownTypes: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number) => OWN[oid] ?? ((text: string) => text)) as typeof pg.types.getTypeParser,
}

const typesOf = (of: readonly TypedColumn[]): string[] => [...new Set(of.map(({ type }) => type))]
const valuesOf = (of: readonly TypedColumn[]): number =>
  of.reduce((sum, { values }) => sum + values.length, 0)

test('every type that a column may have is in the list', async () => {
  const { db, columns } = matrix
  const listed = await db.query<{ oid: number }>(
    `select t::regtype::oid::int8::int as oid from unnest($1::text[]) t`,
    [SCALARS.map(({ type }) => type)],
  )
  const others = await db.query<{ name: string }>(
    `select typname as name from pg_type where typtype in ('b', 'd', 'e', 'm', 'r') and typelem = 0 and typnamespace = 'pg_catalog'::regnamespace
       and not oid = any($1)`,
    [listed.map(({ oid }) => oid)],
  )
  expect(new Set(others.map(({ name }) => name))).toEqual(NOT_LISTED)
  expect(typesOf(columns).length).toBe(2 * SCALARS.length)
})

test('docs/decoders.md says what becomes of each type', () => {
  const document = readFileSync(join(import.meta.dirname, '../../docs/decoders.md'), 'utf8')
  expect(document).toContain(typeRows(new Map(matrix.columns.map(({ type, typeOid }) => [type, typeOid]))))
})

test('the defaults are hostile, and values are moved out of their rows', async ({ task }) => {
  const { db, url } = matrix
  const client = await db.connect({ connectionString: url })
  const shown = await client.query<Record<string, string>>(
    `select ${Object.keys(HOSTILE)
      .map(name => `current_setting('${name}') as ${name}`)
      .join()}`,
  )
  expect(shown.rows).toEqual([HOSTILE])
  const moved = await movedOut(db, matrixTables(seed))
  expect(moved).toBeGreaterThan(500)
  task.meta.totals = [
    `type matrix: each value by first load, insert, update beside it (${moved} are kept out of line, and so not sent again), update of the ` +
      `value and of the key; as pg parses it and as text; seed ${seed}`,
  ]
})

describe.each(decoderNames)('%s', name => {
  const config = (): pg.PoolConfig => pinned(zoneOf(name))
  const isCarried = (column: TypedColumn): boolean => carries(name, column, zoneOf(name))
  const place = (skip: Skip): HostileMatrix => {
    skipUnlessInstalled(matrix.db, name, skip)
    return matrix
  }

  test('carries every value of every type, or refuses its column by name', async ({ skip, task }) => {
    const { db, columns } = place(skip)
    const taken = columns.filter(isCarried)
    const refused = columns.filter(column => !isCarried(column))
    // Nobody has said yet that what is in them is finite.
    const lost = columns.filter(column => !isCarried({ ...column, isFinite: false }))
    if (lost.length > 0) {
      const problems = await refusals(poolOf(config()), name, lost)
      expect(problems.map(({ kind, column }) => `${kind} ${column}`).toSorted()).toEqual(
        lost.map(({ name: column }) => `decoder-type ${column}`).toSorted(),
      )
    }

    const readers = await Promise.all([
      openReader(taken, name, config()),
      openReader(taken, name, { ...config(), types: ownTypes }),
    ])
    const { compared, differences } = await compareThroughout(db, readers)
    expect(differences).toEqual([])
    expect(compared).toBeGreaterThan(10_000)
    const namesOf = (of: readonly TypedColumn[]): string => of.map(column => column.name).join(', ')
    const unlessFinite = lost.filter(isCarried)
    const outcome =
      refused.length === 0
        ? 'all equal'
        : `${valuesOf(taken)} equal, ${valuesOf(refused)} refused by name (${namesOf(refused)}), 0 different` +
          (unlessFinite.length === 0
            ? ''
            : `; refused by name unless assumeFinite is given, as here: ${namesOf(unlessFinite)}`)
    task.meta.totals = [`${counted(name, columns)}, ${outcome}`]
  })

  test('applies parsers that were set for the whole process', async ({ skip }) => {
    const { db, columns } = place(skip)
    const { INT8, DATE } = pg.types.builtins
    for (const [oid, parse] of [
      [INT8, BigInt],
      [DATE, (text: string) => text],
    ] as const) {
      const before = pg.types.getTypeParser(oid, 'text')
      pg.types.setTypeParser(oid, parse)
      onTestFinished(() => pg.types.setTypeParser(oid, before))
    }
    const parsed: Readonly<Record<string, string>> = {
      int8: 'bigint',
      counted: 'bigint',
      date: 'string',
      day: 'string',
    }
    const some = columns.filter(({ type }) => type in parsed)
    const reader = await openReader(some, name, config())
    const { differences } = await compareThroughout(db, [reader])
    expect(differences).toEqual([])
    const rows = reader.tables.flatMap(({ entity }) => [...reader.cache.table(entity).local])
    for (const { name: column, type } of some)
      expect(
        new Set(rows.map(row => row[column]).flatMap(value => (value == null ? [] : [typeof value]))),
      ).toEqual(new Set([parsed[type]]))
  })

  describe.each(['Asia/Kolkata', UNEVEN])('in a process with TZ=%s', zone => {
    test('gives pg’s own dates', async ({ skip }) => {
      const { db, columns } = place(skip)
      const before = process.env['TZ']
      process.env['TZ'] = zone
      onTestFinished(() => {
        if (before === undefined) delete process.env['TZ']
        else process.env['TZ'] = before
      })
      // Not whole hours, so neither is what a process usually has.
      expect(new Date(2024, 0, 1).getTimezoneOffset() % 60).not.toBe(0)
      const dated = columns.filter(
        column => carries(name, column, UNEVEN) && /date|day|^time|instant|moment/.test(column.type),
      )
      const reader = await openReader(dated, name, pinned(UNEVEN))
      const { differences } = await compareThroughout(db, [reader])
      expect(differences).toEqual([])
    })
  })

  test('refuses by name a pool that takes the hostile defaults for itself', async ({ skip }) => {
    const { columns, url } = place(skip)
    const pool = poolOf({ connectionString: url, options: '-c timezone=UTC' })
    const texts = columns.filter(({ type }) => type === 'text')
    expect(await refusals(pool, name, texts)).toEqual([
      {
        kind: 'date-style',
        message: expect.stringMatching(
          /DateStyle "German, DMY", in which pg reads every date as null.*-c datestyle=ISO/,
        ),
      },
      {
        kind: 'bytea-output',
        message: expect.stringMatching(/bytea_output "escape".*-c bytea_output=hex/),
      },
    ])
  })
})

test('pgoutput carries every value of every type on PostgreSQL 18 too', async ({ task }) => {
  const newest = await hostileMatrix(18, seed)
  onTestFinished(() => newest.dropRole())
  const { db, columns } = newest
  const config = pinned(UNEVEN, newest)
  const readers = await Promise.all([
    openReader(columns, 'pgoutput', config),
    openReader(columns, 'pgoutput', { ...config, types: ownTypes }),
  ])
  const { differences } = await compareThroughout(db, readers)
  expect(differences).toEqual([])
  task.meta.totals = [`${counted('pgoutput on PostgreSQL 18', columns)}, all equal`]
})

/** The beginning of a line of totals. */
function counted(of: string, columns: readonly TypedColumn[]): string {
  const types = typesOf(columns)
  const arrays = types.filter(type => type.endsWith('[]'))
  return `type matrix, ${of}: ${types.length} types (${arrays.length} are arrays), ${valuesOf(columns)} values`
}

function poolOf(config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool(config)
  onTestFinished(() => pool.end())
  return pool
}
