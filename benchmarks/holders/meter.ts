import { setImmediate as nextTurn } from 'node:timers/promises'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import type pg from 'pg'

/** What a process that holds the table says about itself. */
export interface HoldResult {
  /** V8's heap and the buffers outside of it, after a full collection. */
  readonly usedBytes: number
  readonly residentBytes: number
  /** What the holder itself believes its rows to take; 0 if it does not count. */
  readonly countedBytes: number
  readonly updatesPerSecond: number
  readonly collectionMaxMs: number
  readonly delayP99Ms: number
  readonly delayMaxMs: number
  readonly digest: string
}

export interface HoldOrder {
  readonly url: string
  readonly publication: string
  readonly rows: number
  /** Whether to update all rows in one commit, or half of them in many. */
  readonly commits: Commits
}

export type Commits = 'one' | 'many'

/** What memory.ts or giant.ts asks of this process. */
export function holdOrder(): HoldOrder {
  const [url, publication, rows, commits] = process.argv.slice(2)
  return { url: url!, publication: publication!, rows: Number(rows), commits: commits as Commits }
}

type Size = Pick<HoldResult, 'usedBytes' | 'residentBytes'>

/** After everything that can be collected was. */
export async function size(): Promise<Size> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc!()
    // Buffers are given back by finalizers, which run later.
    await nextTurn()
  }
  const { heapUsed, external, rss } = process.memoryUsage()
  return { usedBytes: heapUsed + external, residentBytes: rss }
}

const ROWS_PER_COMMIT = 1_000
const RESOLUTION_MS = 1

type Flow = Pick<HoldResult, 'updatesPerSecond' | 'collectionMaxMs' | 'delayP99Ms' | 'delayMaxMs'>

/** Has the server update rows as fast as it can, and measures until `applied` resolves. */
export async function updateRows(
  pool: pg.Pool,
  { rows, commits }: HoldOrder,
  applied: () => Promise<void>,
): Promise<Flow> {
  let collectionMaxMs = 0
  const note = (entries: readonly { readonly duration: number }[]) => {
    for (const { duration } of entries) collectionMaxMs = Math.max(collectionMaxMs, duration)
  }
  const collections = new PerformanceObserver(list => note(list.getEntries()))
  collections.observe({ entryTypes: ['gc'] })
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  const started = performance.now()
  const updates = commits === 'one' ? await updateInOne(pool) : await updateInMany(pool, rows)
  await applied()
  const elapsedMs = performance.now() - started
  delay.disable()
  note(collections.takeRecords())
  collections.disconnect()
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS)
  return {
    updatesPerSecond: (updates / elapsedMs) * 1000,
    collectionMaxMs,
    delayP99Ms: late(delay.percentile(99)),
    delayMaxMs: late(delay.max),
  }
}

async function updateInOne(pool: pg.Pool): Promise<number> {
  const { rowCount } = await pool.query('update people set age = age + 1')
  return rowCount ?? 0
}

/** Every other row. */
async function updateInMany(pool: pg.Pool, rows: number): Promise<number> {
  const span = 2 * ROWS_PER_COMMIT
  await pool.query(`do $$ begin for batch in 0 .. ${Math.ceil(rows / span) - 1} loop
    update people set age = age + 1 where id between batch * ${span} + 1 and (batch + 1) * ${span} and id % 2 = 0;
    commit; end loop; end $$`)
  return Math.floor(rows / 2)
}

export function say(result: HoldResult): void {
  console.log(JSON.stringify(result))
}
