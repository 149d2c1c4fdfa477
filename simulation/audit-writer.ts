import pg from 'pg'
import type { Cache } from '../src/index.js'
import type { Random } from './random.js'

/** What all writers together have done. */
export interface Written {
  changes: number
  transactions: number
  /** The most rows that one transaction has changed. */
  largest: number
}

export interface WriterOptions {
  readonly databaseUrl: string
  readonly random: Random
  /** Each writer has keys of its own, so that none waits for another one. */
  readonly writer: number
  readonly cache: Cache
  readonly written: Written
  readonly isEnough: () => boolean
}

export const WRITERS = 4
/** A writer moves rows between two runs of keys, each this long. */
const KEYS = 50_000
/** What most statements change at most; and a few. */
const ROWS_MAX = 5_000
const MANY_ROWS_MAX = 2 * KEYS
const MANY_ROWS_CHANCE = 0.005
/** Memory is waited for after so many changes of a writer, so that the server never has much of its log to keep. */
const AHEAD_MAX = 500
const BEHIND_MS = 120_000

export const AUDIT_SCHEMA = `
  create table numbers (id int primary key, n bigint not null, note text)
    with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
  create table texts (id text primary key, n int not null default 0, body text not null);
  alter table texts alter body set storage external;
  create table parts (id int primary key, n int not null) with (fillfactor = 50);
  insert into parts select g, 0 from generate_series(0, 9999) g`

/** Writes transactions of all sizes, some of them rolled back, wholly or in part, until it is enough. */
export async function write(options: WriterOptions): Promise<void> {
  const client = new pg.Client({ connectionString: options.databaseUrl })
  client.on('error', () => undefined)
  await client.connect()
  try {
    await new AuditWriter(client, options).run()
  } finally {
    await client.end()
  }
}

class AuditWriter {
  readonly #client: pg.Client
  readonly #options: WriterOptions

  constructor(client: pg.Client, options: WriterOptions) {
    this.#client = client
    this.#options = options
  }

  async run(): Promise<void> {
    const { random, cache, written, isEnough } = this.#options
    const client = this.#client
    let ahead = 0
    while (!isEnough()) {
      if (random.chance(0.5))
        await client.query(`set synchronous_commit = ${random.pick(['local', 'on', 'off'])}`)
      await client.query('begin')
      const changes = await this.#statements()
      const isGivenUp = random.chance(0.05)
      await client.query(isGivenUp ? 'rollback' : 'commit')
      if (isGivenUp) continue
      written.changes += changes
      written.transactions++
      written.largest = Math.max(written.largest, changes)
      ahead += changes
      if (ahead < AHEAD_MAX) continue
      ahead = 0
      await cache.waitFor(await cache.token(client), { timeoutMs: BEHIND_MS })
    }
  }

  /** Returns how many rows a transaction's statements have changed, without those that were taken back. */
  async #statements(): Promise<number> {
    const { random } = this.#options
    let changes = 0
    for (let left = random.between(1, 4); left > 0; left--) {
      const isTakenBack = random.chance(0.1)
      if (isTakenBack) await this.#client.query('savepoint s')
      const changed = await this.#statement()
      if (isTakenBack) await this.#client.query('rollback to s')
      else changes += changed
    }
    return changes
  }

  async #run(sql: string, ...values: (number | string)[]): Promise<number> {
    return (await this.#client.query(sql, values)).rowCount ?? 0
  }

  /** Changes a run of this writer's keys. Returns how many rows that were. */
  async #statement(): Promise<number> {
    const { random, writer } = this.#options
    if (random.chance(MANY_ROWS_CHANCE)) return this.#many()
    const size = logUniform(random, 1, ROWS_MAX)
    const from = this.#firstKey + random.below(KEYS - size)
    const to = from + size - 1
    switch (random.weighted({ upsert: 5, update: 5, remove: 2, move: 1, texts: 2, parts: 3, empty: 0.02 })) {
      case 'upsert':
        return this.#upsert(from, to)
      case 'update':
        return this.#update(from, to)
      case 'remove':
        return this.#run('delete from numbers where id between $1 and $2', from, to)
      case 'move': {
        // Into this writer's other keys.
        const removed = await this.#run(
          'delete from numbers where id between $1 and $2',
          from + KEYS,
          to + KEYS,
        )
        const sql = 'update numbers set id = id + $3::int where id between $1 and $2'
        return removed + (await this.#run(sql, from, to, KEYS))
      }
      case 'texts':
        return this.#texts(Math.ceil(size / 50))
      case 'parts':
        return this.#run(
          'update parts set n = n + 1 where id between $1 and $2 and id % $3 = $4',
          from % 9_000,
          (from % 9_000) + Math.ceil(size / 5),
          WRITERS,
          writer,
        )
      case 'empty':
        return this.#run('delete from texts where id like $1', `${writer}-%`)
    }
  }

  get #firstKey(): number {
    return this.#options.writer * 2 * KEYS
  }

  /** More than usual, of both runs of keys. */
  #many(): Promise<number> {
    const { random } = this.#options
    const size = logUniform(random, ROWS_MAX, MANY_ROWS_MAX)
    const from = this.#firstKey + random.below(MANY_ROWS_MAX - size + 1)
    const to = from + size - 1
    return random.chance(0.5) ? this.#upsert(from, to) : this.#update(from, to)
  }

  #upsert(from: number, to: number): Promise<number> {
    return this.#run(
      `insert into numbers select g, $3::bigint + g, 'note ' || g from generate_series($1::int, $2::int) g
       on conflict (id) do update set n = excluded.n, note = excluded.note || ' again'`,
      from,
      to,
      this.#options.random.below(1_000_000),
    )
  }

  #update(from: number, to: number): Promise<number> {
    const value = this.#options.random.below(1_000_000)
    return this.#run('update numbers set n = n + $3 where id between $1 and $2', from, to, value)
  }

  /** Long values, which are not sent where they are not changed, under keys that are texts. */
  #texts(size: number): Promise<number> {
    const { random, writer } = this.#options
    const from = random.below(500)
    const to = from + size - 1
    if (random.chance(0.5))
      return this.#run(
        `update texts set n = n + 1 where id in (select $1 || g from generate_series($2::int, $3::int) g)`,
        `${writer}-`,
        from,
        to,
      )
    return this.#run(
      `insert into texts select $1 || g, 0, repeat(md5(g::text || $4::text), $5::int) from generate_series($2::int, $3::int) g
       on conflict (id) do update set body = excluded.body`,
      `${writer}-`,
      from,
      to,
      random.below(1_000),
      random.pick([1, 4, 100]),
    )
  }
}

/** From `least` to below `most`, as likely in each decade. */
function logUniform(random: Random, least: number, most: number): number {
  const exponent = random.below(10_000) / 10_000
  return Math.floor(least * (most / least) ** exponent)
}
