/** A table under random writers, and what it was after each commit, for tests that hold answers against that. */
import { onTestFinished } from 'vitest'
import { Random } from '../../simulation/random.js'
import { defineTable, type Lsn, openCache, type TableChange } from '../../src/index.js'
import { caughtUp, type OwnDatabase, poolOf, until } from './cache.js'
import { seed } from './seed.js'

export interface Item {
  readonly id: number
  readonly grp: number
  readonly n: number
  /** Stored out of line: an UPDATE of its neighbours leaves it unsent. */
  readonly big: string
}

export const KEYS = 60
export const GROUPS = 6
/** A row that is written last: what comes before it has been told when it has. */
const LAST_KEY = 100_000

export const itemsSql = `
  create table items (id int primary key, grp int not null, n int not null, big text not null);
  alter table items alter big set storage external;
  create index on items (grp);
  insert into items select i, i % ${GROUPS}, 0, repeat('a', 2100) || i from generate_series(1, ${KEYS}) i`

/** Few of them fit. */
export const boundedItems = defineTable<Item>({ name: 'items', indexes: [['grp']], keep: { maxRows: 12 } })
const wholeItems = defineTable<Item>({ name: 'items' })

type Query = (sql: string, values?: readonly unknown[]) => Promise<unknown>

/** One random transaction; with `prepared`, the name of one, it may be committed in two phases. */
async function writeOnce(query: Query, random: Random, prepared: string | null): Promise<void> {
  await query('begin')
  try {
    for (let left = random.between(1, 3); left > 0; left--) await statement(query, random)
    if (prepared === null || random.chance(0.8)) await query('commit')
    else {
      await query(`prepare transaction '${prepared}'`)
      await query(`commit prepared '${prepared}'`)
    }
  } catch (error) {
    await query('rollback')
    // Another writer has the key, or this one and another wait for each other.
    if (!['23505', '40P01'].includes((error as { code: string }).code)) throw error
  }
}

async function statement(query: Query, random: Random): Promise<void> {
  const id = random.between(1, KEYS)
  const other = random.between(1, KEYS)
  const n = random.below(1_000_000)
  const grp = random.below(GROUPS)
  const statements = {
    update: () => query('update items set n = $2 where id = $1', [id, n]),
    regroup: () => query('update items set grp = $2, n = n + 1 where id = $1', [id, grp]),
    grow: () => query(`update items set big = repeat('b', 2100) || $2::int where id = $1`, [id, n]),
    insert: () =>
      query(
        `insert into items values ($1, $2, $3::int, repeat('c', 2100) || $3::int) on conflict do nothing`,
        [id, grp, n],
      ),
    remove: () => query('delete from items where id = $1', [id]),
    move: () => query('update items set id = $2 where id = $1', [id, other]),
    truncate: () =>
      query(
        `truncate items; insert into items select i, i % ${GROUPS}, ${n}, 't' || i from generate_series(1, ${KEYS}, 2) i`,
      ),
  }
  const weights = { update: 30, regroup: 12, grow: 6, insert: 14, remove: 8, move: 8, truncate: 1 }
  await statements[random.weighted(weights)]()
}

/** Writes so many transactions from each of `writers` sessions. */
export async function writeMany(
  db: OwnDatabase,
  writers: number,
  transactions: number,
  twoPhase = false,
): Promise<void> {
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      const random = new Random(seed + writer)
      const client = await db.connect()
      const query: Query = (sql, values) => client.query(sql, values === undefined ? undefined : [...values])
      for (let i = 0; i < transactions; i++)
        await writeOnce(query, random, twoPhase ? `w${writer}_${i}` : null)
    }),
  )
}

/** What the rows were after each commit, as a cache of the whole table is told it. */
export class ItemHistory {
  readonly changes: TableChange<Item>[] = []
  readonly #first: readonly Item[]

  private constructor(first: readonly Item[]) {
    this.#first = first
  }

  /** From the state that is there now on. */
  static async open(db: OwnDatabase): Promise<ItemHistory> {
    const cache = await openCache({ pool: poolOf(db.url), entities: [wholeItems], feedBytes: 2 ** 28 })
    onTestFinished(() => cache.close())
    await caughtUp(cache)
    const changes = cache.table(wholeItems).changes()
    const history = new ItemHistory(cache.table(wholeItems).local.findMany())
    void history.#follow(changes)
    return history
  }

  async #follow(changes: AsyncIterable<TableChange<Item>>): Promise<void> {
    for await (const change of changes) this.changes.push(change)
  }

  /** Resolves when all that was committed before the call is in it. */
  async complete(db: OwnDatabase): Promise<void> {
    await db.query(`insert into items values (${LAST_KEY}, 0, 0, '')`)
    await until(() => this.changes.some(isLast), 'the last commit has been told')
  }

  /** The rows after the last commit that ends at `lsn` or before, by key. */
  at(lsn: Lsn): Map<number, Item> {
    const rows = new Map(this.#first.map(row => [row.id, row]))
    for (const change of this.changes) {
      if (change.kind === 'gap') throw new Error('The history has a gap.')
      if (change.lsn > lsn) break
      if (change.kind === 'truncate') rows.clear()
      else {
        if (change.old != null) rows.delete(change.old.id)
        if (change.new != null) rows.set(change.new.id, change.new)
      }
    }
    return rows
  }
}

export function isLast(change: TableChange<Item>): boolean {
  return change.kind === 'insert' && change.key.id === LAST_KEY
}

export function byKey(rows: Iterable<Item>): Item[] {
  return [...rows].toSorted((a, b) => a.id - b.id)
}
