/**
 * Bounded tables under stress: many writers, constant eviction, readers by key, unique key and group; every answer is held against the history of
 * each row, as a whole table's change stream tells it.
 */
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Lsn } from '../../src/change/lsn.js'
import { FILL_RULES_OPTION } from '../../src/cache/options.js'
import type { DecoderName } from '../../src/decode/index.js'
import { type Cache, openCache } from '../../src/index.js'
import { openPool } from '../pool.js'
import { Random } from '../random.js'
import { breaks } from './breaks.js'
import { Reader, Tally } from './readers.js'
import { type Claim, isTrue, Recorder, truthsOf, type WrongClaim } from './recorder.js'
import { boundedItems, boundedSchema } from './schema.js'
import { rewrite, write } from './writers.js'

export interface BoundedOptions {
  readonly databaseUrl: string
  readonly seed: number
  /** How many reads to check. */
  readonly reads: number
  readonly decoder: DecoderName
  /** One of `breaks`: the protection that is taken away. */
  readonly broken?: string | undefined
}

export interface BoundedResult {
  readonly reads: number
  readonly wrong: number
  /** Reads of snapshots that were answered. */
  readonly accepted: number
  /** Reads that were refused by name. */
  readonly refused: number
  readonly commits: number
  readonly changes: number
  /** How often each kind of read was answered. */
  readonly byKind: Readonly<Record<string, number>>
  readonly firstWrong: WrongClaim | undefined
}

/** Memory may be as old as a slow machine makes it: what is checked is at which commit an answer was true. */
const MAX_STALENESS_MS = 60_000
const WRITERS = 6
const READERS = 8
const STANDBY_TOGGLE_MS = 200
/** What no answer can be about any more is forgotten once in so many rounds of checks. */
const ROUNDS_A_CLEANING = 50
/** Answers checked between two turns of the event loop. */
const CHECKS_PER_TURN = 100

/**
 * Creates the table in an empty database, and reads until `reads` answers have been checked, or one is found to be wrong. In the second half, and from the beginning if a protection is taken away, commits hang on a synchronous
 * standby that is not there, and do not, in turn.
 */
export async function runBounded(options: BoundedOptions): Promise<BoundedResult> {
  const { databaseUrl, reads, seed, decoder, broken } = options
  const random = new Random(seed)
  const pool = openPool(databaseUrl, 4)
  const crew = new Crew()
  try {
    await pool.query(boundedSchema)
    await using recorder = await Recorder.open({ databaseUrl, decoder })
    await using cache = await openCache({
      pool,
      decoder,
      entities: [boundedItems],
      maxStaleness: MAX_STALENESS_MS,
      // PostgreSQL's own answers are not what is put to the test.
      onUnknown: 'throw',
      ...(broken === undefined ? {} : { [FILL_RULES_OPTION]: breaks[broken]! }),
    })
    const tally = new Tally()
    let commits = 0
    for (let writer = 0; writer < WRITERS; writer++)
      crew.add(async stop => {
        commits += await withClient(databaseUrl, client =>
          write(client, random.fork(writer + 1), writer, stop),
        )
      })
    crew.add(stop => withClient(databaseUrl, client => rewrite(client, stop)))
    const readers = Array.from(
      { length: READERS },
      (_, reader) => new Reader(cache, random.fork(100 + reader), tally),
    )
    for (const reader of readers) crew.add(stop => reader.run(stop))
    const checks = new Checks({ cache, recorder, tally, readers }, crew.stop)
    // What is missing without a protection is mostly seen while commits hang.
    if (broken === undefined) await checks.until(reads / 2)
    crew.add(stop => withClient(databaseUrl, client => toggleStandby(client, stop)))
    await checks.until(reads)
    await crew.end()
    const { accepted, refused, byKind } = tally
    const { checked, wrong, firstWrong } = checks
    return {
      reads: checked,
      wrong,
      accepted,
      refused,
      commits,
      changes: recorder.history.changes,
      byKind,
      firstWrong,
    }
  } finally {
    await crew.end().catch(() => undefined)
    await pool.end()
  }
}

/** Those who work until they are told to stop; the first that fails stops all. */
class Crew {
  readonly #stop = new AbortController()
  readonly #members: Promise<void>[] = []

  get stop(): AbortSignal {
    return this.#stop.signal
  }

  add(work: (stop: AbortSignal) => Promise<void>): void {
    const member = work(this.stop)
    member.catch((error: unknown) => this.#stop.abort(error))
    this.#members.push(member)
  }

  /** Tells all to stop; rejects with what the first one failed of. */
  async end(): Promise<void> {
    this.#stop.abort()
    const ends = await Promise.allSettled(this.#members)
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }
}

interface Stage {
  readonly cache: Cache
  readonly recorder: Recorder
  readonly tally: Tally
  readonly readers: readonly Reader[]
}

/** Holds what was read against what was true. */
class Checks {
  checked = 0
  wrong = 0
  firstWrong: WrongClaim | undefined
  readonly #stage: Stage
  readonly #stop: AbortSignal

  constructor(stage: Stage, stop: AbortSignal) {
    this.#stage = stage
    this.#stop = stop
  }

  /** Goes on until so many answers have been checked, or one is found to be wrong. */
  async until(reads: number): Promise<void> {
    const { cache, recorder, tally, readers } = this.#stage
    let rounds = 0
    while (this.checked < reads && this.wrong === 0) {
      this.#stop.throwIfAborted()
      // A read that is under way now will be claimed later.
      const oldest = readers.reduce((min, { since }) => (since < min ? since : min), readers[0]!.since)
      const claims = tally.take()
      await recorder.reached(newestOf(cache))
      for (const claim of claims) await this.#check(claim)
      if (++rounds % ROUNDS_A_CLEANING === 0) recorder.history.forgetBefore(oldest)
      await nextTurn()
    }
  }

  async #check(claim: Claim): Promise<void> {
    if (!isTrue(this.#stage.recorder.history, claim)) {
      this.wrong++
      this.firstWrong ??= { ...claim, truths: truthsOf(this.#stage.recorder.history, claim) }
    }
    if (++this.checked % CHECKS_PER_TURN === 0) await nextTurn()
  }
}

/** The visible commit's position. */
function newestOf(cache: Cache): Lsn {
  using snapshot = cache.snapshot()
  return snapshot.lsn
}

/** Puts commits into limbo: written, streamed, and visible to nobody, until the standby is not waited for any more. */
async function toggleStandby(client: pg.Client, stop: AbortSignal): Promise<void> {
  const set = async (standby: string): Promise<void> => {
    await client.query(`alter system set synchronous_standby_names = '${standby}'`)
    await client.query('select pg_reload_conf()')
  }
  try {
    for (let hanging = true; !stop.aborted; hanging = !hanging) {
      await set(hanging ? 'nosuch' : '')
      await delay(STANDBY_TOGGLE_MS, undefined, { signal: stop }).catch(() => undefined)
    }
  } finally {
    await set('')
  }
}

async function withClient<T>(connectionString: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
