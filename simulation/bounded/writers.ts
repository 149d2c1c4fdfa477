import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import type { Random } from '../random.js'
import { GROUPS, KEYS } from './schema.js'

/** What concurrent writers do to each other: deadlocks, keys that another one has taken, rows that went. */
const EXPECTED: ReadonlySet<unknown> = new Set(['40P01', '23505', '42704'])

const REWRITE_EVERY_MS = 2_000
/** Long enough for reads to come while the lock is held. */
const REWRITE_HOLDS_MS = 20

const SYNCHRONOUS_COMMITS = ['on', 'on', 'local', 'off'] as const

const STATEMENTS = { update: 30, toasted: 6, regroup: 10, recode: 6, insert: 16, remove: 9, move: 8, swap: 3 }

/**
 * Writes random transactions until `stop` aborts: savepoints, rollbacks, two-phase commits, changed keys, unchanged out-of-line values, now and
 * then a TRUNCATE. Returns how many have committed.
 */
export async function write(
  client: pg.ClientBase,
  random: Random,
  writer: number,
  stop: AbortSignal,
): Promise<number> {
  let commits = 0
  for (let number = 0; !stop.aborted; number++) {
    const prepared = `w${writer}_${number}`
    try {
      await client.query(`begin; set local synchronous_commit = ${random.pick(SYNCHRONOUS_COMMITS)}`)
      for (let left = random.between(1, 4); left > 0; left--) await step(client, random)
      commits += (await end(client, random, prepared)) ? 1 : 0
    } catch (error) {
      if (!EXPECTED.has((error as { code?: unknown }).code)) throw error
      await client.query('rollback')
    }
  }
  return commits
}

/**
 * Rewrites all rows now and then, as an ALTER TABLE may: no row becomes another, and the stream says nothing. Those who come meanwhile wait for
 * its lock, and a query whose snapshot was taken before that finds the table empty.
 */
export async function rewrite(client: pg.ClientBase, stop: AbortSignal): Promise<void> {
  for (;;) {
    await delay(REWRITE_EVERY_MS, undefined, { signal: stop }).catch(() => undefined)
    if (stop.aborted) return
    await client.query('begin')
    await client.query('alter table items alter n type int using n + 0')
    await client.query('select pg_sleep($1)', [REWRITE_HOLDS_MS / 1000])
    await client.query('commit')
  }
}

/** Whether it committed. */
async function end(client: pg.ClientBase, random: Random, prepared: string): Promise<boolean> {
  if (random.chance(0.1)) {
    await client.query('rollback')
    return false
  }
  if (random.chance(0.06)) {
    await client.query(`prepare transaction '${prepared}'`)
    const commits = random.chance(0.8)
    await client.query(`${commits ? 'commit' : 'rollback'} prepared '${prepared}'`)
    return commits
  }
  await client.query('commit')
  return true
}

async function step(client: pg.ClientBase, random: Random): Promise<void> {
  if (random.chance(0.15)) {
    await client.query('savepoint s')
    await statement(client, random)
    await client.query(random.chance(0.5) ? 'rollback to s' : 'release s')
  } else if (random.chance(0.003)) {
    await client.query('truncate items')
    await refill(client, random)
  } else await statement(client, random)
}

/** An emptied table would give the readers nothing to be wrong about. */
async function refill(client: pg.ClientBase, random: Random): Promise<void> {
  const values = [random.between(2, 5), random.uint32() | 0]
  await client.query(
    `insert into items select g, 'r' || g, g % ${GROUPS}, $2::int, md5(g::text) || repeat('y', 2100)
     from generate_series(1, ${KEYS}, $1::int) g on conflict do nothing`,
    values,
  )
}

async function statement(client: pg.ClientBase, random: Random): Promise<void> {
  const id = random.between(1, KEYS)
  const other = random.between(1, KEYS)
  const n = random.uint32() | 0
  switch (random.weighted(STATEMENTS)) {
    case 'update':
      await client.query('update items set n = $2 where id = $1', [id, n])
      return
    case 'toasted':
      await client.query(`update items set big = md5($2::int::text) || repeat('z', 2100) where id = $1`, [
        id,
        n,
      ])
      return
    case 'regroup':
      await client.query('update items set grp = $2 where id = $1', [id, random.below(GROUPS)])
      return
    case 'recode':
      await client.query('update items set code = $2 where id = $1', [id, codeOf(random)])
      return
    case 'insert':
      await client.query(
        `insert into items values ($1, $2, $3, $4::int, md5($4::int::text) || repeat('w', 2100)) on conflict do nothing`,
        [id, codeOf(random), random.below(GROUPS), n],
      )
      return
    case 'remove':
      await client.query('delete from items where id = $1', [id])
      return
    case 'move':
      await client.query(
        'update items set id = $2::int where id = $1 and not exists (select from items where id = $2::int)',
        [id, other],
      )
      return
    case 'swap':
      await client.query('update items set id = -$1::int where id = $1::int', [id])
      await client.query('update items set id = $1 where id = $2', [id, other])
      await client.query('update items set id = $1 where id = -$2::int', [other, id])
  }
}

/** Codes are few too: they are given up and taken by other rows. */
export function codeOf(random: Random): string {
  return random.pick(['c', 'r']) + String(random.between(1, KEYS))
}
