/** Opens sources on real servers and reads them into a recording sink. */
import assert from 'node:assert/strict'
import pg from 'pg'
import { afterEach } from 'vitest'
import type { ChangeBatch } from '../../src/change/change.js'
import type { Relation } from '../../src/change/relation.js'
import type { Decoder } from '../../src/decode/index.js'
import { PgoutputDecoder } from '../../src/decode/pgoutput.js'
import { silentLogger } from '../../src/observe.js'
import { type Connections, type Runtime, systemRuntime } from '../../src/runtime.js'
import { openSlotSource } from '../../src/source/slot-source.js'
import type { ChangeSource, FreshSource } from '../../src/source/source.js'
import { connectionsOf } from '../../src/wire/connection.js'
import { type Recorded, RecordingSink } from '../support/recording-sink.js'

const disposables: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposables.splice(0).toReversed()) await dispose()
})

/** Has `dispose` run after the test, before what was given earlier. */
export function afterTest(dispose: () => Promise<unknown>): void {
  disposables.push(dispose)
}

export function connectionsTo(url: string, { timers }: Pick<Runtime, 'timers'> = systemRuntime): Connections {
  const pool = new pg.Pool({ connectionString: url })
  afterTest(() => pool.end())
  const settings = { timeZone: 'UTC', dateStyle: 'ISO, MDY', lcMonetary: 'C', searchPath: 'public' }
  return connectionsOf(pool, { settings, applicationName: 'walcache-test', timers })
}

export function decoder(): Decoder<Relation> {
  return new PgoutputDecoder<Relation>({ publication: 'p', relations: [] })
}

export async function openSource(
  url: string,
  { signal, runtime = systemRuntime }: { signal?: AbortSignal; runtime?: Runtime } = {},
): Promise<FreshSource<Relation>> {
  const options = { decoder: decoder(), logger: silentLogger }
  const source = await openSlotSource(connectionsTo(url, runtime), runtime, options, signal)
  afterTest(() => source.close())
  return source
}

/** Reads batches into one sink; stops where a test says. */
export class Reader {
  readonly sink = new RecordingSink()
  readonly #batches: AsyncIterator<ChangeBatch<Relation>>

  constructor(
    readonly source: ChangeSource<Relation>,
    readonly abort = new AbortController(),
  ) {
    this.#batches = source.batches(abort.signal)[Symbol.asyncIterator]()
  }

  /** What was said since the last call, up to the moment when `isDone` holds. */
  async until(isDone: (recorded: readonly Recorded[]) => boolean): Promise<Recorded[]> {
    while (!isDone(this.sink.all)) await this.batch()
    return this.sink.all.splice(0)
  }

  async batch(): Promise<void> {
    const { value, done } = await this.#batches.next()
    assert.ok(done !== true, 'the source has ended')
    while ((value as ChangeBatch<Relation>).deliver(this.sink, 100));
    this.source.confirm(this.sink.position)
  }

  async commits(count: number): Promise<Recorded[]> {
    const all = await this.until(recorded => recorded.filter(({ kind }) => kind === 'commit').length >= count)
    return all.filter(({ kind }) => !['begin', 'relation', 'commit', 'progress'].includes(kind))
  }
}
